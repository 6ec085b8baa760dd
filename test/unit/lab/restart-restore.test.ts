import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, expect, it } from 'vitest';
import { RESTORE } from '#lab/world/layout.js';
import { timeText } from '#lab/world/pbs/datastore.js';
import { PbsStorage } from '#lab/world/storage-sim.js';
import type { RestoreOrder } from '#lab/world/restore-sim.js';
import { readSavedWorld } from '#lab/world/saved.js';
import type { StoreSim } from '#lab/world/store-sim.js';
import { createWorld, type World } from '#lab/world/world.js';
import { aStoreSpec, until } from './lab-support.js';

/** Restored guests, added storages and restores under way, over a restart of the lab. */
const stateDir = mkdtempSync(join(tmpdir(), 'edge-lab-restart-'));
let world: World;
afterEach(() => {
  world.close();
  rmSync(stateDir, { recursive: true, force: true });
});

const start = (): StoreSim => {
  const saved = readSavedWorld(stateDir);
  world = createWorld({ stores: [aStoreSpec()], stateDir, speed: 1_000, saved });
  if (!saved) world.keeper.saveAtStart([]);
  else world.resume();
  return world.staging as StoreSim;
};

it('goes on with what was restored, and with what was being restored', async () => {
  let site = start();
  const store = world.store('store-001');
  const { pbs } = store;
  if (!pbs) throw new Error('The store has no backup server.');
  const guest = store.guests.get(101)!;
  const session = store.storages.pbs('pbs').backup(guest, () => undefined);
  session.write('first');
  session.write('second');
  session.finish(undefined, false);
  // A storage on the store's own server serves here as well as one on the central server.
  const { token, encryptionKey } = store.storages.pbs('pbs').config;
  const config = { storage: 'test', datastore: 'backup', namespace: '', token, encryptionKey, fingerprint: 'AA' };
  site.storages.add(new PbsStorage(site, pbs, config));
  const order = (vmid: number): RestoreOrder => ({
    what: 'restore',
    node: 'stg1',
    vmid,
    kind: 'qemu',
    archive: `test:backup/vm/101/${timeText(session.snapshot.time)}`,
    from: 'test',
    storage: RESTORE.storage,
    pool: RESTORE.pool,
    unique: true,
    start: false,
    force: false,
    options: { net0: `virtio,bridge=${RESTORE.bridge}`, onboot: '0' },
    bridges: [RESTORE.bridge],
    actor: { user: site.token.id, by: site.token.id },
  });
  const node = site.node('stg1');
  const done = site.restores.restore(node, order(90_001));
  await until('the first is restored', () => done.exitstatus === 'OK');
  site.restores.destroy(site.node('stg2'), {
    what: 'destroy',
    node: 'stg2',
    vmid: 103,
    kind: 'lxc',
    purge: false,
    force: false,
    actor: { user: 'x', by: 'x' },
  });
  await until('the other is gone', () => !site.guests.has(103));
  site.start(90_001, { user: 'x', by: 'x' });
  await until('it runs', () => site.guests.get(90_001)?.status === 'running');
  const { upid } = site.restores.restore(node, order(90_002));
  world.keeper.flush();
  world.close();

  site = start();
  expect(site.guests.has(103)).toBe(false);
  expect(site.storages.added).toEqual(['test']);
  expect(site.guests.get(90_001)).toMatchObject({ status: 'running', pool: RESTORE.pool, origin: 'store-001/101' });
  expect(site.guests.get(90_001)?.restored?.content?.revision).toBe(1);
  expect(site.guests.get(90_002)?.lock).toBe('create');
  const task = site.node('stg1').tasks.find(upid);
  await until('the second is restored', () => task?.exitstatus !== undefined);
  expect(task?.exitstatus).toBe('OK');
  expect(site.guests.get(90_002)).toMatchObject({ status: 'stopped', lock: undefined, spec: { role: 'pos' } });
  expect(world.stores.has('staging')).toBe(false);
});
