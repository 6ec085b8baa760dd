import { afterEach, beforeEach, expect, it } from 'vitest';
import { checkJournal } from '#lab/check/check.js';
import { RESTORE_RULES } from '#lab/check/restore-rules.js';
import { snapshotOf, type StoreSnapshot } from '#lab/control/snapshot.js';
import { PracticeStaging, STORAGE } from './practice-staging.js';

/** The rules about restores, each broken over the protocols of the staging site. */
let staging: PracticeStaging;
let atStart: StoreSnapshot[];

beforeEach(async () => {
  staging = await PracticeStaging.start();
  atStart = staging.lab.world.sites.map(snapshotOf);
});
afterEach(() => staging.close());

function violations(): { rule: string; store: string }[] {
  const report = checkJournal(staging.lab.world.journal.entries, {
    atStart,
    now: [snapshotOf(staging.lab.store)],
    staging: snapshotOf(staging.site),
    evidence: { byStore: new Map(), permits: new Map() },
  });
  return report.rules.flatMap(({ id, violations: found }) => found.map(({ store }) => ({ rule: id, store })));
}
const broken = (): string[] => [...new Set(violations().map(({ rule }) => rule))].sort();

async function tearDown(path: string): Promise<void> {
  const { data, message } = await staging.call('DELETE', path);
  expect(message).not.toContain('failed');
  await staging.ended(String(data));
}

it('holds over a whole test of a backup, also of one that cannot be restored', async () => {
  const [good, bad] = [staging.backUp(101), staging.backUp(102)];
  staging.chunksOf(bad).lose('30');
  await staging.addStorage();
  await staging.boot(good, 90_001);
  await staging.exec(90_001, 'pos-selftest');
  expect((await staging.restore(bad, 90_002)).exit).not.toBe('OK');
  await staging.work('POST', '/nodes/stg1/qemu/90001/status/stop');
  await tearDown('/nodes/stg1/qemu/90001');
  await staging.call('DELETE', `/storage/${STORAGE}`);
  expect(violations()).toEqual([]);
});

const BREAKS: Record<string, { title: string; also?: string[]; drive: () => Promise<unknown> }[]> = {
  'restore-over-nothing': [
    {
      title: 'the pool lets a restore overwrite a guest of production that stands still',
      also: ['nothing-restored-left', 'production-untouched', 'restore-in-its-place'],
      drive: async () => {
        const volid = staging.backUp(101);
        await staging.addStorage();
        expect((await staging.restore(volid, 101, { force: '1' })).exit).toBe('OK');
        await staging.call('DELETE', `/storage/${STORAGE}`);
      },
    },
    {
      title: 'a restore overwrites what another one made',
      drive: async () => {
        const volid = staging.backUp(101);
        await staging.addStorage();
        await staging.restore(volid, 90_001);
        await staging.restore(volid, 90_001, { force: '1' });
        await tearDown('/nodes/stg1/qemu/90001');
        await staging.call('DELETE', `/storage/${STORAGE}`);
      },
    },
  ],
  'restore-in-its-place': [
    {
      title: 'a restore goes to the storage of production',
      drive: async () => {
        staging.grant('/storage/local-lvm', 'Datastore.AllocateSpace');
        const volid = staging.backUp(101);
        await staging.addStorage();
        await staging.restore(volid, 90_001, { storage: 'local-lvm' });
        await tearDown('/nodes/stg1/qemu/90001');
        await staging.call('DELETE', `/storage/${STORAGE}`);
      },
    },
    {
      title: 'a restore takes an id below those that are kept for it',
      drive: async () => {
        const volid = staging.backUp(101);
        await staging.addStorage();
        await staging.restore(volid, 200);
        await tearDown('/nodes/stg1/qemu/200');
        await staging.call('DELETE', `/storage/${STORAGE}`);
      },
    },
  ],
  'restored-stays-apart': [
    {
      title: 'a copy is started on the network of production',
      drive: async () => {
        staging.grant('/sdn/zones/localnetwork/vmbr0', 'SDN.Use');
        const volid = staging.backUp(101);
        await staging.addStorage();
        await staging.restore(volid, 90_001, { net0: undefined });
        await staging.work('POST', '/nodes/stg1/qemu/90001/status/start');
        await staging.work('POST', '/nodes/stg1/qemu/90001/status/stop');
        await tearDown('/nodes/stg1/qemu/90001');
        await staging.call('DELETE', `/storage/${STORAGE}`);
      },
    },
  ],
  'nothing-restored-left': [
    { title: 'the storage stays', drive: () => staging.addStorage() },
    {
      title: 'a guest stays',
      drive: async () => {
        const volid = staging.backUp(101);
        await staging.addStorage();
        await staging.restore(volid, 90_001);
        await staging.call('DELETE', `/storage/${STORAGE}`);
      },
    },
    {
      title: 'what a failed restore left stays',
      drive: async () => {
        const volid = staging.backUp(101);
        staging.chunksOf(volid).lose('30');
        await staging.addStorage();
        await staging.restore(volid, 90_001);
        await staging.call('DELETE', `/storage/${STORAGE}`);
      },
    },
  ],
  'production-untouched': [
    {
      title: 'a guest of production is stopped',
      also: ['no-guest-lost'],
      drive: async () => {
        staging.grant('/vms', 'VM.PowerMgmt');
        await staging.work('POST', '/nodes/stg1/qemu/100/status/stop');
      },
    },
    {
      title: 'a guest of production is configured',
      drive: async () => {
        staging.grant('/vms', 'VM.Config.Options');
        await staging.call('PUT', '/nodes/stg1/qemu/100/config', { tags: 'mine' });
      },
    },
    {
      title: 'a guest of production is destroyed',
      drive: async () => {
        staging.grant('/vms', 'VM.Allocate');
        await tearDown('/nodes/stg2/lxc/103');
      },
    },
    {
      title: 'the storage of the backups of a store is taken away',
      drive: async () => {
        staging.lab.store.token.privileges['/']?.push('Datastore.Allocate');
        expect((await staging.lab.request('n1', 'DELETE', '/storage/pbs')).status).toBe(200);
      },
    },
  ],
};

for (const [rule, cases] of Object.entries(BREAKS)) {
  for (const { title, also = [], drive } of cases) {
    it(`finds ${rule} broken when ${title}`, async () => {
      await drive();
      expect(broken()).toEqual([rule, ...also].sort());
    });
  }
}

it('finds a restore at a store, which nobody may do there', async () => {
  staging.lab.store.token.privileges['/']?.push('VM.Allocate', 'Datastore.Allocate', 'SDN.Use');
  const volid = staging.backUp(101).replace(STORAGE, 'pbs');
  const body = { vmid: '90001', archive: volid, storage: 'vm' };
  const { data } = (await staging.lab.request('n1', 'POST', '/nodes/n1/qemu', { body })).body;
  const task = staging.lab.store.node('n1').tasks.find(String(data));
  while (task?.exitstatus === undefined) await new Promise((resolve) => setTimeout(resolve, 5));
  expect(violations()).toContainEqual({ rule: 'restore-in-its-place', store: 'store-001' });
});

it('finds a call that was refused for want of rights', async () => {
  await staging.call('DELETE', '/nodes/stg1/qemu/100');
  expect(broken()).toEqual(['no-refused-command']);
});

it('shows every rule of restores to fail', () => {
  expect(Object.keys(BREAKS).sort()).toEqual(RESTORE_RULES.map(({ id }) => id).sort());
});
