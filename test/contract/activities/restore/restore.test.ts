import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { TrialTask } from '#domain/messages/restore.js';
import { RESTORE } from '#lab/world/layout.js';
import { ProxmoxError } from '#systems/proxmox/errors.js';
import { doneOf, failureIn, PracticeRestore } from './practice-restore.js';

let practice: PracticeRestore;
beforeEach(async () => {
  practice = await PracticeRestore.start();
});
afterEach(() => practice.close());

const NEVER = new Promise<never>(() => undefined);
const made = () => practice.staging.journal('guest.restore');
const open = async () => doneOf(await practice.worker().openCopy(practice.copy));

/** All that a trial has at the site is gone, and nothing of anybody else. */
async function cleared(task: TrialTask): Promise<void> {
  doneOf(await practice.worker().removeGuest(task));
  doneOf(await practice.worker().closeCopy(practice.copy));
  expect(practice.violations()).toEqual([]);
}

describe('a guest with several cards', () => {
  const cards = (vmid: number) => {
    const spec = practice.staging.lab.store.spec.guests.find((guest) => guest.vmid === vmid)!;
    Object.assign(spec, { bridges: ['vmbr0', 'vmbr1'] });
  };
  const ALONE = RESTORE.bridge;

  it.each([
    ['a VM', 101],
    ['a container', 102],
  ])('%s is restored with all of them where it is alone, and started', async (_, vmid) => {
    cards(vmid);
    const task = await practice.restored(practice.trial(vmid));
    expect(made()).toMatchObject([{ guest: task.as, detail: { nets: [ALONE, ALONE] } }]);
    doneOf(await practice.worker().bootGuest(task));
    expect(practice.staging.site.guests.get(task.as)?.status).toBe('running');
    expect(practice.staging.journal('network.conflict')).toEqual([]);
    await cleared(task);
  });

  it('whose settings could not be read is not restored where others are', async () => {
    cards(101);
    const task = practice.trial(101);
    await open();
    const unreadable = async () => Promise.reject(new ProxmoxError('Server', 'command failed: exit code 255'));
    const blind = practice.worker({ proxmox: { ...practice.deps.proxmox, archivedConfig: unreadable } });
    const failed = failureIn(await blind.restoreGuest(task));
    expect(failed).toMatchObject({ fault: 'site', why: expect.stringContaining('vmbr1, SDN.Use') as string });
    expect(made()).toEqual([]);
    await cleared(task);
  });

  it('is not started when the site lets one of them be elsewhere', async () => {
    cards(101);
    const bridges = [...practice.staging.site.layout.bridges, { iface: 'vmbr1', ports: 'eno3' }];
    Object.assign(practice.staging.site, { layout: { ...practice.staging.site.layout, bridges } });
    const { permissions } = practice.deps.proxmox;
    // Of a token that may use more nothing would be restored; here Proxmox alone lets it.
    const asBefore = await permissions();
    const task = practice.trial(101);
    await open();
    practice.staging.grant('/sdn/zones/localnetwork/vmbr1', 'SDN.Use');
    const proxmox = {
      ...practice.deps.proxmox,
      archivedConfig: async () => ({}),
      permissions: async () => asBefore,
    };
    const failed = failureIn(await practice.worker({ proxmox }).restoreGuest(task));
    expect(failed).toMatchObject({ fault: 'site', detail: [expect.stringContaining('net1 is not on') as string] });
    expect(made()).toMatchObject([{ detail: { nets: [ALONE, 'vmbr1'] } }]);
    expect(practice.staging.journal('guest.start').filter(({ guest }) => guest === task.as)).toEqual([]);
    expect(practice.staging.journal('network.conflict')).toEqual([]);
    await cleared(task);
  });
});

