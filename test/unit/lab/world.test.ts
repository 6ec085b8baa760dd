import { readFileSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { Step } from '#lab/world/fault-table.js';
import { INSTALLED_SNAPSHOT, WEEKLY_SNAPSHOT } from '#lab/world/mirror.js';
import type { NodeSim } from '#lab/world/node-sim.js';
import type { StoreSim } from '#lab/world/store-sim.js';
import { readSavedWorld } from '#lab/world/saved.js';
import { createWorld, type World } from '#lab/world/world.js';
import { aStoreSpec, aWorld, TEST_SPEED, until, type TestWorld } from './lab-support.js';

const BY = 'edge-governor';
const ACTOR = { user: 'edge-governor@pve!worker', by: 'edge-governor@pve!worker' };

describe('the world of the practice fleet', () => {
  let test: TestWorld;
  let world: World;
  let store: StoreSim;
  let n1: NodeSim;

  beforeEach(() => {
    test = aWorld();
    world = test.world;
    store = world.store('store-001');
    n1 = store.node('n1');
  });
  afterEach(() => test.close());

  const effects = (name: string) => world.journal.entries.filter(({ effect }) => effect === name);

  it('empties a node of its HA guests after the status already says maintenance, and brings them back', async () => {
    store.ha.enableMaintenance('n1', BY);
    await until('the status says maintenance', () => store.ha.nodeStatus()['n1'] === 'maintenance');
    expect(store.guests.get(101)?.node).toBe('n1');
    await until('the POS left n1', () => store.guests.get(101)?.node !== 'n1');
    expect(effects('guest.migrate')).toMatchObject([{ by: 'ha-manager', before: 'n1', detail: { mode: 'live' } }]);
    store.ha.disableMaintenance('n1', BY);
    await until('the POS is home', () => store.guests.get(101)?.node === 'n1');
    expect(store.ha.nodeStatus()['n1']).toBe('online');
  });

  it('ends the task of an HA migration at once and does the work in a second one', async () => {
    const asked = store.migrate(101, 'n2', ACTOR);
    await until('the handed over task ended', () => asked.exitstatus !== undefined);
    expect(asked).toMatchObject({ type: 'hamigrate', exitstatus: 'OK' });
    expect(store.guests.get(101)?.node).toBe('n1');
    await until('the guest moved', () => store.guests.get(101)?.node === 'n2');
    expect(n1.tasks.all.map(({ type }) => type)).toEqual(['hamigrate', 'qmigrate']);
  });

  it('reboots with a new boot id, its OSDs down, then recovering, then clean', async () => {
    const before = n1.bootId;
    n1.reboot(BY);
    await until('the node is down', () => n1.state !== 'up');
    await until('its OSDs are seen down', () => store.ceph.health().has('OSD_HOST_DOWN'));
    expect(store.ceph.pgStates()).toEqual([{ state: 'active+undersized+degraded', count: 129 }]);
    expect([...store.ceph.health().keys()]).toEqual(['MON_DOWN', 'OSD_DOWN', 'OSD_HOST_DOWN', 'PG_DEGRADED']);
    expect(store.ceph.quorum).toEqual(['n2', 'n3']);
    await until('it is up', () => n1.up);
    expect(n1.bootId).not.toBe(before);
    await until('all is clean', () => store.ceph.allClean());
    expect(store.ceph.health().size).toBe(0);
    expect(effects('node.up')).toMatchObject([{ node: 'n1', after: { bootId: n1.bootId, kernel: '6.14.11-3-pve' } }]);
  });

  it('says no to stopping OSDs of two hosts, and to those of a second host while one is away', async () => {
    expect(store.ceph.osdOkToStop([0, 1])).toMatchObject({ ok: true, badPgs: [] });
    expect(store.ceph.osdOkToStop([0, 2])?.ok).toBe(false);
    n1.powerOff('test');
    await until('its OSDs are seen down', () => store.ceph.health().has('OSD_HOST_DOWN'));
    expect(store.ceph.osdOkToStop([0, 1])).toEqual({ ok: true, okPgs: [], badPgs: [] });
    expect(store.ceph.osdOkToStop([2])?.ok).toBe(false);
    expect(store.ceph.monOkToStop(['n1'])).toEqual({ ok: true, left: ['n2', 'n3'] });
    expect(store.ceph.monOkToStop(['n2'])).toEqual({ ok: false, left: ['n3'] });
  });

  it('hangs for want of a manager, although the monitors are well', () => {
    world.faults.add({ id: 'm', store: 'store-001', kind: 'mgr-down' });
    expect(store.ceph.osdOkToStop([0])).toBeUndefined();
    expect(store.ceph.hasQuorum).toBe(true);
    world.faults.remove('m');
    expect(store.ceph.osdOkToStop([0])?.ok).toBe(true);
  });

  it('refuses writes without a quorum', () => {
    n1.powerOff('test');
    store.node('n2').powerOff('test');
    expect(() => store.migrate(103, 'n1', ACTOR)).toThrow('cluster not ready - no quorum?');
    expect(() => store.ha.enableMaintenance('n3', BY)).toThrow('no quorum');
  });

  it('starts HA guests of a lost node elsewhere', async () => {
    n1.powerOff('test');
    await until('the POS runs elsewhere', () => store.guests.get(101)?.status === 'running');
    expect(store.guests.get(101)?.node).not.toBe('n1');
  });

  it('upgrades to the snapshot that the sources name, with the new kernel, and boots it', async () => {
    n1.packages.writeSource(
      '/etc/apt/sources.list.d/edge-governor.list',
      `deb http://m/${WEEKLY_SNAPSHOT} trixie main\n`,
      BY,
    );
    expect(n1.packages.pendingUpgrades()).toEqual([]);
    expect((await n1.packages.update(BY)).code).toBe(0);
    const pending = n1.packages.pendingUpgrades();
    expect(pending).toContainEqual({ name: 'proxmox-kernel-6.14.11-4-pve-signed', version: '6.14.11-4' });
    expect(pending).toContainEqual({ name: 'openssl', old: '3.5.4-1~deb13u1', version: '3.5.4-1~deb13u2' });
    expect((await n1.packages.download(BY, pending)).code).toBe(0);
    expect((await n1.packages.install(BY, { lockTimeoutMs: 0 })).stdout).toContain('7 upgraded, 1 newly installed');
    expect(n1.packages.pendingUpgrades()).toEqual([]);
    expect(n1.rebootNeeded).toBe(true);
    n1.reboot(BY);
    await until('the node came back', () => effects('node.up').length === 1);
    expect(n1.kernel).toBe('6.14.11-4-pve');
    expect(effects('packages.install')[0]).toMatchObject({ after: { openssl: '3.5.4-1~deb13u2' } });
  });

  it('leaves dpkg dirty when an installation fails half-way, until it is configured', async () => {
    world.faults.add({ store: 'store-001', node: 'n1', kind: 'apt-fail', times: 1 });
    n1.packages.lists = [WEEKLY_SNAPSHOT];
    const outcome = await n1.packages.install(BY, { lockTimeoutMs: 0 });
    expect(outcome.code).toBe(100);
    expect(n1.packages.audit()).toContain('half configured');
    expect(effects('packages.fail')).toHaveLength(1);
    expect((await n1.packages.install(BY, { lockTimeoutMs: 0 })).stderr).toContain('dpkg --configure -a');
    expect((await n1.packages.configure(BY)).code).toBe(0);
    expect((await n1.packages.install(BY, { lockTimeoutMs: 0 })).code).toBe(0);
  });

  it('kills units and tasks with the node, and leaves what they leave', async () => {
    n1.packages.lists = [WEEKLY_SNAPSHOT];
    n1.units.start('up.service', { argv: ['apt-get'], remainAfterExit: true, by: BY }, () =>
      n1.packages.install(BY, { lockTimeoutMs: 0 }),
    );
    await until('the installation began', () => effects('packages.begin').length === 1);
    const task = store.migrate(101, 'n2', ACTOR);
    const move = () => n1.tasks.all.find(({ type }) => type === 'qmigrate');
    await until('the move began', () => task.exitstatus === 'OK' && move() !== undefined);
    n1.powerOff('test');
    expect(move()?.exitstatus).toBe('unexpected status');
    expect(store.guests.get(101)?.node).toBe('n1');
    expect(n1.units.all.size).toBe(0);
    expect(effects('packages.fail')).toMatchObject([{ detail: { why: 'killed' } }]);
    expect(n1.packages.halfConfigured).toHaveLength(1);
  });

  it('keeps a failed unit until it is reset, and refuses its name meanwhile', async () => {
    world.faults.add({ store: 'store-001', kind: 'apt-fail', times: 1 });
    n1.packages.lists = [WEEKLY_SNAPSHOT];
    const start = () =>
      n1.units.start('up.service', { argv: ['apt-get'], remainAfterExit: true, by: BY }, () =>
        n1.packages.install(BY, { lockTimeoutMs: 0 }),
      );
    start();
    await until('it failed', () => n1.units.failed.length === 1);
    expect(start).toThrow('already loaded');
    expect(n1.units.reset('up.service', BY)).toBe(true);
    expect(n1.units.all.size).toBe(0);
  });

  it('begins an event at the moment of its step, journals it and undoes it at its end', async () => {
    world.faults.add({ store: 'store-001', kind: 'wan-cut', step: 'apt.update', moment: 'after', durationMs: 60_000 });
    expect(store.wanUp).toBe(true);
    await n1.packages.update(BY);
    expect(effects('fault.active')).toMatchObject([{ detail: { kind: 'wan-cut' } }]);
    expect(effects('wan.cut')).toHaveLength(1);
    await until('the link is back', () => store.wanUp);
  });

  it('lets a trap bite so often as it says, only where it says', () => {
    world.faults.add({ store: 'store-001', node: 'n2', kind: 'lost-answer', step: 'guest.migrate', times: 2 });
    const bite = (node: string, step: Step) =>
      world.faults.bite('lost-answer', { store: 'store-001', node, step, moment: 'after' });
    expect(bite('n1', 'guest.migrate')).toBeUndefined();
    expect(bite('n2', 'guest.start')).toBeUndefined();
    expect([1, 2, 3].map(() => bite('n2', 'guest.migrate') !== undefined)).toEqual([true, true, false]);
    expect(effects('fault.active')).toHaveLength(2);
  });

  it('holds a node down until the fault is removed', async () => {
    world.faults.add({ id: 'dead', store: 'store-001', node: 'n1', kind: 'node-stays-down' });
    n1.reboot(BY);
    await until('the fault bit', () => effects('fault.active').length === 1);
    expect(n1.state).toBe('down');
    world.faults.remove('dead');
    await until('the node is up', () => n1.up);
  });

  it('never recovers while recovery is stuck, and does when it is freed', async () => {
    world.faults.add({ id: 's', store: 'store-001', kind: 'stuck-recovery' });
    n1.reboot(BY);
    await until('it recovers', () => store.ceph.pgStates().some(({ state }) => state.includes('recover')));
    expect(store.ceph.osds[0]?.recovery?.until).toBe(Infinity);
    world.faults.remove('s');
    await until('all is clean', () => store.ceph.allClean());
  });

  it('writes each effect as one line, in order', () => {
    store.ceph.setHostFlag('n1', 'noout', BY);
    store.ceph.setHostFlag('n1', 'noout', BY);
    store.ceph.unsetHostFlag('n1', 'noout', BY);
    world.journal.flush();
    const lines = readFileSync(world.journal.file, 'utf8').trimEnd().split('\n');
    expect(lines.map((line) => (JSON.parse(line) as { effect: string }).effect)).toEqual([
      'ceph.noout.set',
      'ceph.noout.unset',
    ]);
  });

  it('keeps its state in a log that is written anew when it has grown long, and goes on from it', async () => {
    world.keeper.saveAtStart([]);
    n1.units.logs.set('chatty.service', ['x'.repeat(2_000_000)]);
    for (let i = 0; i < 12; i += 1) {
      store.ceph.setHostFlag('n1', 'noout', BY);
      await Promise.resolve();
      store.ceph.unsetHostFlag('n1', 'noout', BY);
      await Promise.resolve();
    }
    n1.powerOff('test');
    store.ceph.setHostFlag('n2', 'noout', BY);
    await Promise.resolve();
    // Twenty-five times two megabytes were written.
    expect(statSync(join(world.stateDir, 'world.jsonl')).size).toBeLessThan(32_000_000);
    const saved = readSavedWorld(world.stateDir);
    world.close();
    const again = createWorld({ stores: [aStoreSpec()], speed: TEST_SPEED, stateDir: world.stateDir, saved });
    expect(again.journal.entries).toEqual(world.journal.entries);
    expect(again.store('store-001').node('n1').phase).toBe('off');
    expect([...again.store('store-001').ceph.hostFlags.keys()]).toEqual(['n2']);
    again.close();
  });

  it('completes a journal that lacks what the state tells already', async () => {
    world.keeper.saveAtStart([]);
    store.ceph.setHostFlag('n1', 'noout', BY);
    store.ceph.setHostFlag('n2', 'noout', BY);
    await Promise.resolve();
    const told = [...world.journal.entries];
    const saved = readSavedWorld(world.stateDir);
    world.close();
    writeFileSync(world.journal.file, `${JSON.stringify(told[0])}\n{"seq":2,"at"`);
    const again = createWorld({ stores: [aStoreSpec()], speed: TEST_SPEED, stateDir: world.stateDir, saved });
    expect(again.journal.entries).toEqual(told);
    again.close();
    const lines = readFileSync(world.journal.file, 'utf8').trimEnd().split('\n');
    expect(lines.map((line) => JSON.parse(line) as unknown)).toEqual(told);
  });

  it('ruins the hit rate of a cache that loads a config which never keeps anything', () => {
    const cache = store.guests.get(103);
    const now = Date.now();
    expect(cache?.measure(now, 0, 0)).toMatchObject({ healthy: true, cacheHitPercent: 96.5 });
    cache?.files.set('/etc/varnish/default.vcl', {
      kind: 'file',
      content: 'vcl 4.1;\nsub vcl_recv {\n  return (pass);\n}\n',
    });
    expect(cache?.measure(now, 0, 0).cacheHitPercent).toBe(96.5);
    cache?.reload(['/etc/varnish/default.vcl']);
    expect(cache?.measure(now, 0, 0).cacheHitPercent).toBe(41);
  });

  it('starts with the packages of the first snapshot', () => {
    expect(Object.fromEntries(n1.packages.installed)).toEqual(
      Object.fromEntries(world.mirror.get(INSTALLED_SNAPSHOT) ?? []),
    );
  });
});
