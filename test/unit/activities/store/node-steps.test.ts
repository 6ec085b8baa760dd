import { describe, expect, it } from 'vitest';
import { createNodeSteps } from '#activities/store/node-steps.js';
import { createOperation, type Operation } from '#activities/store/operation.js';
import type { StepAnswer } from '#domain/messages/store.js';
import { stepKey, upgradeUnit } from '#domain/naming.js';
import { stateWords, withLeftSet } from '#domain/outcomes.js';
import type { Stop } from '#domain/reasons.js';
import { aNodeTask, aReleaseRef, aTask, bootIdOf, KERNEL, OLD_KERNEL, PACKAGES } from '../../../support/builders.js';
import {
  aFakeStore,
  aGuest,
  finishUpgrade,
  goDown,
  type FakeNode,
  type FakeStore,
  type FakeStoreOptions,
} from '../../../support/fake-store.js';

type Step = 'drain' | 'upgrade' | 'reboot' | 'rejoin';
interface Given {
  store: FakeStore;
  n1: FakeNode;
  operation: Operation;
}

async function opened(options: FakeStoreOptions = {}): Promise<Given> {
  const store = aFakeStore(options);
  const operation = createOperation(store.deps);
  await operation.open(aTask());
  return { store, n1: store.nodes['n1'] as FakeNode, operation };
}

/** Runs a step as the activity does; another process with the same state when it is called again. */
function run({ store }: Given, step: Step, change: Parameters<typeof aNodeTask>[1] = {}): Promise<StepAnswer<object>> {
  const operation = createOperation(store.deps);
  const steps = createNodeSteps(store.deps, operation);
  const task = aNodeTask('n1', change);
  return operation.step<object>(task, `${step} n1`, (key) => steps[step](task, key));
}

/** The given node is drained, upgraded, and so on, before the test begins. */
async function after(step: Step, options: FakeStoreOptions = {}): Promise<Given> {
  const given = await opened(options);
  for (const each of ['drain', 'upgrade', 'reboot', 'rejoin'] as const) {
    expect(await run(given, each)).toMatchObject({ kind: 'done' });
    if (each === step) break;
  }
  given.store.effects.length = 0;
  return given;
}

const CLOSED = { notAfter: '2026-11-24T10:59:59Z' };
const SHORT = { drain: 10, upgrade: 10, reboot: 10, rejoin: 10, recovery: 10, homecoming: 10 };
/** Where the journal keeps a step of n1. */
const keyOf = (step: Step) => stepKey(aTask(), `${step} n1`);
const UNIT = upgradeUnit(aReleaseRef().manifest);
const where = ({ store }: Given, vmid: number) => store.guests.find((guest) => guest.vmid === vmid)?.node;

describe('a node that is patched', () => {
  it('goes through all four steps and ends as it began, with the release', async () => {
    const given = await after('rejoin');
    expect(given.n1).toMatchObject({ up: true, boots: 1, kernel: KERNEL, installed: PACKAGES });
    expect(given.n1.unit).toBeUndefined();
    expect([...given.store.maintenance, ...given.store.noout]).toEqual([]);
    expect(given.operation.marks()).toEqual([]);
    expect([where(given, 101), where(given, 102), where(given, 103)]).toEqual(['n1', 'n1', 'n3']);
  });

  it.each(['drain', 'upgrade', 'reboot', 'rejoin'] as const)(
    'does nothing when %s is asked for again',
    async (step) => {
      const given = await after(step);
      expect(await run(given, step)).toMatchObject({ kind: 'done' });
      expect(given.store.effects).toEqual([]);
    },
  );
});