describe('a guest with devices of its node', () => {
  const give = (vmid: number, devices: Record<string, string>) => {
    const spec = practice.staging.lab.store.spec.guests.find((guest) => guest.vmid === vmid)!;
    Object.assign(spec, { devices });
  };
  const KINDS: [string, number, Record<string, string>][] = [
    ['a VM with a USB scale', 101, { usb0: 'host=0922:8003' }],
    ['a VM with a mapped USB printer', 101, { usb2: 'mapping=printer,usb3=1' }],
    ['a VM with a PCI card', 101, { hostpci0: '0000:01:00.0,pcie=1' }],
    ['a VM with a serial and a parallel port', 101, { serial0: '/dev/ttyS0', parallel0: '/dev/parport0' }],
    ['a VM with all of them', 101, { usb0: 'host=1-1.2', hostpci1: 'mapping=gpu', serial1: '/dev/ttyUSB0' }],
    ['a container with a serial adapter', 102, { dev0: '/dev/ttyUSB0,gid=20', dev1: 'path=/dev/ttyUSB1' }],
  ];
  const settingsOf = async (task: TrialTask) => {
    const kind = task.snapshot.type === 'vm' ? 'qemu' : 'lxc';
    const { node } = practice.staging.site.guests.get(task.as)!;
    return practice.deps.proxmox.guestConfig(node, kind, task.as);
  };

  it.each(KINDS)('%s is had back without them, and it is told which', async (_, vmid, devices) => {
    give(vmid, devices);
    const task = practice.trial(vmid);
    await open();
    const leftOut = Object.keys(devices).toSorted();
    expect(doneOf(await practice.worker().restoreGuest(task))).toMatchObject({ leftOut });
    const settings = Object.entries(await settingsOf(task)).filter(([name]) => leftOut.includes(name));
    // What stands in for a USB device leads nowhere, and stays.
    expect(settings.filter(([, value]) => value !== 'spice')).toEqual([]);
    expect(doneOf(await practice.worker().restoreGuest(task))).toMatchObject({ leftOut });
    doneOf(await practice.worker().bootGuest(task));
    expect([practice.restores, made().length]).toEqual([1, 1]);
    await cleared(task);
  });

  it('is told which also by a worker that lost its disk', async () => {
    give(101, { usb0: 'host=0922:8003', serial0: '/dev/ttyS0' });
    const task = await practice.restored(practice.trial(101));
    await rm(join(practice.config.stateDir, 'trials.json'));
    await practice.restart();
    expect(doneOf(await practice.worker().restoreGuest(task))).toMatchObject({ leftOut: ['serial0', 'usb0'] });
    await cleared(task);
  });

  it.each(['before', 'after'] as const)(
    'is had back although the answer is lost %s they are taken from it',
    async (moment) => {
      give(102, { dev0: '/dev/ttyUSB0' });
      const task = practice.trial(102);
      await open();
      practice.fault({ kind: 'lost-answer', step: 'guest.configure', moment, times: 1 });
      await expect(practice.worker().restoreGuest(task)).rejects.toMatchObject({ nonRetryable: false });
      expect(doneOf(await practice.worker().restoreGuest(task))).toMatchObject({ leftOut: ['dev0'] });
      await cleared(task);
    },
  );

  it('that cannot be taken from it is not started, and that is the fault of the site', async () => {
    give(102, { dev0: '/dev/ttyUSB0' });
    const task = practice.trial(102);
    await open();
    // Says that it did, and did not.
    const nodes = new Map(
      [...practice.deps.nodes].map(([name, runner]) => [
        name,
        {
          close: () => runner.close(),
          run: (...given: Parameters<typeof runner.run>) =>
            given[0].includes('--delete') ? Promise.resolve({ code: 0, stdout: '', stderr: '' }) : runner.run(...given),
        },
      ]),
    );
    const failed = failureIn(await practice.worker({ nodes }).restoreGuest(task));
    expect(failed).toMatchObject({ fault: 'site', detail: [expect.stringContaining('dev0 may reach') as string] });
    expect(failureIn(await practice.worker().bootGuest(task)).fault).toBe('site');
    await cleared(task);
  });

  it('is refused where the right to leave them out is not given', async () => {
    give(101, { hostpci0: '0000:01:00.0' });
    delete practice.staging.site.token.privileges['/mapping/pci/edge-none'];
    const task = practice.trial(101);
    await open();
    expect(failureIn(await practice.worker().restoreGuest(task)).fault).toBe('site');
    expect(made()).toEqual([]);
    await cleared(task);
  });

  it('keeps what leads nowhere', async () => {
    give(101, { serial0: 'socket', usb0: 'spice,usb3=1' });
    const task = await practice.restored(practice.trial(101));
    expect(doneOf(await practice.worker().restoreGuest(task))).not.toHaveProperty('leftOut');
    expect(await settingsOf(task)).toMatchObject({ serial0: 'socket', usb0: 'spice,usb3=1' });
    await cleared(task);
  });
});

