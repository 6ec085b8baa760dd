import { describe, expect, it } from 'vitest';
import {
  decideDump,
  guestsIn,
  missingForDump,
  seesAllGuests,
  type DumpFacts,
  type DumpStorage,
  type DumpWish,
} from '#domain/dump.js';
import type { GuestFacts } from '#domain/facts.js';
import type { Reason } from '#domain/reasons.js';

const GIB = 1024 ** 3;
const NOW = new Date('2026-11-26T01:00:00.000Z');
const ROOM = { total: 2_000 * GIB, available: 1_500 * GIB };

const aGuest = (vmid: number, node: string, change: Partial<GuestFacts> = {}): GuestFacts => ({
  vmid,
  kind: 'qemu',
  name: `guest-${vmid}`,
  node,
  status: 'running',
  maxMemory: GIB,
  ha: false,
  template: false,
  ...change,
});
const aStorage = (node: string, change: Partial<DumpStorage> = {}): DumpStorage => ({
  node,
  type: 'pbs',
  content: ['backup'],
  enabled: true,
  active: true,
  space: ROOM,
  ...change,
});
const theFacts = (change: Partial<DumpFacts> = {}): DumpFacts => ({
  at: NOW,
  unread: [],
  cluster: { quorate: true, nodes: ['n1', 'n2', 'n3'].map((name) => ({ name, online: true })) },
  guests: [aGuest(102, 'n1'), aGuest(101, 'n1'), aGuest(103, 'n2', { kind: 'lxc' })],
  leftOut: new Map([101, 102, 103].map((vmid) => [vmid, []])),
  listsAll: true,
  missingPrivileges: [],
  storages: [aStorage('n1'), aStorage('n2')],
  withoutStorage: [],
  datastore: ROOM,
  busyNodes: [],
  ...change,
});
const decide = (facts: Partial<DumpFacts> = {}, wish: Partial<DumpWish> = {}) =>
  decideDump(theFacts(facts), { storage: 'pbs', ...wish });
const planOf = (facts: Partial<DumpFacts> = {}, wish: Partial<DumpWish> = {}) => {
  const decision = decide(facts, wish);
  if (decision.kind === 'refuse') throw new Error(JSON.stringify(decision.stop));
  return decision.plan;
};
const unread = (failure: DumpFacts['unread'][number]['failure']) => [{ what: 'guests', why: 'no answer', failure }];

describe('a dump of a store', () => {
  it('is one vzdump for each node that has guests, and names every guest', () => {
    expect(planOf()).toEqual({
      nodes: [
        { node: 'n1', vmids: [101, 102] },
        { node: 'n2', vmids: [103] },
      ],
      guests: [
        { vmid: 102, kind: 'qemu', name: 'guest-102', template: false },
        { vmid: 101, kind: 'qemu', name: 'guest-101', template: false },
        { vmid: 103, kind: 'lxc', name: 'guest-103', template: false },
      ],
      unreachable: [],
      notes: [],
    });
  });

  it.each<[string, Partial<DumpFacts>, Partial<DumpWish>, Reason]>([
    ['at the end of the window', {}, { notAfter: NOW.toISOString() }, 'OutsideWindow'],
    ['without quorum', { cluster: { quorate: false, nodes: [] } }, {}, 'NoQuorum'],
    ['when a token was refused', { unread: unread('credentials') }, {}, 'BackupRefused'],
    ['when a privilege lacks', { missingPrivileges: ['VM.Backup on /vms/101'] }, {}, 'BackupRefused'],
    ['when a node does not know the storage', { withoutStorage: ['n2'] }, {}, 'BackupFailed'],
    ['when a node cannot reach the storage', { storages: [aStorage('n1', { active: false })] }, {}, 'BackupFailed'],
    ['when the storage is disabled', { storages: [aStorage('n1', { enabled: false })] }, {}, 'BackupFailed'],
    ['when the storage is of another type', { storages: [aStorage('n1', { type: 'nfs' })] }, {}, 'BackupFailed'],
    [
      'when the storage is for other things',
      { storages: [aStorage('n1', { content: ['images'] })] },
      {},
      'BackupFailed',
    ],
    [
      'when a hundredth of the datastore is left',
      { datastore: { total: 2_000 * GIB, available: 20 * GIB } },
      {},
      'DatastoreFull',
    ],
    ['when less than a GiB is left', { datastore: { total: 40 * GIB, available: GIB - 1 } }, {}, 'DatastoreFull'],
    [
      'when a node sees the datastore full',
      { storages: [aStorage('n1', { space: { total: 2_000 * GIB, available: 0 } })] },
      {},
      'DatastoreFull',
    ],
    ['when a fact could not be read', { unread: unread('network') }, {}, 'FactsUnreadable'],
    [
      'when nothing at all could be read',
      { unread: unread('guest'), cluster: undefined, guests: undefined },
      {},
      'FactsUnreadable',
    ],
  ])('is refused %s', (_, facts, wish, reason) => {
    const decision = decide(facts, wish);
    expect(decision).toMatchObject({ kind: 'refuse', stop: { reason, step: 'open dump' } });
  });

  it('goes on with two hundredths of the datastore left, and with one GiB of a small one', () => {
    expect(decide({ datastore: { total: 2_000 * GIB, available: 40 * GIB } }).kind).toBe('proceed');
    expect(decide({ datastore: { total: 40 * GIB, available: GIB } }).kind).toBe('proceed');
  });

  it('goes on a moment before the window ends', () => {
    expect(decide({}, { notAfter: new Date(NOW.getTime() + 1).toISOString() }).kind).toBe('proceed');
  });

  it('leaves templates out, and names them', () => {
    const guests = [aGuest(101, 'n1'), aGuest(900, 'n1', { template: true, lock: 'backup' })];
    const plan = planOf({ guests });
    expect(plan.nodes).toEqual([{ node: 'n1', vmids: [101] }]);
    expect(plan.unreachable).toEqual([]);
    expect(plan.guests).toHaveLength(2);
  });

  it('tells of a guest that cannot be dumped, and goes on with the others', () => {
    const guests = [aGuest(101, 'n1'), aGuest(102, 'n1', { lock: 'snapshot' }), aGuest(103, 'n3')];
    const cluster = { quorate: true, nodes: [1, 2, 3].map((n) => ({ name: `n${n}`, online: n < 3 })) };
    const plan = planOf({ guests, cluster }, { vmids: [101, 102, 103, 555] });
    expect(plan.nodes).toEqual([{ node: 'n1', vmids: [101] }]);
    expect(plan.unreachable).toEqual([
      { vmid: 555, kind: 'failed', text: 'there is no such guest', failure: 'guest' },
      { vmid: 102, kind: 'failed', text: 'it is locked (snapshot)', failure: 'lock' },
      { vmid: 103, kind: 'failed', text: 'its node n3 is offline', failure: 'network' },
    ]);
  });

  it('is of the guests alone that were asked for, and still names all', () => {
    const plan = planOf({}, { vmids: [102] });
    expect(plan.nodes).toEqual([{ node: 'n1', vmids: [102] }]);
    expect(plan.guests).toHaveLength(3);
  });

  it('says where it has to wait for a vzdump of somebody else', () => {
    expect(planOf({ busyNodes: ['n2', 'n3'] }).notes).toEqual(['another vzdump runs, and is waited for, on n2']);
  });
});

