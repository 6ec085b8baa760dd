import { describe, expect, it } from 'vitest';
import {
  gatherFacts,
  readAudit,
  readInstalled,
  readUpgradeUnit,
  REQUIRED_PRIVILEGES,
  unitState,
} from '#activities/store/facts.js';
import { decideReady } from '#domain/decide-store.js';
import type { CommandResult, CommandRunner } from '#systems/ssh/types.js';
import { KERNEL, NODES, OLD_PACKAGES, PACKAGES } from '../../../support/builders.js';
import { aFakeStore, goDown, type FakeStore } from '../../../support/fake-store.js';

const WANTED = {
  nodes: NODES,
  stoppable: NODES,
  packages: Object.keys(PACKAGES),
  privileges: true,
  load: true,
  managers: true,
};
const CONTEXT = {
  expectedNodes: NODES,
  packages: PACKAGES,
  kernel: KERNEL,
  ours: { maintenance: [], noout: [] },
  work: NODES,
};

const saying = (result: Partial<CommandResult>): CommandRunner => ({
  run: () => Promise.resolve({ code: 0, stdout: '', stderr: '', ...result }),
  close: () => Promise.resolve(),
});

describe('gatherFacts', () => {
  it('of a healthy store says that it is ready', async () => {
    const facts = await gatherFacts(aFakeStore().deps, WANTED);
    expect(facts.unreadable).toEqual([]);
    expect(facts.nodes.map(({ installed }) => installed)).toEqual([OLD_PACKAGES, OLD_PACKAGES, OLD_PACKAGES]);
    expect(decideReady(facts, CONTEXT)).toEqual({ kind: 'proceed' });
  });

  const rejects = () => Promise.reject(new Error('connection refused'));
  const broken: Record<string, [breaks: (store: FakeStore) => void, what: RegExp]> = {
    version: [({ deps }) => (deps.proxmox.version = rejects), /^version: /],
    permissions: [({ deps }) => (deps.proxmox.permissions = rejects), /^permissions: /],
    'the cluster status': [({ deps }) => (deps.proxmox.clusterStatus = rejects), /^cluster status: /],
    'the HA status': [({ deps }) => (deps.proxmox.haStatus = rejects), /^HA status: /],
    Ceph: [({ deps }) => (deps.ceph.facts = rejects), /^ceph: /],
    guests: [({ deps }) => (deps.proxmox.guests = rejects), /^guests: /],
    tasks: [({ deps }) => (deps.proxmox.runningTasks = rejects), /^running tasks: /],
    'a node': [({ nodes }) => goDown(Object.assign(nodes['n2']!, { rebootLooks: 'never' as const })), /^n2: /],
    'the memory': [({ deps }) => (deps.proxmox.nodeMemory = rejects), /^memory: /],
  };
  it.each(Object.entries(broken))(
    'names it when %s cannot be read, and no decision passes on it',
    async (_, [breaks, what]) => {
      const store = aFakeStore();
      breaks(store);
      const facts = await gatherFacts(store.deps, WANTED);
      expect(facts.unreadable.some((line) => what.test(line))).toBe(true);
      expect(decideReady(facts, CONTEXT)).toMatchObject({ kind: 'stop', stop: { reason: 'FactsUnreadable' } });
      // Without the line that says so, the values themselves must not look well either.
      if (!['version', 'permissions', 'tasks', 'guests'].includes(_))
        expect(decideReady({ ...facts, unreadable: [] }, CONTEXT).kind).toBe('stop');
    },
  );

  it('takes an answer that Ceph does not give for a no', async () => {
    const store = aFakeStore();
    store.deps.ceph.osdOkToStop = () => Promise.resolve({ answer: 'unknown', detail: '3 pgs unknown' });
    const facts = await gatherFacts(store.deps, WANTED);
    expect(facts.okToStop['n1']).toMatchObject({ osds: false, detail: expect.stringContaining('3 pgs unknown') });
    store.deps.ceph.monOkToStop = () => Promise.reject(new Error('timed out'));
    expect((await gatherFacts(store.deps, WANTED)).okToStop['n1']).toMatchObject({ osds: false, mon: false });
  });

  it.each(REQUIRED_PRIVILEGES)('misses the privilege %s wherever it is not given for everything', async (privilege) => {
    const store = aFakeStore();
    const others = REQUIRED_PRIVILEGES.filter((each) => each !== privilege);
    store.deps.proxmox.permissions = () => Promise.resolve({ '/': others, '/vms/101': [privilege] });
    expect((await gatherFacts(store.deps, WANTED)).missingPrivileges).toEqual([privilege]);
  });

  it('misses all of them for a token without rights', async () => {
    const store = aFakeStore();
    store.deps.proxmox.permissions = () => Promise.resolve({});
    expect((await gatherFacts(store.deps, WANTED)).missingPrivileges).toEqual(REQUIRED_PRIVILEGES);
  });

  it('does not count a console that someone has open as work', async () => {
    const store = aFakeStore();
    const task = { node: 'n1', id: '101', user: 'root@pam', startTime: 1 };
    store.deps.proxmox.runningTasks = () =>
      Promise.resolve([
        { ...task, upid: 'a', type: 'vncproxy' },
        { ...task, upid: 'b', type: 'vzdump' },
      ]);
    expect((await gatherFacts(store.deps, WANTED)).runningTasks).toEqual([{ type: 'vzdump', node: 'n1', upid: 'b' }]);
  });
});

