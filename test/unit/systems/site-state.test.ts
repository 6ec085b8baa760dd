import { stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { openSiteState } from '#systems/site-state/file.js';
import type { TrialRecord } from '#systems/site-state/types.js';
import { useTempDir } from '../../support/temp-dir.js';

const aTrial = (change: Partial<TrialRecord> = {}): TrialRecord => ({
  run: 'restores-2026-w48',
  store: 'store-001',
  snapshot: 'vm/101/2026-11-26T01:00:00Z',
  askedAt: '2026-11-26T03:00:00.000Z',
  node: 's1',
  bytes: 10,
  before: [],
  ...change,
});

describe('the memory of the staging site', () => {
  const tempDir = useTempDir();

  it('knows nothing at first', async () => {
    const state = await openSiteState(join(await tempDir(), 'new'));
    expect([state.trials(), state.trial(90_001), state.openedAt('store-001')]).toEqual([[], undefined, undefined]);
  });

  it('is the same after a restart, for nobody else to read', async () => {
    const dir = await tempDir();
    const state = await openSiteState(dir);
    const full = aTrial({
      sentAt: 'a',
      upid: 'b',
      restoredAt: 'c',
      bootAskedAt: 'd',
      bootedAt: 'e',
      probeAskedAt: 'f',
    });
    await Promise.all([
      state.saveTrial(90_001, aTrial({ bytes: 1 })),
      state.saveTrial(90_001, full),
      state.saveTrial(90_002, aTrial()),
      state.saveOpened('store-001', '2026-11-26T03:00:00.000Z'),
      state.saveOpened('store-002', '2026-11-26T03:00:00.000Z'),
    ]);
    await state.forgetTrial(90_002);
    await state.forgetOpened('store-002');
    const again = await openSiteState(dir);
    expect(again.trials()).toEqual([{ id: 90_001, ...full }]);
    expect([again.openedAt('store-001'), again.openedAt('store-002')]).toEqual(['2026-11-26T03:00:00.000Z', undefined]);
    expect((await stat(join(dir, 'trials.json'))).mode & 0o777).toBe(0o600);
  });

  it('shows what was saved at once', async () => {
    const state = await openSiteState(await tempDir());
    const saving = state.saveTrial(90_001, aTrial());
    expect(state.trial(90_001)).toEqual(aTrial());
    await saving;
  });

  it.each(['{', '[]', '{"trials":{"x":{}},"opened":{}}'])('that cannot be read is not guessed: %s', async (text) => {
    const dir = await tempDir();
    await writeFile(join(dir, 'trials.json'), text);
    await expect(openSiteState(dir)).rejects.toThrow(/trials\.json cannot be read\. Move it away/);
  });
});