describe('drain', () => {
  it('enters maintenance first, lets HA move its own guests, moves each other guest once, then sets noout', async () => {
    const given = await opened();
    expect(await run(given, 'drain')).toEqual({ kind: 'done', moved: 2 });
    const { effects } = given.store;
    expect(effects[0]).toBe('maintenance enable n1');
    expect(effects.at(-1)).toBe('noout n1');
    expect(effects.filter((effect) => effect.startsWith('migrate'))).toEqual([
      expect.stringMatching(/^migrate 102 n1 n[23]$/),
    ]);
    expect(effects).toContain('ha moves 101 n2');
    expect(given.operation.ours()).toEqual({ maintenance: ['n1'], noout: ['n1'] });
    expect(given.operation.homes()).toEqual({ '101': 'n1', '102': 'n1' });
  });

  it('moves a guest to the node with the most room', async () => {
    const given = await opened();
    given.store.guests.push(aGuest(110, 'n2', { maxMemory: 12 * 1024 ** 3 }));
    await run(given, 'drain');
    expect(where(given, 102)).toBe('n3');
  });

  it('marks what it sets before it sets it', async () => {
    const given = await opened();
    given.store.before('maintenance enable', () => expect(given.operation.ours().maintenance).toEqual(['n1']));
    given.store.before('noout', () => expect(given.operation.ours().noout).toEqual(['n1']));
    await run(given, 'drain');
    expect(given.store.effects).toContain('noout n1');
  });

  it('does not move templates, nor guests that are stopped', async () => {
    const given = await opened();
    given.store.guests.push(aGuest(900, 'n1', { template: true }), aGuest(104, 'n1', { status: 'stopped' }));
    expect(await run(given, 'drain')).toEqual({ kind: 'done', moved: 2 });
    expect([where(given, 900), where(given, 104)]).toEqual(['n1', 'n1']);
  });

  it('finds a migration whose answer was lost in the task list, and fires no second one', async () => {
    const given = await opened();
    given.store.loseAnswer('migrate 102');
    expect(await run(given, 'drain')).toMatchObject({ kind: 'done' });
    expect(given.store.count('migrate 102')).toBe(1);
  });

  it('waits for a migration that a dead attempt began', async () => {
    const given = await opened();
    const { store } = given;
    const enable = ['sudo', '-n', 'ha-manager', 'crm-command', 'node-maintenance', 'enable', 'n1'];
    await store.deps.nodes.get('n1')?.run(enable);
    await given.operation.mark('maintenance', 'n1');
    await store.deps.proxmox.migrate('n1', 'lxc', 102, 'n3');
    await store.state.intent(keyOf('drain'), { guests: [101, 102] });
    expect(await run(given, 'drain')).toMatchObject({ kind: 'done' });
    expect(store.count('migrate 102')).toBe(1);
    expect(where(given, 102)).toBe('n3');
  });

  it('goes on where an attempt was killed, without asking anew whether it may', async () => {
    const given = await opened();
    given.store.before('noout', () => {
      if (given.store.count('maintenance enable') === 1) throw new Error('killed');
    });
    await expect(run(given, 'drain')).rejects.toThrow('killed');
    expect(await run(given, 'drain', CLOSED)).toMatchObject({ kind: 'done' });
    expect(given.store.count('migrate')).toBe(1);
    expect(given.operation.homes()).toEqual({ '101': 'n1', '102': 'n1' });
  });

  it('asks anew whether it may when an attempt was killed before it set anything', async () => {
    const given = await opened();
    await given.store.state.intent(keyOf('drain'), { guests: [101, 102] });
    expect(await run(given, 'drain', CLOSED)).toMatchObject({ kind: 'refused', stop: { reason: 'OutsideWindow' } });
    expect(given.store.effects).toEqual([]);
  });

  it('times out when a guest does not leave, and names it', async () => {
    const given = await opened({ timing: SHORT });
    given.store.guests.find(({ vmid }) => vmid === 101)!.stuck = true;
    expect(await run(given, 'drain')).toMatchObject({
      kind: 'failed',
      stop: {
        reason: 'DrainTimeout',
        step: 'drain n1',
        summary: '1 guest is still on n1.',
        detail: expect.arrayContaining(['101 pos']),
      },
    });
    expect(given.store.noout.size).toBe(0);
  });

  it.each([
    ['still has the watchdog', 'n1 (active, Tue Nov 24 11:00:00 2026)'],
    ['is not to be seen', undefined],
  ])('is not over while the resource manager of the node %s', async (_, line) => {
    const given = await opened({ timing: SHORT });
    for (const guest of given.store.guests) guest.node = 'n3';
    given.store.after('maintenance enable', () => {
      given.store.managerShows = (node, shown) => (node === 'n1' ? line : shown);
    });
    expect(await run(given, 'drain')).toMatchObject({
      kind: 'failed',
      stop: {
        reason: 'DrainTimeout',
        summary: '0 guests are still on n1.',
        detail: expect.arrayContaining([`resource manager: ${line ?? 'not reported'}`]),
      },
    });
    expect(given.store.noout.size).toBe(0);
  });

  it('fails when noout does not hold', async () => {
    const given = await opened();
    given.store.after('noout', () => void given.store.noout.delete('n1'));
    expect(await run(given, 'drain')).toMatchObject({ kind: 'failed', stop: { reason: 'StepFailed' } });
    expect(given.operation.ours().noout).toEqual(['n1']);
  });

  it.each(['succeeded', 'failed'] as const)(
    'starts its own after an upgrade of another release that %s',
    async (state) => {
      const given = await after('drain');
      given.n1.unit = { name: 'edge-governor-upgrade-000000000000', state };
      expect(await run(given, 'upgrade')).toMatchObject({ kind: 'done' });
      expect(given.store.effects).toEqual(['remove unit n1', expect.stringMatching(/^upgrade n1 /), 'remove unit n1']);
    },
  );

  const changed: Record<string, (given: Given) => void> = {
    'another node went down': ({ store }) =>
      goDown(Object.assign(store.nodes['n2'] as FakeNode, { rebootLooks: 'never' })),
    'Ceph is not clean any more': ({ store }) => (store.cephShows = (ceph) => void (ceph.degradedObjects = 12)),
    'a guest is locked': ({ store }) => void (store.guests[2]!.lock = 'backup'),
    'someone set noout for the whole cluster': ({ store }) =>
      (store.cephShows = (ceph) => void ceph.flags.push('noout')),
    'someone else put a node into maintenance': ({ store }) => void store.maintenance.add('n3'),
    'dpkg is not clean': ({ n1 }) => void n1.audit.push('pve-manager'),
    'a disk is full': ({ n1 }) => void (n1.rootFree = 0),
    'the others have no room': ({ store }) => void (store.guests[2]!.maxMemory = 60 * 1024 ** 3),
    'the node cannot be read': ({ n1 }) => void goDown(Object.assign(n1, { rebootLooks: 'never' })),
  };
  it.each(Object.entries(changed))(
    'is refused, and nothing is touched, when %s since the decision',
    async (_, happens) => {
      const given = await opened();
      happens(given);
      expect(await run(given, 'drain')).toMatchObject({
        kind: 'refused',
        stop: { reason: 'FactsChanged', step: 'drain n1' },
      });
      expect(given.store.effects.filter((effect) => !effect.startsWith('ha moves'))).toEqual([]);
      expect(given.operation.marks()).toEqual([]);
    },
  );
});