describe('a worker that is killed', () => {
  it.each([
    ['a VM', 101],
    ['a container', 102],
  ])('in the middle of the restore of %s goes on waiting for it', async (_, vmid) => {
    const task = practice.trial(vmid);
    await open();
    const proxmox = { ...practice.deps.proxmox, taskStatus: () => NEVER };
    void practice.worker({ proxmox }).restoreGuest(task);
    await expect.poll(() => practice.deps.state.trial(task.as)?.upid).toBeDefined();
    const { askedAt } = practice.deps.state.trial(task.as)!;
    await practice.restart();
    expect(await practice.worker().restoreGuest(task)).toMatchObject({ kind: 'done', startedAt: askedAt });
    expect([practice.restores, made().length]).toEqual([1, 1]);
    await cleared(task);
  });

  it('before it learns the name of the task finds it', async () => {
    const task = practice.trial(101);
    await open();
    const { proxmox } = practice.deps;
    const dying = {
      ...proxmox,
      restore: (...given: Parameters<typeof proxmox.restore>) => proxmox.restore(...given).then(() => NEVER),
    };
    void practice.worker({ proxmox: dying }).restoreGuest(task);
    await expect.poll(() => practice.restores).toBe(1);
    await practice.restart();
    doneOf(await practice.worker().restoreGuest(task));
    expect(practice.restores).toBe(1);
    await cleared(task);
  });

  it('before it asks for anything asks then, and the time of the first attempt counts', async () => {
    const task = practice.trial(101);
    await open();
    let asks = false;
    const restore = () => {
      asks = true;
      return NEVER;
    };
    void practice.worker({ proxmox: { ...practice.deps.proxmox, restore } }).restoreGuest(task);
    await expect.poll(() => asks).toBe(true);
    const { askedAt } = practice.deps.state.trial(task.as)!;
    await practice.restart();
    expect(await practice.worker().restoreGuest(task)).toMatchObject({ kind: 'done', startedAt: askedAt });
    expect(practice.restores).toBe(1);
    await cleared(task);
  });

  it('and loses its disk as well knows its guests by their notes', async () => {
    const task = practice.trial(101);
    await open();
    void practice.worker({ proxmox: { ...practice.deps.proxmox, taskStatus: () => NEVER } }).restoreGuest(task);
    await expect.poll(() => practice.restores).toBe(1);
    const { askedAt } = practice.deps.state.trial(task.as)!;
    await rm(join(practice.config.stateDir, 'trials.json'));
    await practice.restart();
    const answer = doneOf(await practice.worker().restoreGuest(task));
    expect(answer.startedAt).toBe(askedAt);
    expect(answer.bytes).toBeGreaterThan(0);
    expect(practice.restores).toBe(1);
    doneOf(await practice.worker().bootGuest(task));
    await cleared(task);
  });
});

describe('a restore whose answer is lost', () => {
  it('is found, and made once', async () => {
    const task = practice.trial(101);
    await open();
    practice.fault({ kind: 'lost-answer', step: 'guest.restore', moment: 'after', times: 1 });
    doneOf(await practice.worker().restoreGuest(task));
    expect([practice.restores, made().length]).toEqual([1, 1]);
    await cleared(task);
  });

  it('and that did not come about is asked for by the next attempt', async () => {
    const task = practice.trial(101);
    await open();
    practice.fault({ kind: 'lost-answer', step: 'guest.restore', moment: 'before', times: 1 });
    await expect(practice.worker().restoreGuest(task)).rejects.toMatchObject({ type: 'OutcomeUnknown' });
    expect(practice.restores).toBe(0);
    doneOf(await practice.worker().restoreGuest(task));
    expect(practice.restores).toBe(1);
    await cleared(task);
  });

  it('is not taken for the one before it with the same id', async () => {
    const task = practice.trial(102);
    await open();
    practice.fault({ kind: 'restore-fails', step: 'guest.restore', moment: 'before', times: 1 });
    expect(failureIn(await practice.worker().restoreGuest(task)).fault).toBe('site');
    doneOf(await practice.worker().removeGuest(task));
    practice.fault({ kind: 'lost-answer', step: 'guest.restore', moment: 'before', times: 1 });
    await expect(practice.worker().restoreGuest(task)).rejects.toMatchObject({ type: 'OutcomeUnknown' });
    doneOf(await practice.worker().restoreGuest(task));
    expect(practice.restores).toBe(2);
    await cleared(task);
  });
});