describe('what a dump needs', () => {
  const STORAGE = ['Datastore.AllocateSpace', 'Datastore.Audit'];
  const everything = { '/': ['VM.Audit', 'VM.Backup', ...STORAGE] };
  const elsewhere = { '/vms': ['VM.Audit', 'VM.Backup'], '/storage/pbs': STORAGE };

  it.each<[string, Record<string, string[]>, string[]]>([
    ['is there when it is given for everything', everything, []],
    [
      'lacks whole for a token without rights',
      {},
      [
        'VM.Audit on /vms and all below it',
        'VM.Backup on /vms/101',
        'Datastore.AllocateSpace on /storage/pbs',
        'Datastore.Audit on /storage/pbs',
      ],
    ],
    ['is there when it is given where it is needed', elsewhere, []],
    [
      'lacks where something less is given further down',
      { ...everything, '/vms/101': ['VM.Audit'] },
      ['VM.Backup on /vms/101'],
    ],
    [
      'lacks when it is given for another storage',
      { '/vms': ['VM.Audit', 'VM.Backup'], '/storage/local': STORAGE },
      ['Datastore.AllocateSpace on /storage/pbs', 'Datastore.Audit on /storage/pbs'],
    ],
    [
      'lacks when guests may be seen one by one only',
      { ...elsewhere, '/vms': ['VM.Backup'], '/vms/101': ['VM.Audit', 'VM.Backup'] },
      ['VM.Audit on /vms and all below it'],
    ],
    [
      'lacks when the guests of a pool alone may be seen',
      { '/pool/tills': ['VM.Audit'], '/vms/101': ['VM.Audit', 'VM.Backup'], '/storage/pbs': STORAGE },
      ['VM.Audit on /vms and all below it'],
    ],
    [
      'lacks when it is given on the path of all guests, but not for those below it',
      { ...elsewhere, '/vms/*': ['VM.Backup'] },
      ['VM.Audit on /vms and all below it'],
    ],
    [
      'lacks when nothing that is given everywhere holds below',
      { ...everything, '/*': [] },
      [
        'VM.Audit on /vms and all below it',
        'VM.Backup on /vms/101',
        'Datastore.AllocateSpace on /storage/pbs',
        'Datastore.Audit on /storage/pbs',
      ],
    ],
    [
      'lacks when one guest is hidden, and none that would be dumped',
      { ...everything, '/vms/104': ['VM.Backup'] },
      ['VM.Audit on /vms/104'],
    ],
  ])('%s', (_, permissions, missing) => {
    expect(missingForDump(permissions, [101], ['pbs'])).toEqual(missing);
  });
});

describe('the guests that a refused dump tells of', () => {
  const numbersIn = (change: Partial<DumpFacts>) => guestsIn(theFacts(change))?.map(({ vmid }) => vmid);

  it('are those that were read, full as the datastore may be', () => {
    expect(numbersIn({ datastore: { total: 100 * GIB, available: 0 } })).toEqual([102, 101, 103]);
  });

  it.each([
    ['the list was not read', { guests: undefined }],
    ['the token may not see all there are', { listsAll: false }],
    ['the cluster is not quorate', { cluster: { quorate: false, nodes: [] } }],
    ['nobody knows whether the cluster is quorate', { cluster: undefined }],
  ] satisfies [string, Partial<DumpFacts>][])('are none when %s', (_, change) => {
    expect(numbersIn(change)).toBeUndefined();
  });

  it('are all there are only for a token that sees each of them', () => {
    expect(seesAllGuests({ '/vms': ['VM.Audit'] })).toBe(true);
    expect(seesAllGuests({ '/vms': ['VM.Audit'], '/vms/101': ['VM.Backup'] })).toBe(false);
    expect(seesAllGuests({ '/vms/101': ['VM.Audit'] })).toBe(false);
    expect(seesAllGuests({})).toBe(false);
  });
});
