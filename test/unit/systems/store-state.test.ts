import { appendFile, mkdtemp, readFile, readdir, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { stepKey } from '#domain/naming.js';
import { openStoreState } from '#systems/store-state/file.js';
import type { OperationRecord, StoreState, TrustRecord } from '#systems/store-state/types.js';
import { aReleaseRef } from '../../support/builders.js';
import { memoryStoreState } from '../../support/memory-store-state.js';

const A = '2026-w48/canary/store-001/r0';
const B = '2026-w48/canary/store-001/r1';

const anOperation = (change: Partial<OperationRecord> = {}): OperationRecord => ({
  operationId: A,
  fence: 100,
  kind: 'patch',
  open: true,
  release: aReleaseRef(),
  startedAt: '2026-11-24T10:00:00.000Z',
  marks: [{ kind: 'maintenance', node: 'n1', setAt: '2026-11-24T10:01:00.000Z' }],
  homes: { '101': 'n1' },
  ...change,
});
const trust: TrustRecord = {
  highestSequence: 48,
  current: aReleaseRef(),
  wentBack: true,
  lastGood: aReleaseRef(47),
  goodBefore: aReleaseRef(46),
  withdrawn: aReleaseRef(49),
  pins: { n1: '6.14.8-2-pve' },
  loaded: { '103 /etc/app/app.conf': { file: '/etc/edge-governor/releases/1/app.conf', proven: true } },
  baseline: [{ vmid: 101, name: 'pos', running: true, healthy: true, latencyMs: 41.5 }],
  baselineOf: 48,
  begun: 47,
};

let dir = '';
const opened: StoreState[] = [];
const reopen = async (): Promise<StoreState> => {
  const state = await openStoreState(dir);
  opened.push(state);
  return state;
};
beforeEach(async () => {
  dir = await mkdtemp(join(tmpdir(), 'edge-state-'));
});
afterEach(async () => {
  await Promise.all(opened.splice(0).map((state) => state.close()));
  await rm(dir, { recursive: true, force: true });
});

describe.each([
  ['on disk', () => reopen()],
  ['in memory', () => Promise.resolve(memoryStoreState())],
])('the memory of a store worker, %s', (_, open) => {
  it('knows nothing at first', async () => {
    const state = await open();
    expect(state.operation()).toBeUndefined();
    expect(state.trust()).toEqual({ highestSequence: 0, baseline: [] });
    expect(state.step(`${A}|drain n1`)).toBeUndefined();
  });

  it('keeps the operation and the trust that were saved last', async () => {
    const state = await open();
    await state.save(anOperation());
    await state.save(
      anOperation({ open: false, outcome: 'succeeded', endedAt: '2026-11-24T11:00:00.000Z', marks: [] }),
    );
    await state.saveTrust(trust);
    expect(state.operation()).toMatchObject({ open: false, outcome: 'succeeded', marks: [] });
    expect(state.trust()).toEqual(trust);
  });

  it('changes of the trust only what is named, even when two changes overlap', async () => {
    const state = await open();
    await state.saveTrust(trust);
    await Promise.all([state.saveTrust({ highestSequence: 49 }), state.saveTrust({ wentBack: false })]);
    expect(state.trust()).toEqual({ ...trust, highestSequence: 49, wentBack: false });
  });

  it('keeps the steps of whoever left the marks that a dump carries on, and of nobody before', async () => {
    const state = await open();
    await state.save(anOperation({ operationId: B, fence: 99 }));
    await state.intent(stepKey({ operationId: B, fence: 99 }, 'upgrade n1'), {});
    await state.save(anOperation());
    await state.intent(stepKey({ operationId: A, fence: 100 }, 'upgrade n1'), {});
    const leftBy = { operationId: A, fence: 100, silent: true };
    const dump = { operationId: 'night-1/store-001/r0', fence: 101, kind: 'dump', leftBy } as const;
    await state.save(anOperation(dump));
    await state.intent(stepKey(dump, 'dump n1'), {});
    const next = { ...dump, operationId: 'night-2/store-001/r0', fence: 102 };
    await state.save(anOperation(next));
    await state.intent(stepKey(next, 'dump n1'), {});
    expect(state.operation()).toMatchObject({ ...next, release: aReleaseRef() });
    const kept = (operation: { operationId: string; fence: number }, step: string) =>
      state.step(stepKey(operation, step)) !== undefined;
    expect([kept({ operationId: A, fence: 100 }, 'upgrade n1'), kept(next, 'dump n1')]).toEqual([true, true]);
    expect([kept(dump, 'dump n1'), kept({ operationId: B, fence: 99 }, 'upgrade n1')]).toEqual([false, false]);
  });

  it('finds the intent of a step, and its result beside it', async () => {
    const state = await open();
    await state.save(anOperation());
    await state.intent(`${A}|reboot n1`, { bootId: 'old' });
    expect(state.step(`${A}|reboot n1`)).toEqual({ intent: { bootId: 'old' } });
    await state.result(`${A}|reboot n1`, { kind: 'done', kernel: '6.14' });
    expect(state.step(`${A}|reboot n1`)).toEqual({
      intent: { bootId: 'old' },
      result: { kind: 'done', kernel: '6.14' },
    });
  });

  it('forgets the steps of the operation before when another one takes the store', async () => {
    const state = await open();
    await state.save(anOperation());
    await state.result(`${A}|drain n1`, { kind: 'done' });
    await state.save(anOperation({ marks: [] }));
    expect(state.step(`${A}|drain n1`)).toBeDefined();
    await state.save(anOperation({ operationId: B, fence: 200 }));
    expect(state.step(`${A}|drain n1`)).toBeUndefined();
  });
});

describe('the files of a store worker', () => {
  const journal = (): string => join(dir, 'steps.jsonl');

  it('give everything back when they are opened again', async () => {
    const before = await reopen();
    await before.save(anOperation());
    await before.saveTrust(trust);
    await before.intent(`${A}|upgrade n1`, { unit: 'u' });
    await before.result(`${A}|drain n1`, { kind: 'done', moved: 2 });
    await before.close();

    const after = await reopen();
    expect(after.operation()).toEqual(anOperation());
    expect(after.trust()).toEqual(trust);
    expect(after.step(`${A}|upgrade n1`)).toEqual({ intent: { unit: 'u' } });
    expect(after.step(`${A}|drain n1`)).toEqual({ result: { kind: 'done', moved: 2 } });
  });

  it.each([
    ['keeps what was before that', 46, aReleaseRef(46)],
    ['has nothing before it when that was the one', 47, undefined],
  ])(
    'of a worker that kept as last good what the store went back from: the one it went back to is, and %s',
    async (_, before, goodBefore) => {
      const old = { ...{ highestSequence: 47, baseline: [] }, wentBack: true, current: aReleaseRef(47) };
      await writeFile(
        join(dir, 'trust.json'),
        JSON.stringify({ ...old, lastGood: aReleaseRef(48), goodBefore: aReleaseRef(before) }),
      );
      const state = await reopen();
      const mended = { lastGood: aReleaseRef(47), withdrawn: aReleaseRef(48), ...(goodBefore ? { goodBefore } : {}) };
      expect(state.trust()).toEqual({ ...old, ...mended });
    },
  );

  it('of a store that goes on from there are taken as they are', async () => {
    const onTheWay = { ...trust, current: aReleaseRef(48), lastGood: aReleaseRef(47) };
    await writeFile(join(dir, 'trust.json'), JSON.stringify(onTheWay));
    expect((await reopen()).trust()).toEqual(onTheWay);
  });

  it('of a worker that knew nothing but patches are read as such', async () => {
    const { kind: _, ...old } = anOperation();
    await writeFile(join(dir, 'operation.json'), JSON.stringify(old));
    expect((await reopen()).operation()).toEqual(anOperation());
  });

  it('keep the steps of whoever left the marks of a dump when they are opened again', async () => {
    const before = await reopen();
    await before.save(anOperation());
    await before.intent(`${A}|100|upgrade n1`, {});
    const leftBy = { operationId: A, fence: 100, silent: true };
    await before.save(anOperation({ operationId: 'night-1/store-001/r0', fence: 101, kind: 'dump', leftBy }));
    await before.close();
    const after = await reopen();
    expect(after.operation()).toMatchObject({ kind: 'dump', leftBy });
    expect(after.step(`${A}|100|upgrade n1`)).toEqual({ intent: {} });
  });

  it('are complete before the call returns: a process that is killed afterwards loses nothing', async () => {
    const killed = await reopen();
    await killed.save(anOperation());
    await killed.intent(`${A}|reboot n2`, { bootId: 'x' });
    const next = await reopen();
    expect(next.operation()).toEqual(anOperation());
    expect(next.step(`${A}|reboot n2`)).toEqual({ intent: { bootId: 'x' } });
  });

  it('are for their owner alone', async () => {
    const state = await reopen();
    await state.save(anOperation());
    const { statSync } = await import('node:fs');
    for (const name of ['operation.json', 'steps.jsonl']) expect(statSync(join(dir, name)).mode & 0o077).toBe(0);
  });

  it('do not bring back the steps of another operation', async () => {
    const before = await reopen();
    await before.save(anOperation());
    await before.result(`${A}|drain n1`, { kind: 'done' });
    await before.save(anOperation({ operationId: B, fence: 200 }));
    await before.result(`${B}|drain n2`, { kind: 'done' });
    await before.close();

    const after = await reopen();
    expect(after.step(`${A}|drain n1`)).toBeUndefined();
    expect(after.step(`${B}|drain n2`)).toEqual({ result: { kind: 'done' } });
  });

  it('do not take an operation for another whose name begins like it', async () => {
    const before = await reopen();
    await before.save(anOperation({ operationId: `${A}0` }));
    await before.result(`${A}0|drain n1`, { kind: 'done' });
    await before.close();
    await writeFile(join(dir, 'operation.json'), JSON.stringify(anOperation()));
    const after = await reopen();
    expect(after.step(`${A}0|drain n1`)).toBeUndefined();
  });

  it.each([
    ['half a line', '{"key":"2026-w48/canary/store-001/r0|reboot n1","intent":{"boo'],
    ['a line without its end', '{"key":"2026-w48/canary/store-001/r0|reboot n1","intent":{"bootId":"x"}}'],
    ['half a letter', Buffer.from([0x7b, 0x22, 0xc3])],
    ['zeros, as a power cut leaves them', Buffer.alloc(64)],
  ])('lose only %s at the end of the journal', async (_, torn) => {
    const before = await reopen();
    await before.save(anOperation());
    await before.result(`${A}|drain n1`, { kind: 'done', note: 'Zoë' });
    await before.close();
    const whole = await readFile(journal());
    await appendFile(journal(), torn);

    const after = await reopen();
    expect(after.step(`${A}|drain n1`)).toEqual({ result: { kind: 'done', note: 'Zoë' } });
    expect(after.step(`${A}|reboot n1`)).toBeUndefined();
    expect(await readFile(journal())).toEqual(whole);
  });

  it('can be written to after a torn line, and read again', async () => {
    const before = await reopen();
    await before.save(anOperation());
    await before.result(`${A}|drain n1`, { kind: 'done' });
    await before.close();
    await appendFile(journal(), '{"key":"torn');
    const after = await reopen();
    await after.result(`${A}|upgrade n1`, { kind: 'done' });
    await after.close();
    const last = await reopen();
    expect(last.step(`${A}|drain n1`)).toBeDefined();
    expect(last.step(`${A}|upgrade n1`)).toBeDefined();
  });

  it.each([
    ['is no JSON', 'garbage'],
    ['is another thing', '["a list"]'],
    ['has no key', '{"result":1}'],
  ])('stop the worker when a line in the middle %s, naming the place and the remedy', async (_, line) => {
    const before = await reopen();
    await before.save(anOperation());
    await before.result(`${A}|drain n1`, { kind: 'done' });
    await before.close();
    await appendFile(journal(), `${line}\n{"key":"${A}|upgrade n1","result":{"kind":"done"}}\n`);
    await expect(openStoreState(dir)).rejects.toThrow(/steps\.jsonl:2 cannot be read\. Restore it from backup/);
  });

  it.each([
    ['operation.json', '{"operationId":'],
    ['operation.json', ''],
    ['operation.json', '{"operationId":"x"}'],
    ['operation.json', JSON.stringify({ ...anOperation(), marks: [{ kind: 'fence', node: 'n1', setAt: '' }] })],
    ['trust.json', '{"highestSequence":"48","baseline":[]}'],
    ['trust.json', 'null'],
  ])('stop the worker when %s holds %j, naming the place and the remedy', async (name, content) => {
    await writeFile(join(dir, name), content);
    await expect(openStoreState(dir)).rejects.toThrow(new RegExp(`${name} cannot be read.*Restore it from backup`));
  });

  it('survive a kill in the middle of a replacement: the old content holds', async () => {
    const before = await reopen();
    await before.save(anOperation());
    await before.close();
    await writeFile(join(dir, '.operation.json.new'), '{"operationId":"2026-w4');

    const after = await reopen();
    expect(after.operation()).toEqual(anOperation());
    await after.save(anOperation({ open: false }));
    expect((await readdir(dir)).sort()).toEqual(['operation.json', 'steps.jsonl']);
    await after.close();
    expect((await reopen()).operation()?.open).toBe(false);
  });

  describe('when another operation takes the store', () => {
    const operations = [1, 2, 3].map((fence) => anOperation({ operationId: `${A}${fence}`, fence }));
    const [first, second, third] = operations as [OperationRecord, OperationRecord, OperationRecord];
    const keys = async () =>
      (await readFile(journal(), 'utf8'))
        .split('\n')
        .filter((line) => line !== '')
        .map((line) => (JSON.parse(line) as { key: string }).key);
    const through = async (state: StoreState, all: OperationRecord[]) => {
      for (const operation of all) {
        await state.save(operation);
        await state.intent(stepKey(operation, 'drain n1'), { guests: [101] });
        await state.result(stepKey(operation, 'drain n1'), { kind: 'done' });
      }
    };

    it('lose the steps of all but that and the one before it', async () => {
      const state = await reopen();
      await through(state, operations);
      expect(await keys()).toEqual([second, second, third, third].map((operation) => stepKey(operation, 'drain n1')));
      expect(state.step(stepKey(third, 'drain n1'))).toEqual({ intent: { guests: [101] }, result: { kind: 'done' } });
      await state.close();
      expect((await reopen()).step(stepKey(third, 'drain n1'))).toBeDefined();
    });

    it('tell two runs under one name apart by their fence', async () => {
      const state = await reopen();
      const again = { ...first, fence: 9 };
      const oncemore = { ...first, fence: 10 };
      await through(state, [first, again, oncemore]);
      expect(new Set(await keys())).toEqual(new Set([stepKey(again, 'drain n1'), stepKey(oncemore, 'drain n1')]));
    });

    it('lose nothing when the process dies before the journal is replaced', async () => {
      const state = await reopen();
      await through(state, [first, second]);
      await state.close();
      // As after a kill between the two files: the new operation is there, the journal is the old one.
      await writeFile(join(dir, 'operation.json'), JSON.stringify(third));
      await writeFile(join(dir, '.steps.jsonl.new'), '{"key":"torn');
      const next = await reopen();
      await next.result(stepKey(third, 'drain n1'), { kind: 'done' });
      expect(await keys()).toContain(stepKey(second, 'drain n1'));
      await next.save(anOperation({ operationId: B, fence: 4 }));
      expect(await keys()).toEqual([stepKey(third, 'drain n1')]);
    });

    it('keep what is written at the same moment', async () => {
      const state = await reopen();
      await through(state, [first, second]);
      await Promise.all([state.save(third), state.intent(stepKey(third, 'reboot n1'), { bootId: 'x' })]);
      expect(await keys()).toContain(stepKey(third, 'reboot n1'));
    });
  });

  it('are not written to after they are closed', async () => {
    const state = await reopen();
    await state.close();
    await expect(state.intent(`${A}|drain n1`, {})).rejects.toThrow(/closed/);
    await expect(state.close()).resolves.toBeUndefined();
  });
});