const GONE = { fault: 'site', why: expect.stringMatching(/holds .* no more: .*pruned/) as string };

/** As the central server does by its policy, when a run has long begun. */
function prune({ store, snapshot: { type, id, time } }: TrialTask): void {
  const copies = practice.staging.central.datastore('offsite');
  const { group, snapshot } = copies.snapshot(store, type, id, time);
  copies.removeSnapshot(group, snapshot);
}

describe('a restore', () => {
  it('is told again as it was, and not made again', async () => {
    const task = await practice.restored(practice.trial(101));
    const [one, other] = [await practice.worker().restoreGuest(task), await practice.worker().restoreGuest(task)];
    expect(one).toEqual(other);
    expect(practice.restores).toBe(1);
    await cleared(task);
  });

  it('goes where there is most room, counting what others will take', async () => {
    const [one, other] = [practice.trial(101), practice.trial(102)];
    await open();
    await Promise.all([one, other].map(async (task) => doneOf(await practice.worker().restoreGuest(task))));
    const { guests } = practice.staging.site;
    expect(guests.get(one.as)?.node).not.toBe(guests.get(other.as)?.node);
    doneOf(await practice.worker().removeGuest(one));
    await cleared(other);
  });

  it.each([
    ['a VM', 101],
    ['a container', 102],
  ])('of %s with a chunk missing is the fault of the guest, and leaves nothing', async (_, vmid) => {
    const task = practice.trial(vmid);
    practice.staging.chunksOf(practice.volidOf(task)).lose('30');
    await open();
    const failed = failureIn(await practice.worker().restoreGuest(task));
    expect(failed).toMatchObject({ fault: 'guest', why: expect.stringContaining('.chunks') as string });
    expect(failureIn(await practice.worker().restoreGuest(task))).toEqual(failed);
    expect(practice.restores).toBe(1);
    await cleared(task);
  });

  it('with the wrong key is the fault of the guest', async () => {
    const task = practice.trial(101);
    const wrong = JSON.stringify({ kdf: null, data: Buffer.alloc(32, 7).toString('base64') });
    const worker = practice.worker({ keyOf: () => Promise.resolve(wrong) });
    doneOf(await worker.openCopy(practice.copy));
    const failed = failureIn(await worker.restoreGuest(task));
    expect(failed).toMatchObject({ fault: 'guest', why: expect.stringContaining('wrong key') as string });
    await cleared(task);
  });

  it('of a snapshot that was pruned since the copy was opened says nothing of the guest, and is not begun', async () => {
    const task = practice.trial(101);
    await open();
    const gone = { ...task, snapshot: { ...task.snapshot, time: task.snapshot.time - 86_400 } };
    expect(failureIn(await practice.worker().restoreGuest(gone))).toMatchObject(GONE);
    expect(practice.restores).toBe(0);
    await cleared(task);
  });

  it('of a snapshot that is pruned in the middle of it says nothing of the guest either', async () => {
    const task = practice.trial(102);
    practice.staging.backUp(102);
    await open();
    const { proxmox } = practice.deps;
    const restore = async (...given: Parameters<typeof proxmox.restore>) => {
      prune(task);
      return proxmox.restore(...given);
    };
    const worker = practice.worker({ proxmox: { ...proxmox, restore } });
    expect(failureIn(await worker.restoreGuest(task))).toMatchObject(GONE);
    expect(practice.restores).toBe(1);
    await cleared(task);
  });

  it('of a snapshot that is there and was never finished is the fault of the guest', async () => {
    const task = practice.trial(101);
    await open();
    const { client } = practice.deps.copies;
    const snapshots: typeof client.snapshots = async (...given) =>
      (await client.snapshots(...given)).map(({ size: _, ...one }) => one);
    const copies = { ...practice.deps.copies, client: { ...client, snapshots } };
    expect(failureIn(await practice.worker({ copies }).restoreGuest(task))).toMatchObject({ fault: 'guest' });
    await cleared(task);
  });

  it('of an older snapshot brings back what the guest was then, not what it is now', async () => {
    const { guests } = practice.staging.lab.store;
    const sequenceIn = async (task: TrialTask) => {
      await practice.restored(task);
      doneOf(await practice.worker().bootGuest(task));
      const { canary } = doneOf(await practice.worker().probeGuest({ ...task, probes: [] }));
      doneOf(await practice.worker().removeGuest(task));
      return canary;
    };
    guests.get(101)!.writes = { count: 3, at: Date.now() };
    const older = practice.trial(101, 90_201);
    guests.get(101)!.writes = { count: 9, at: Date.now() };
    const newest = practice.trial(101, 90_202);
    expect(newest.snapshot.time).toBeGreaterThan(older.snapshot.time);
    expect(doneOf(await practice.worker().openCopy(practice.copy)).copy.snapshots).toHaveLength(2);
    expect(await sequenceIn(older)).toMatchObject({ sequence: 3 });
    expect(await sequenceIn(newest)).toMatchObject({ sequence: 9 });
    expect(made().map(({ after }) => after)).toMatchObject([{ revision: 3 }, { revision: 9 }]);
    await cleared(newest);
  });

  it.each([
    ['when it begins', undefined],
    ['in its task', 'guest.restore' as const],
  ])('to a full storage is the fault of the site, %s', async (_, step) => {
    const task = practice.trial(101);
    await open();
    practice.fault({ kind: 'restore-storage-full', ...(step ? { step, moment: 'before' as const } : {}) });
    expect(failureIn(await practice.worker().restoreGuest(task))).toMatchObject({ fault: 'site' });
    expect(practice.restores).toBe(step ? 1 : 0);
    await cleared(task);
  });

  const TROUBLES: [string, Parameters<PracticeRestore['fault']>[0]][] = [
    ['the line breaks', { kind: 'restore-fails', step: 'guest.restore', moment: 'during', times: 1 }],
    ['a disk fails', { kind: 'restore-fails', step: 'guest.restore', moment: 'before', times: 1 }],
    ['its node goes down', { kind: 'node-crash', step: 'guest.restore', moment: 'during', times: 1 }],
  ];
  it.each(TROUBLES)('is the fault of the site when %s', async (_, spec) => {
    const task = practice.trial(102);
    await open();
    const { faults } = practice.staging.lab.world;
    practice.fault({ id: 'trouble', ...spec });
    expect(failureIn(await practice.worker().restoreGuest(task))).toMatchObject({ fault: 'site' });
    expect(practice.restores).toBe(1);
    faults.remove('trouble');
    await expect.poll(() => practice.staging.site.nodesUp).toHaveLength(3);
    await cleared(task);
  });

  it('is the fault of the site when the backup server goes down in the middle of it', async () => {
    const task = practice.trial(102);
    await open();
    const { proxmox } = practice.deps;
    const restore = async (...given: Parameters<typeof proxmox.restore>) => {
      const upid = await proxmox.restore(...given);
      practice.fault({ id: 'down', store: 'central', kind: 'pbs-down' });
      return upid;
    };
    const failed = failureIn(await practice.worker({ proxmox: { ...proxmox, restore } }).restoreGuest(task));
    expect(failed).toMatchObject({ fault: 'site', why: expect.stringContaining('refused') as string });
    await cleared(task);
  });

  it('that takes too long is broken off when its guest is taken away', async () => {
    const task = practice.trial(101);
    await open();
    practice.fault({ kind: 'restore-slow', params: { factor: 1_000 }, times: 1 });
    const timing = { ...practice.deps.timing, restore: 100 };
    expect(failureIn(await practice.worker({ timing }).restoreGuest(task)).fault).toBe('site');
    expect(practice.staging.site.guests.get(task.as)?.lock).toBe('create');
    expect(practice.restoring).toBe(1);
    await cleared(task);
    expect(practice.restoring).toBe(0);
  });

  it('is refused over a guest that this trial did not make, which stays as it is', async () => {
    const task = practice.trial(101);
    const other = await practice.restored({ ...practice.trial(102, task.as), run: 'restores-2026-w47' });
    const before = practice.staging.lab.world.journal.entries.length;
    expect(failureIn(await practice.worker().restoreGuest(task))).toMatchObject({ fault: 'site' });
    expect(failureIn(await practice.worker().removeGuest(task))).toMatchObject({ fault: 'site' });
    await rm(join(practice.config.stateDir, 'trials.json'));
    await practice.restart();
    expect(failureIn(await practice.worker().restoreGuest(task))).toMatchObject({ fault: 'site' });
    expect(failureIn(await practice.worker().removeGuest(task))).toMatchObject({ fault: 'site' });
    expect(practice.staging.lab.world.journal.entries).toHaveLength(before);
    await cleared(other);
  });

  it('is refused to an id outside of those for tests, and so is taking one away', async () => {
    const task = { ...practice.trial(101), as: 100 };
    for (const run of ['restoreGuest', 'bootGuest', 'removeGuest'] as const) {
      await expect(practice.worker()[run](task)).rejects.toMatchObject({ type: 'InvalidInput', nonRetryable: true });
    }
    expect(practice.staging.site.guests.get(100)?.status).toBe('running');
  });
});