describe('upgrade', () => {
  it('runs apt once, in a unit named by the release, and clears the unit away', async () => {
    const given = await after('drain');
    expect(await run(given, 'upgrade')).toEqual({ kind: 'done', changed: 3 });
    expect(given.store.effects).toEqual([
      expect.stringMatching(/^upgrade n1 apt-get -y .*--force-confdef .*--force-confold dist-upgrade$/),
      'remove unit n1',
    ]);
    expect(given.n1.installed).toMatchObject(PACKAGES);
  });

  it('adopts a unit that runs already', async () => {
    const given = await after('drain');
    Object.assign(given.n1, { unit: { name: UNIT, state: 'running' }, pending: 3 });
    expect(await run(given, 'upgrade')).toMatchObject({ kind: 'done' });
    expect(given.store.count('upgrade')).toBe(0);
  });

  it('adopts a unit whose start was not answered', async () => {
    const given = await after('drain');
    given.store.loseAnswer('upgrade');
    await expect(run(given, 'upgrade')).rejects.toMatchObject({ kind: 'OutcomeUnknown' });
    expect(await run(given, 'upgrade')).toMatchObject({ kind: 'done' });
    expect(given.store.count('upgrade')).toBe(1);
  });

  it('adopts a unit that ended meanwhile', async () => {
    const given = await after('drain');
    finishUpgrade(given.n1);
    given.n1.unit = { name: UNIT, state: 'succeeded' };
    expect(await run(given, 'upgrade')).toEqual({ kind: 'done', changed: 0 });
    expect(given.store.effects).toEqual(['remove unit n1']);
  });

  it('has nothing to do when there is no unit and the node has the release', async () => {
    const given = await after('drain');
    finishUpgrade(given.n1);
    expect(await run(given, 'upgrade', CLOSED)).toEqual({ kind: 'done', changed: 0 });
    expect(given.store.effects).toEqual([]);
  });

  it('fails with the log when apt fails, and leaves the node as it is', async () => {
    const given = await after('drain');
    Object.assign(given.n1, {
      upgradeEnds: 'failed',
      log: ['E: Sub-process /usr/bin/dpkg returned an error code (1)'],
    });
    expect(await run(given, 'upgrade')).toMatchObject({
      kind: 'failed',
      stop: {
        reason: 'UpgradeFailed',
        step: 'upgrade n1',
        detail: ['E: Sub-process /usr/bin/dpkg returned an error code (1)'],
      },
    });
    expect(given.n1.unit?.state).toBe('failed');
    expect([...given.store.maintenance]).toEqual(['n1']);
  });

  it.each([
    ['clean', [], 'no node finished; nothing left set'],
    ['unclean', ['pve-manager'], 'no node finished; left in place: maintenance of n1 (dpkg is not clean: pve-manager)'],
  ])('says no more than that apt failed: the end tells whether the node, %s, is back', async (_, audit, state) => {
    const given = await after('drain');
    Object.assign(given.n1, { upgradeEnds: 'failed' });
    given.store.after('upgrade n1', () => void (given.n1.audit = audit));
    const failed = await run(given, 'upgrade');
    expect(failed).toMatchObject({ stop: { summary: 'apt failed on n1.' } });
    const { leftSet } = await given.operation.close(aTask(), 'failed');
    expect(given.store.maintenance.has('n1')).toBe(audit.length > 0);
    const stop = withLeftSet((failed as { stop: Stop }).stop, leftSet);
    const { store, operationId } = aTask();
    const result = { store, operationId, outcome: 'failed', nodesPatched: 0, stop } as const;
    expect(stateWords(result, String)).toBe(state);
  });

  it('goes by the inventory when a reboot of the node took the unit with it: done', async () => {
    const given = await after('drain');
    given.store.after('upgrade', () => {
      finishUpgrade(given.n1);
      given.n1.unit = undefined;
      goDown(given.n1);
    });
    expect(await run(given, 'upgrade')).toMatchObject({ kind: 'done' });
    expect(given.store.count('upgrade')).toBe(1);
  });

  it('goes by the inventory when a reboot of the node took the unit with it: half done', async () => {
    const given = await after('drain');
    given.store.after('upgrade', () => {
      given.n1.installed['pve-manager'] = '9.1.2';
      given.n1.unit = undefined;
      goDown(given.n1);
    });
    expect(await run(given, 'upgrade')).toMatchObject({
      kind: 'failed',
      stop: {
        reason: 'InventoryMismatch',
        detail: expect.arrayContaining(['proxmox-kernel-6.14.11-4-pve-signed: not installed, pinned 6.14.11-4']),
      },
    });
    expect(given.store.count('upgrade')).toBe(1);
  });

  it.each([0, 1])(
    'fails when dpkg is left unclean though apt ended well (dpkg --audit ends with %d)',
    async (auditCode) => {
      const given = await after('drain');
      given.store.after(
        'upgrade',
        () => void Object.assign(given.n1, { audit: ['pve-manager half configured'], auditCode }),
      );
      expect(await run(given, 'upgrade')).toMatchObject({
        kind: 'failed',
        stop: { reason: 'InventoryMismatch', detail: expect.arrayContaining(['pve-manager half configured']) },
      });
    },
  );

  it('fails when apt installed something else than is pinned', async () => {
    const given = await after('drain');
    given.n1.offers['pve-manager'] = '9.1.3';
    expect(await run(given, 'upgrade')).toMatchObject({
      kind: 'failed',
      stop: { reason: 'InventoryMismatch', detail: ['pve-manager: 9.1.3, pinned 9.1.2'] },
    });
  });

  it('times out when apt does not end, and leaves it running', async () => {
    const given = await after('drain');
    given.n1.upgradeEnds = 'never';
    given.store.deps.timing.upgrade = 10;
    expect(await run(given, 'upgrade')).toMatchObject({ kind: 'failed', stop: { reason: 'UpgradeTimeout' } });
    expect(given.n1.unit?.state).toBe('running');
  });

  it('keeps its hands off an upgrade of another release that runs', async () => {
    const given = await after('drain');
    given.n1.unit = { name: 'edge-governor-upgrade-000000000000', state: 'running' };
    given.n1.upgradeEnds = 'never';
    expect(await run(given, 'upgrade')).toMatchObject({ kind: 'failed', stop: { reason: 'PackagesBroken' } });
    expect(given.store.effects).toEqual([]);
  });

  const changed: Record<string, (given: Given) => void> = {
    'a guest came back to the node': ({ store }) => void store.guests.push(aGuest(120, 'n1')),
    'the maintenance was taken away': ({ store }) => void store.maintenance.delete('n1'),
    'another node is down': ({ store }) =>
      goDown(Object.assign(store.nodes['n2'] as FakeNode, { rebootLooks: 'never' })),
    'a package is on hold': ({ n1 }) => void n1.held.push('pve-qemu-kvm'),
    'Ceph has a check nobody has heard of': ({ store }) =>
      (store.cephShows = (ceph) =>
        void ceph.checks.push({ code: 'NOVEL', severity: 'HEALTH_WARN', message: 'x', muted: false })),
  };
  it.each(Object.entries(changed))(
    'is refused, and no package is touched, when %s since the decision',
    async (_, happens) => {
      const given = await after('drain');
      happens(given);
      expect(await run(given, 'upgrade')).toMatchObject({
        kind: 'refused',
        stop: { reason: 'FactsChanged', step: 'upgrade n1' },
      });
      expect(given.store.count('upgrade')).toBe(0);
    },
  );
});