describe('what a node says', () => {
  it('counts a package as installed only when dpkg is done with it', async () => {
    const stdout =
      'ii  pve-manager 9.1.2\niF  openssl 3.5.4-1\nrc  os-prober 1.83\nhi  pve-qemu-kvm 10.0.2-4\nun  nano \n';
    expect(await readInstalled(saying({ code: 1, stdout }), [])).toEqual({ 'pve-manager': '9.1.2' });
  });

  it('is an error when dpkg-query itself fails', async () => {
    await expect(readInstalled(saying({ code: 2, stderr: 'error: unknown option' }), [])).rejects.toThrow(
      'unknown option',
    );
  });

  it.each([
    [{ code: 0, stdout: '' }, []],
    [{ code: 0, stdout: 'half configured:\n pve-manager\n\n' }, ['half configured:', 'pve-manager']],
    [{ code: 1, stdout: ' pve-manager\n' }, ['pve-manager']],
  ])('of its packages: %j', async (result, findings) => {
    expect(await readAudit(saying(result))).toEqual(findings);
  });

  it.each([
    { code: 1, stdout: '' },
    { code: 2, stdout: 'x' },
    { code: 127, stderr: 'not found' },
  ])('is not taken for clean packages: %j', async (result) => {
    await expect(readAudit(saying(result))).rejects.toThrow(/dpkg --audit: exit code/);
  });

  it.each([
    ['active', 'running', 'running'],
    ['activating', 'start', 'running'],
    ['deactivating', 'stop-sigterm', 'running'],
    ['reloading', '', 'running'],
    ['inactive', 'dead', 'running'],
    ['active', 'exited', 'succeeded'],
    ['failed', 'failed', 'failed'],
  ])('of a unit that is %s (%s): it %s', (active, sub, state) => expect(unitState(active, sub)).toBe(state));

  const row = (name: string, words: string): string =>
    `edge-governor-upgrade-${name}.service loaded ${words} /usr/bin/apt-get\n`;
  it.each([
    ['no unit', '', undefined],
    ['a unit', row('aaa', 'active running'), { name: 'edge-governor-upgrade-aaa', state: 'running' }],
    [
      'a failed unit with its dot',
      `● ${row('aaa', 'failed failed')}`,
      { name: 'edge-governor-upgrade-aaa', state: 'failed' },
    ],
    [
      'one that runs behind one that ended',
      row('aaa', 'active exited') + row('bbb', 'active running'),
      { name: 'edge-governor-upgrade-bbb', state: 'running' },
    ],
    [
      'one that failed behind one that ended',
      row('aaa', 'active exited') + row('bbb', 'failed failed'),
      { name: 'edge-governor-upgrade-bbb', state: 'failed' },
    ],
  ])('of its upgrade: %s', async (_, stdout, unit) => {
    expect(await readUpgradeUnit(saying({ stdout }))).toEqual(unit);
  });
});
