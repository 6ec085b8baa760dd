import { readFile, readdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { setNextRelease } from '../support/acceptance/fleet-file.js';
import { useFleet } from '../support/acceptance/use-fleet.js';

const fleet = useFleet();

describe('a release that a store must not take', () => {
  test('tampered with in the registry, or not promoted for the store: refused by name, and the store is untouched', async () => {
    const given = await fleet({
      stores: 3,
      stages: [
        { name: 'canary', stores: { tag: 'pilot' }, approval: true },
        { name: 'rest', stores: 'rest' },
      ],
    });
    await given.startTrain();
    const { release } = await given.trainIsHeld('ApprovalPending', 'canary');
    if (!release) throw new Error('The train names no release.');

    await given.startStore({ store: 'store-001', release });
    expect(await given.storeEnds('store-001')).toMatchObject({ outcome: 'failed', reason: 'NotPromoted' });

    await flipByte(given.objects, release.manifest);
    await given.approve('canary');
    const held = await given.trainIsHeld('ErrorThresholdExceeded', 'canary');

    expect(held.notSucceeded).toMatchObject([{ store: 'store-002', outcome: 'failed', reason: 'DigestMismatch' }]);
    expect(await given.effects()).toEqual([]);
  });

  test('older than what the store has: refused, although it is promoted and was signed by us', async () => {
    const given = await fleet({ stores: 1, stages: [{ name: 'canary', stores: 'rest' }] });
    await given.startTrain({ train: 'first' });
    const { release: older } = await given.trainEnds();
    if (!older) throw new Error('The train names no release.');
    await setNextRelease(given.repo);
    await given.startTrain({ train: 'second' });
    expect(await given.trainEnds()).toMatchObject({ state: 'done', release: { sequence: older.sequence + 1 } });
    const before = await given.effects();

    await given.startTrain({ train: 'third', release: older });
    const held = await given.trainIsHeld('ErrorThresholdExceeded', 'canary');

    expect(held.notSucceeded).toMatchObject([{ store: 'store-001', outcome: 'failed', reason: 'SequenceRollback' }]);
    expect(await given.effects()).toEqual(before);
  });
});

async function flipByte(objects: string, digest: string): Promise<void> {
  const name = digest.replace('sha256:', '');
  const found = (await readdir(objects, { recursive: true })).find((path) => path.endsWith(name));
  if (!found) throw new Error(`The registry holds no object ${digest}.`);
  const file = join(objects, found);
  const bytes = await readFile(file);
  bytes[100] = (bytes[100] ?? 0) ^ 1;
  await writeFile(file, bytes);
}