describe('reboot', () => {
  it('asks once, and is proven by a new boot with the kernel of the release', async () => {
    const given = await after('upgrade');
    expect(await run(given, 'reboot')).toEqual({ kind: 'done', kernel: KERNEL });
    expect(given.store.effects).toEqual(['reboot n1']);
    expect(given.n1.boots).toBe(1);
  });

  it('asks once when the answer is lost', async () => {
    const given = await after('upgrade');
    given.store.loseAnswer('reboot');
    expect(await run(given, 'reboot')).toMatchObject({ kind: 'done' });
    expect(given.store.count('reboot')).toBe(1);
  });

  it('asks anew whether it may when an attempt was killed before the node went down', async () => {
    const given = await after('upgrade');
    await given.store.state.intent(keyOf('reboot'), { bootId: bootIdOf('n1', 0) });
    given.store.cephShows = (ceph) => void ceph.flags.push('noout');
    expect(await run(given, 'reboot')).toMatchObject({ kind: 'refused', stop: { reason: 'FactsChanged' } });
    expect(given.store.effects).toEqual([]);
  });

  it('adopts a boot that happened while nobody looked: no second request', async () => {
    const given = await after('upgrade');
    // What a worker leaves that was killed between its request and the answer.
    await given.store.state.intent(keyOf('reboot'), { bootId: bootIdOf('n1', 0) });
    given.n1.rebootLooks = 1;
    goDown(given.n1);
    expect(await run(given, 'reboot', CLOSED)).toEqual({ kind: 'done', kernel: KERNEL });
    expect(given.store.effects).toEqual([]);
  });

  it('records the boot id before it asks', async () => {
    const given = await after('upgrade');
    given.store.before('reboot', () =>
      expect(given.store.state.step(keyOf('reboot'))).toEqual({ intent: { bootId: bootIdOf('n1', 0) } }),
    );
    await run(given, 'reboot');
    expect(given.store.count('reboot')).toBe(1);
  });

  it('asks again when an accepted request came to nothing', async () => {
    const given = await after('upgrade', { timing: { rebootGrace: 1 } });
    given.n1.rebootsIgnored = 1;
    expect(await run(given, 'reboot')).toMatchObject({ kind: 'done' });
    expect(given.n1.boots).toBe(1);
    expect(given.store.count('reboot')).toBeGreaterThanOrEqual(2);
  });

  it('does not ask again when what allowed the first request is no longer true', async () => {
    const given = await after('upgrade', { timing: { rebootGrace: 1 } });
    given.n1.rebootsIgnored = 1;
    given.store.before('reboot', () => {
      given.store.cephShows = (ceph) => void ceph.flags.push('noout');
    });
    expect(await run(given, 'reboot')).toMatchObject({ kind: 'refused', stop: { reason: 'FactsChanged' } });
    expect([given.store.count('reboot'), given.n1.boots]).toEqual([1, 0]);
  });

  it('does not ask after the grace of an earlier attempt when facts have turned bad meanwhile', async () => {
    const given = await after('upgrade', { timing: { rebootGrace: 1 } });
    await given.store.state.intent(keyOf('reboot'), { bootId: bootIdOf('n1', 0) });
    let looks = 0;
    given.store.cephShows = (ceph) => {
      looks += 1;
      if (looks > 1) ceph.flags.push('noout');
    };
    expect(await run(given, 'reboot')).toMatchObject({ kind: 'refused', stop: { reason: 'FactsChanged' } });
    expect(looks).toBe(2);
    expect(given.store.count('reboot')).toBe(0);
  });

  it('does not give up when the request is refused for the moment', async () => {
    const given = await after('upgrade', { timing: { rebootGrace: 1 } });
    let refusals = 2;
    given.store.before('reboot', () => {
      if ((refusals -= 1) >= 0) throw new Error('got timeout');
    });
    expect(await run(given, 'reboot')).toMatchObject({ kind: 'done' });
    expect(given.store.count('reboot')).toBe(1);
  });

  it('fails when the node does not come back, and says what it saw last', async () => {
    const given = await after('upgrade');
    given.store.deps.timing.reboot = 10;
    given.n1.rebootLooks = 'never';
    expect(await run(given, 'reboot')).toEqual({
      kind: 'failed',
      stop: {
        reason: 'RebootTimeout',
        step: 'reboot n1',
        summary: 'n1 did not come back in time.',
        detail: ['n1 cannot be reached'],
      },
    });
    expect(given.store.count('reboot')).toBe(1);
  });

  it('fails when the node comes back with another kernel', async () => {
    const given = await after('upgrade');
    given.n1.boots_into = OLD_KERNEL;
    expect(await run(given, 'reboot')).toMatchObject({
      kind: 'failed',
      stop: { reason: 'WrongKernel', summary: `n1 came back with kernel ${OLD_KERNEL}, the release names ${KERNEL}.` },
    });
  });

  const changed: Record<string, (given: Given) => void> = {
    'noout was taken away': ({ store }) => void store.noout.delete('n1'),
    'another node is down': ({ store }) =>
      goDown(Object.assign(store.nodes['n3'] as FakeNode, { rebootLooks: 'never' })),
    'an OSD of another host is down': ({ store }) => (store.cephShows = (ceph) => void (ceph.osds[5]!.up = false)),
    'a package is in another version': ({ n1 }) => void (n1.installed['pve-manager'] = '9.1.3'),
    'the boot loader lost the kernel': ({ n1 }) => void (n1.bootable = [OLD_KERNEL]),
    'a guest was started on the node': ({ store }) => void store.guests.push(aGuest(120, 'n1')),
    'dpkg is not clean': ({ n1 }) => void n1.audit.push('pve-manager'),
  };
  it.each(Object.entries(changed))(
    'is refused, and the node stays up, when %s since the decision',
    async (_, happens) => {
      const given = await after('upgrade');
      happens(given);
      expect(await run(given, 'reboot')).toMatchObject({
        kind: 'refused',
        stop: { reason: 'FactsChanged', step: 'reboot n1' },
      });
      expect(given.store.effects).toEqual([]);
    },
  );
});