/** The last words of a run about a guest that nobody can prove to be of a test. */
const STILL_THERE = { fault: 'site', why: expect.stringMatching(/^It is still there: .*somebody else's/) as string };

describe('a guest that somebody else made or kept is not taken away', () => {
  const stays = async (task: TrialTask) => {
    const before = practice.staging.lab.world.journal.entries.length;
    expect(failureIn(await practice.worker().removeGuest(task))).toMatchObject(STILL_THERE);
    await practice.restart();
    const now = () => new Date(Date.now() + 3 * 86_400_000);
    expect(failureIn(await practice.worker({ now }).removeGuest(task))).toMatchObject(STILL_THERE);
    expect(practice.staging.site.guests.has(task.as)).toBe(true);
    expect(practice.staging.lab.world.journal.entries).toHaveLength(before);
  };
  /** Without a disk, as it stays behind when its restore fails. */
  const dead = async (): Promise<TrialTask> => {
    const task = practice.trial(101);
    practice.staging.chunksOf(practice.volidOf(task)).lose('30');
    await open();
    expect(failureIn(await practice.worker().restoreGuest(task)).fault).toBe('guest');
    return task;
  };

  describe.each([
    ['a VM', 101, 'qemu' as const, 'qm'],
    ['a container', 102, 'lxc' as const, 'vz'],
  ])('%s', (_, vmid, kind, short) => {
    const tried = async () => {
      const task = await practice.restored(practice.trial(vmid));
      doneOf(await practice.worker().bootGuest(task));
      return { task, node: practice.nodeOf(task.as), guest: practice.staging.site.guests.get(task.as)! };
    };

    it('that took the place of the one that was restored, and of which no task tells', async () => {
      const { task, node } = await tried();
      practice.staging.site.guests.delete(task.as);
      practice.somebodyMakes(task.as, kind, node, {});
      await stays(task);
    });

    it('that was made anew, as the tasks tell', async () => {
      const { task, node } = await tried();
      practice.staging.site.guests.delete(task.as);
      practice.somebodyDid(`${short}destroy`, task.as, node);
      practice.somebodyDid(`${short}create`, task.as, node);
      practice.somebodyMakes(task.as, kind, node, {});
      await stays(task);
    });

    it('whose notes somebody took or wrote anew, to keep it', async () => {
      const { task, guest } = await tried();
      const asRestored = guest.options;
      guest.options = { ...asRestored, description: null };
      await stays(task);
      guest.options = { ...asRestored, description: 'mine' };
      await stays(task);
    });

    it('that somebody had back from a backup of the one that was tried, with its notes', async () => {
      const { task, node } = await tried();
      practice.somebodyDid(`${short}restore`, task.as, node);
      await stays(task);
    });

    it('that bears the notes of a test, and came after that one had been destroyed', async () => {
      const { task, node } = await tried();
      practice.somebodyDid(`${short}destroy`, task.as, node);
      await stays(task);
    });
  });

  it('that was made where a restore had failed, and root had taken away what that one left', async () => {
    const task = await dead();
    const node = practice.nodeOf(task.as);
    practice.somebodyDid('qmdestroy', task.as, node);
    practice.staging.site.guests.delete(task.as);
    practice.somebodyMakes(task.as, 'qemu', node, {});
    await stays(task);
  });

  it('that is a container where the restore of a VM had failed', async () => {
    const task = await dead();
    const node = practice.nodeOf(task.as);
    practice.staging.site.guests.delete(task.as);
    practice.somebodyMakes(task.as, 'lxc', node, {});
    await stays(task);
  });

  it('when the token may not see what others did there', async () => {
    const task = await dead();
    delete practice.staging.site.token.privileges['/'];
    expect(failureIn(await practice.worker().removeGuest(task))).toMatchObject({
      fault: 'site',
      why: expect.stringContaining('Sys.Audit') as string,
    });
    expect(practice.staging.site.guests.has(task.as)).toBe(true);
  });
});

describe('what is left of a guest of ours is taken away', () => {
  it('when its restore failed, and somebody tried in vain to destroy it', async () => {
    const task = practice.trial(101);
    practice.staging.chunksOf(practice.volidOf(task)).lose('30');
    await open();
    expect(failureIn(await practice.worker().restoreGuest(task)).fault).toBe('guest');
    practice.somebodyDid('qmdestroy', task.as, practice.nodeOf(task.as), 'unexpected status');
    await cleared(task);
    expect(practice.staging.site.guests.has(task.as)).toBe(false);
  });

  it.each([
    ['a VM', 101],
    ['a container', 102],
  ])('when %s was half destroyed, which takes its notes first', async (_, vmid) => {
    const task = await practice.restored(practice.trial(vmid));
    const guest = practice.staging.site.guests.get(task.as)!;
    guest.options = { ...guest.options, description: null };
    guest.lock = 'destroyed';
    await cleared(task);
    expect(practice.staging.site.guests.has(task.as)).toBe(false);
  });
});

describe('taking a guest away', () => {
  it.each([
    ['guest.stop', 'before'],
    ['guest.stop', 'after'],
    ['guest.destroy', 'before'],
    ['guest.destroy', 'after'],
  ] as const)('comes to its end when the answer to %s is lost %s the effect', async (step, moment) => {
    const task = await practice.restored(practice.trial(101));
    doneOf(await practice.worker().bootGuest(task));
    practice.fault({ kind: 'lost-answer', step, moment, times: 1 });
    await expect(practice.worker().removeGuest(task)).rejects.toMatchObject({ nonRetryable: false });
    await expect
      .poll(
        () =>
          practice
            .worker()
            .removeGuest(task)
            .catch((error: unknown) => error),
        { timeout: 5_000 },
      )
      .toEqual({ kind: 'done' });
    await cleared(task);
  });

  it.each(['guest.stop', 'guest.destroy'] as const)('goes on when the token is refused once at %s', async (step) => {
    const task = await practice.restored(practice.trial(101));
    doneOf(await practice.worker().bootGuest(task));
    practice.fault({ kind: 'token-expired', step, times: 1 });
    doneOf(await practice.worker().removeGuest(task));
    await cleared(task);
  });

  it('is not done when the token stays refused, and says so', async () => {
    const task = await practice.restored(practice.trial(101));
    practice.fault({ kind: 'token-expired', step: 'guest.destroy' });
    const timing = { ...practice.deps.timing, remove: 100 };
    expect(failureIn(await practice.worker({ timing }).removeGuest(task))).toMatchObject({ fault: 'site' });
  });

  it('is done at once when there is none', async () => {
    doneOf(await practice.worker().removeGuest(practice.trial(101)));
    expect(practice.staging.journal('guest.destroy')).toEqual([]);
  });

  it('goes over SSH for what a failed restore left, also when the connection breaks', async () => {
    const task = practice.trial(101);
    practice.staging.chunksOf(practice.volidOf(task)).lose('30');
    await open();
    failureIn(await practice.worker().restoreGuest(task));
    practice.staging.site.guests.get(task.as)!.lock = 'create';
    practice.fault({ kind: 'node-crash', step: 'guest.destroy', moment: 'during', times: 1, id: 'crash' });
    await expect(practice.worker().removeGuest(task)).rejects.toMatchObject({ nonRetryable: false });
    practice.staging.lab.world.faults.remove('crash');
    await expect.poll(() => practice.staging.site.nodesUp).toHaveLength(3);
    await cleared(task);
    expect(practice.staging.journal('guest.unlock')).toMatchObject([{ guest: task.as, before: 'create' }]);
  });
});
