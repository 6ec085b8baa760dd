import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { STORAGE } from '../../lab/staging/practice-staging.js';
import { doneOf, PracticeRestore } from './practice-restore.js';

let practice: PracticeRestore;
beforeEach(async () => {
  practice = await PracticeRestore.start();
});
afterEach(() => practice.close());

const sweep = async (before = new Date(Date.now() + 60_000), tried?: string[]) =>
  doneOf(
    await practice.worker().sweepSite({
      ...{ protocol: 1, fleet: 'practice', before: before.toISOString() },
      ...(tried === undefined ? {} : { tried }),
    }),
  );
const LONG_AGO = new Date(Date.now() - 3_600_000);
const forgetAll = async () => {
  await rm(join(practice.config.stateDir, 'trials.json'), { force: true });
  await practice.restart();
};

describe('a sweep', () => {
  it('takes away what dead runs left: guests that run or stand, what failed, and storages', async () => {
    const [one, two, bad] = [practice.trial(101), practice.trial(102), practice.trial(101, 90_300)];
    await practice.restored(one);
    await practice.restored(two);
    doneOf(await practice.worker().bootGuest(two));
    practice.staging.chunksOf(practice.volidOf(bad)).lose('30');
    expect((await practice.worker().restoreGuest(bad)).kind).toBe('failed');
    await forgetAll();
    const { removed, left } = await sweep();
    expect(left).toEqual([]);
    expect(removed.map((each) => each.split(/ on|,/)[0])).toEqual([
      'guest 90101',
      'guest 90102',
      'guest 90300',
      `storage ${STORAGE}`,
    ]);
    expect(practice.violations()).toEqual([]);
    expect(practice.staging.site.guests.size).toBe(4);
    expect(await sweep()).toEqual({ kind: 'done', removed: [], left: [], busy: [] });
  });

  it('breaks a restore off that nobody waits for', async () => {
    const task = practice.trial(101);
    doneOf(await practice.worker().openCopy(practice.copy));
    practice.fault({ kind: 'restore-slow', params: { factor: 1_000 }, times: 1 });
    const timing = { ...practice.deps.timing, restore: 50 };
    expect((await practice.worker({ timing }).restoreGuest(task)).kind).toBe('failed');
    await forgetAll();
    expect(practice.restoring).toBe(1);
    expect((await sweep()).removed).toHaveLength(2);
    expect(practice.restoring).toBe(0);
    expect(practice.violations()).toEqual([]);
  });

  it('leaves what is young, and the storage that it comes from', async () => {
    const task = await practice.restored(practice.trial(101));
    const { removed, left, busy } = await sweep(LONG_AGO);
    expect([removed, left]).toEqual([[], []]);
    expect(busy).toEqual([
      expect.stringMatching(/^guest 90101 on stg\d: it is of .*, and may be in use$/) as string,
      expect.stringMatching(/^storage test-store-001: it was opened at .*, and may be in use$/) as string,
    ]);
    await forgetAll();
    expect((await sweep(LONG_AGO)).busy).toEqual([
      expect.stringContaining('guest 90101') as string,
      'storage test-store-001: a guest may still come from it',
    ]);
    expect(practice.staging.site.guests.has(task.as)).toBe(true);
  });

  it('leaves what is of a store that is tried, however old, and takes what is of others', async () => {
    const task = await practice.restored(practice.trial(101));
    for (const restart of [false, true]) {
      if (restart) await forgetAll();
      expect(await sweep(undefined, ['store-002', 'store-001'])).toEqual({
        kind: 'done',
        removed: [],
        left: [],
        busy: [
          expect.stringMatching(/^guest 90101 on stg\d: guests of store-001 are being tried$/) as string,
          'storage test-store-001: guests of store-001 are being tried',
        ],
      });
      expect(practice.staging.site.guests.has(task.as)).toBe(true);
    }
    expect((await sweep(undefined, ['store-002'])).removed).toHaveLength(2);
  });

  it('leaves what a restore left of which nobody knows the store, as long as any store is tried', async () => {
    const task = practice.trial(101);
    practice.staging.chunksOf(practice.volidOf(task)).lose('30');
    doneOf(await practice.worker().openCopy(practice.copy));
    expect((await practice.worker().restoreGuest(task)).kind).toBe('failed');
    await forgetAll();
    const { removed, busy } = await sweep(undefined, ['store-002']);
    expect(removed).toEqual([]);
    expect(busy).toEqual([
      expect.stringMatching(/^guest 90101 on stg\d: guests of a store are being tried$/) as string,
      'storage test-store-001: a guest may still come from it',
    ]);
    expect((await sweep(undefined, [])).removed).toHaveLength(2);
  });

  it('leaves a restore that has just begun, although nothing says yet whose it is', async () => {
    const task = practice.trial(101);
    doneOf(await practice.worker().openCopy(practice.copy));
    practice.fault({ kind: 'restore-slow', params: { factor: 1_000 }, times: 1 });
    const timing = { ...practice.deps.timing, restore: 50 };
    await practice.worker({ timing }).restoreGuest(task);
    await forgetAll();
    const { removed, left, busy } = await sweep(LONG_AGO);
    expect([removed, left]).toEqual([[], []]);
    expect(busy).toHaveLength(2);
  });

  it('forgets trials of which nothing is left, and no young ones', async () => {
    const task = practice.trial(102);
    practice.staging.chunksOf(practice.volidOf(task)).lose('30');
    doneOf(await practice.worker().openCopy(practice.copy));
    expect((await practice.worker().restoreGuest(task)).kind).toBe('failed');
    await sweep(LONG_AGO);
    expect(practice.deps.state.trials()).toHaveLength(1);
    await sweep();
    expect(practice.deps.state.trials()).toEqual([]);
  });

  /** A VM without a disk, as it stays behind when its restore fails. */
  const failedAt = async (as: number) => {
    const task = practice.trial(101, as);
    practice.staging.chunksOf(practice.volidOf(task)).lose('30');
    doneOf(await practice.worker().openCopy(practice.copy));
    expect((await practice.worker().restoreGuest(task)).kind).toBe('failed');
    return { task, node: practice.nodeOf(as) };
  };
  const stays = async (vmid: number, why: RegExp) => {
    const { removed, left } = await sweep();
    expect(removed.filter((each) => each.startsWith('guest'))).toEqual([]);
    expect(left.filter((each) => each.startsWith('guest'))).toEqual([
      expect.stringMatching(new RegExp(`^guest ${vmid} on stg\\d: .*${why.source}`)) as string,
    ]);
    expect(practice.staging.site.guests.has(vmid)).toBe(true);
  };

  describe.each([
    ['a VM', 101, 'qemu' as const],
    ['a container', 102, 'lxc' as const],
  ])('leaves %s that somebody made with the id of a test of long ago', (_, vmid, kind) => {
    const testedBefore = async () => {
      const task = await practice.restored(practice.trial(vmid));
      const node = practice.nodeOf(task.as);
      doneOf(await practice.worker().removeGuest(task));
      return { as: task.as, node };
    };

    it('with notes of its own', async () => {
      const { as, node } = await testedBefore();
      practice.somebodyMakes(as, kind, node, { description: 'The till of the training room. Keep!' });
      await stays(as, /its notes are not those of a test/);
    });

    it('without notes', async () => {
      const { as, node } = await testedBefore();
      practice.somebodyMakes(as, kind, node, {});
      await stays(as, /nobody can tell/);
    });

    it('with notes of its own, though the one before it was taken away by nobody that we know of', async () => {
      const { as, node } = await testedBefore();
      for (const { tasks } of practice.staging.site.nodes.values())
        tasks.all.splice(0, Infinity, ...tasks.all.filter(({ type }) => !type.endsWith('destroy')));
      practice.somebodyMakes(as, kind, node, { description: 'mine' });
      await stays(as, /its notes are not those of a test/);
    });
  });

  it('leaves a VM that somebody made where a restore had failed: root took away what that one left', async () => {
    const { task, node } = await failedAt(90_300);
    doneOf(await practice.worker().removeGuest(task));
    expect(practice.staging.site.guests.has(90_300)).toBe(false);
    practice.somebodyMakes(90_300, 'qemu', node, {});
    await stays(90_300, /nobody can tell/);
  });

  it('leaves a VM that was made after the restore that failed, by its own word', async () => {
    const { node } = await failedAt(90_300);
    const ctime = Math.floor(Date.now() / 1_000) + 3_600;
    practice.staging.site.guests.delete(90_300);
    practice.somebodyMakes(90_300, 'qemu', node, { meta: `creation-qemu=10.1.2,ctime=${ctime}` });
    await stays(90_300, /nobody can tell/);
  });

  it('leaves what is on another node than the restore was', async () => {
    const { node } = await failedAt(90_300);
    practice.staging.site.guests.get(90_300)!.node = ['stg1', 'stg2', 'stg3'].find((other) => other !== node)!;
    await stays(90_300, /nobody can tell/);
  });

  it('leaves a restored guest whose notes somebody took or wrote anew: it is of a test no more', async () => {
    const task = await practice.restored(practice.trial(101));
    const guest = practice.staging.site.guests.get(task.as)!;
    const asRestored = guest.options;
    guest.options = { ...asRestored, description: 'mine' };
    await stays(task.as, /its notes are not those of a test/);
    guest.options = { ...asRestored, description: null };
    await stays(task.as, /nobody can tell/);
  });

  it('leaves a guest with the notes of a test that somebody made after it', async () => {
    const task = await practice.restored(practice.trial(101));
    practice.somebodyDid('qmrestore', task.as, practice.nodeOf(task.as));
    await stays(task.as, /its notes are those of a test, and somebody/);
  });

  it('leaves a clone of a guest under test, whose notes went along', async () => {
    const task = await practice.restored(practice.trial(101));
    const { options } = practice.staging.site.guests.get(task.as)!;
    practice.somebodyMakes(90_500, 'qemu', practice.nodeOf(task.as), { ...(options as Record<string, string>) });
    const { removed, left } = await sweep();
    expect(removed.map((each) => each.split(/ on|,/)[0])).toEqual(['guest 90101', `storage ${STORAGE}`]);
    expect(left).toEqual([
      expect.stringMatching(/^guest 90500 on stg\d: its notes are those of a test, and no restore .* take it away by/),
    ]);
  });

  it('leaves and names what was restored so long ago that no task tells of it, unless it is on record', async () => {
    const task = await practice.restored(practice.trial(101));
    const other = await practice.restored(practice.trial(102));
    for (const node of practice.staging.site.nodes.values()) node.tasks.all.length = 0;
    await practice.deps.state.forgetTrial(task.as);
    const { removed, left } = await sweep();
    expect(removed[0]).toMatch(/^guest 90102 /);
    expect(left).toEqual([
      expect.stringMatching(/^guest 90101 on stg\d: its notes are those of a test, and no restore/),
    ]);
    expect([...practice.staging.site.guests.keys()]).toContain(task.as);
    expect([...practice.staging.site.guests.keys()]).not.toContain(other.as);
  });

  it('leaves a guest of which no task is known', async () => {
    await failedAt(90_300);
    for (const node of practice.staging.site.nodes.values()) node.tasks.all.length = 0;
    await stays(90_300, /nobody can tell/);
  });

  it('leaves storages of others, whatever they are called', async () => {
    await practice.staging.addStorage({ storage: 'test-mine' });
    await practice.staging.addStorage({ storage: 'offsite' });
    expect(await sweep()).toEqual({ kind: 'done', removed: [], left: [], busy: [] });
    expect(practice.staging.site.storages.all.size).toBe(2);
  });

  it('goes on after what could not be taken away, and tells of it', async () => {
    const [one, two] = [practice.trial(101), practice.trial(102)];
    await practice.restored(one);
    await practice.restored(two);
    const guest = practice.staging.site.guests.get(one.as)!;
    guest.options = { ...guest.options, protection: '1' };
    const { removed, left } = await sweep();
    expect(removed).toEqual([expect.stringContaining('guest 90102') as string]);
    expect(left[0]).toMatch(/guest 90101 on stg\d: .*protection/);
  });
});