describe('rejoin', () => {
  it('takes noout back, then maintenance, then brings the guests home that HA does not', async () => {
    const given = await after('reboot');
    expect(await run(given, 'rejoin')).toEqual({ kind: 'done', returned: 1 });
    expect(given.store.effects.filter((effect) => !effect.startsWith('ha moves'))).toEqual([
      'unset noout n1',
      'maintenance disable n1',
      expect.stringMatching(/^migrate 102 n[23] n1$/),
    ]);
    expect([where(given, 101), where(given, 102)]).toEqual(['n1', 'n1']);
    expect(given.operation.marks()).toEqual([]);
  });

  it('sees the store well twice before it takes anything back', async () => {
    const given = await after('reboot');
    let looks = 0;
    let bad = 0;
    given.store.cephShows = (ceph) => {
      looks += 1;
      if (looks === 1) {
        bad = looks;
        ceph.degradedObjects = 3;
      }
    };
    given.store.before('unset noout', () => expect(looks).toBeGreaterThan(bad));
    expect(await run(given, 'rejoin')).toMatchObject({ kind: 'done' });
    expect(bad).toBe(1);
  });

  it('does not take a glance for a proof when the time is over', async () => {
    const given = await after('reboot');
    given.store.deps.timing.recovery = 0;
    given.store.cephShows = (ceph) => void (ceph.degradedObjects = 7);
    expect(await run(given, 'rejoin')).toMatchObject({ kind: 'failed', stop: { reason: 'RecoveryStuck' } });
    expect(given.store.effects).toEqual([]);
  });

  it('fails when Ceph does not recover, says why, and leaves noout and maintenance in place', async () => {
    const given = await after('reboot');
    given.store.deps.timing.recovery = 10;
    given.store.cephShows = (ceph) => void (ceph.degradedObjects = 7);
    expect(await run(given, 'rejoin')).toMatchObject({
      kind: 'failed',
      stop: {
        reason: 'RecoveryStuck',
        step: 'rejoin n1',
        detail: [expect.stringContaining('CephUnclean: not all placement groups')],
      },
    });
    expect(given.store.effects).toEqual([]);
    expect(given.operation.ours()).toEqual({ maintenance: ['n1'], noout: ['n1'] });
  });

  it('fails when the cluster does not become complete', async () => {
    const given = await after('reboot');
    given.store.deps.timing.rejoin = 10;
    goDown(Object.assign(given.store.nodes['n2'] as FakeNode, { rebootLooks: 'never' }));
    expect(await run(given, 'rejoin')).toMatchObject({ kind: 'failed', stop: { reason: 'RejoinTimeout' } });
    expect(given.store.effects).toEqual([]);
  });

  it('fails when noout does not go, and keeps the mark', async () => {
    const given = await after('reboot');
    given.store.after('unset noout', () => void given.store.noout.add('n1'));
    expect(await run(given, 'rejoin')).toMatchObject({ kind: 'failed', stop: { reason: 'UndoIncomplete' } });
    expect(given.operation.ours().noout).toEqual(['n1']);
  });

  it('never looks at the window: proof and undo are always allowed', async () => {
    const given = await after('reboot');
    expect(await run(given, 'rejoin', CLOSED)).toMatchObject({ kind: 'done' });
  });

  it('goes on where an attempt was killed', async () => {
    const given = await after('reboot');
    given.store.after('maintenance disable', () => {
      given.store.deps.timing.rejoin = 5_000;
      throw new Error('killed');
    });
    given.store.deps.timing.rejoin = 0;
    await expect(run(given, 'rejoin')).rejects.toThrow('n1 does not leave maintenance: killed');
    expect(await run(given, 'rejoin')).toMatchObject({ kind: 'done' });
    expect(given.store.count('unset noout')).toBe(2);
    expect([...given.store.noout, ...given.store.maintenance]).toEqual([]);
    expect(given.operation.marks()).toEqual([]);
  });

  it('does not hold the store up for a guest that stays away', async () => {
    const given = await after('reboot');
    given.store.deps.timing.homecoming = 10;
    for (const guest of given.store.guests) guest.stuck = true;
    expect(await run(given, 'rejoin')).toEqual({ kind: 'done', returned: 0 });
  });

  it('leaves a guest alone that people have moved or stopped since', async () => {
    const given = await after('reboot');
    given.store.guests.find(({ vmid }) => vmid === 102)!.status = 'stopped';
    expect(await run(given, 'rejoin')).toEqual({ kind: 'done', returned: 0 });
    expect(given.store.count('migrate')).toBe(0);
  });
});

describe('the maintenance window', () => {
  it.each([
    ['drain', undefined],
    ['upgrade', 'drain'],
    ['reboot', 'upgrade'],
  ] as const)('guards the start of %s', async (step, before) => {
    const given = before ? await after(before) : await opened();
    expect(await run(given, step, CLOSED)).toMatchObject({
      kind: 'refused',
      stop: { reason: 'OutsideWindow', step: `${step} n1`, summary: expect.stringContaining('2026-11-24T10:59:59Z') },
    });
    expect(given.store.effects).toEqual([]);
  });

  it('is over at its very end, not after it', async () => {
    const given = await opened();
    expect(await run(given, 'drain', { notAfter: '2026-11-24T11:00:00Z' })).toMatchObject({ kind: 'refused' });
  });

  it('is open a moment before its end', async () => {
    const given = await opened();
    expect(await run(given, 'drain', { notAfter: '2026-11-24T11:00:01Z' })).toMatchObject({ kind: 'done' });
  });
});
