import { abridge } from './abridge.js';
import type { BackedUpGuest } from './backup.js';
import type { FailureClass, GuestRun } from './backup-failures.js';
import type { ClusterFacts, GuestFacts } from './facts.js';
import type { LeftOut } from './left-out.js';
import type { DumpPlan } from './messages/backup.js';
import { heldOn, type Permissions } from './permissions.js';
import type { Reason, Stop } from './reasons.js';

/**
 * May the guests of this store be dumped now, and which of them where? The list of checks is the policy, judged from
 * facts alone; a fact that could not be read is a refused check.
 */

/** Bytes. */
export interface Space {
  total: number;
  available: number;
}

/** The storage that backups go to, as one node sees it. */
export interface DumpStorage {
  node: string;
  type: string;
  content: readonly string[];
  enabled: boolean;
  active: boolean;
  space?: Space | undefined;
}

export interface Unread {
  what: string;
  /** What the other side said. Never a secret. */
  why: string;
  failure: FailureClass;
}

export interface DumpFacts {
  at: Date;
  /** What could not be read has no fact below. */
  unread: readonly Unread[];
  cluster?: ClusterFacts | undefined;
  guests?: readonly GuestFacts[] | undefined;
  /** Disks that the backups of a guest leave out, by its number. Who is missing here is `unread`. */
  leftOut: ReadonlyMap<number, LeftOut>;
  /** Whether the list of guests can be that of all there are; see `seesAllGuests`. */
  listsAll: boolean;
  /** Of the token of the store worker; see `missingForDump`. */
  missingPrivileges: readonly string[];
  /** As the nodes see it that are online and have guests. One that does not know it is among `withoutStorage`. */
  storages: readonly DumpStorage[];
  withoutStorage: readonly string[];
  /** As the backup server sees it. */
  datastore?: Space | undefined;
  /** Nodes on which a vzdump runs already: ours has to wait for it there. */
  busyNodes: readonly string[];
}

export interface DumpWish {
  storage: string;
  /** Absent: all guests that are no template. */
  vmids?: readonly number[] | undefined;
  /** ISO instant. */
  notAfter?: string | undefined;
}

/** `notes`: what the dump will have to wait for, in sentences. */
export type DecidedDump = Omit<DumpPlan, 'adopted'> & { notes: string[] };
export type DumpDecision = { kind: 'proceed'; plan: DecidedDump } | { kind: 'refuse'; stop: Stop };

/** A datastore counts as full with less: a dump that fills the last of it leaves no room to collect garbage in. */
const MIN_FREE_SHARE = 0.02;
const MIN_FREE_BYTES = 1024 ** 3;

type Check = (facts: DumpFacts, wish: DumpWish) => Finding | undefined;
interface Finding {
  reason: Reason;
  summary: string;
  detail?: string[];
}

const checks: Check[] = [
  windowIsOpen,
  // Before all else that is unreadable: this does not mend itself.
  nothingWasRefused,
  tokenMayDump,
  quorate,
  storageIsUsable,
  datastoreHasRoom,
  everythingRead,
];

export function decideDump(facts: DumpFacts, wish: DumpWish): DumpDecision {
  for (const check of checks) {
    const finding = check(facts, wish);
    if (finding) return { kind: 'refuse', stop: { step: 'open dump', ...finding } };
  }
  return { kind: 'proceed', plan: planOf(facts, wish) };
}

function windowIsOpen({ at }: DumpFacts, { notAfter }: DumpWish): Finding | undefined {
  if (notAfter === undefined || at < new Date(notAfter)) return undefined;
  return { reason: 'OutsideWindow', summary: `The window closed at ${notAfter}; no dump was started.` };
}

function nothingWasRefused({ unread }: DumpFacts): Finding | undefined {
  const refused = unread.filter(({ failure }) => failure === 'credentials');
  if (refused.length === 0) return undefined;
  return { reason: 'BackupRefused', summary: 'A token or a certificate was refused.', detail: refused.map(words) };
}

function tokenMayDump({ missingPrivileges }: DumpFacts): Finding | undefined {
  if (missingPrivileges.length === 0) return undefined;
  return {
    reason: 'BackupRefused',
    summary: 'The API token of the store worker lacks privileges that vzdump needs.',
    detail: missingPrivileges.map((privilege) => `lacks ${privilege}`),
  };
}

function quorate({ cluster }: DumpFacts): Finding | undefined {
  if (!cluster || cluster.quorate) return undefined;
  return { reason: 'NoQuorum', summary: 'The Proxmox cluster is not quorate.' };
}

function storageIsUsable({ storages, withoutStorage }: DumpFacts, { storage }: DumpWish): Finding | undefined {
  const detail = [
    ...withoutStorage.map((node) => `${node}: there is no storage ${storage}`),
    ...storages.flatMap((seen) => unusable(seen).map((why) => `${seen.node}: ${storage} ${why}`)),
  ];
  if (detail.length === 0) return undefined;
  return { reason: 'BackupFailed', summary: `The storage ${storage} cannot take backups.`, detail };
}

const unusable = ({ type, content, enabled, active }: DumpStorage): string[] => [
  ...(type === 'pbs' ? [] : [`is of type ${type}, not of a backup server`]),
  ...(content.includes('backup') ? [] : ['is not for backups']),
  ...(enabled ? [] : ['is disabled']),
  ...(active ? [] : ['is not active: the backup server is away, or refuses the token of the nodes']),
];

function datastoreHasRoom({ storages, datastore }: DumpFacts, { storage }: DumpWish): Finding | undefined {
  const detail = [
    ...(datastore && isFull(datastore) ? [`the backup server says: ${left(datastore)}`] : []),
    ...storages.flatMap(({ node, space }) =>
      space && isFull(space) ? [`${node}, of ${storage}: ${left(space)}`] : [],
    ),
  ];
  if (detail.length === 0) return undefined;
  return { reason: 'DatastoreFull', summary: 'The datastore has no room for new backups.', detail };
}

const isFull = ({ total, available }: Space): boolean =>
  available < MIN_FREE_BYTES || available < total * MIN_FREE_SHARE;
const left = ({ total, available }: Space): string =>
  `${Math.floor(available / 1024 ** 2)} of ${Math.floor(total / 1024 ** 2)} MiB are free`;

function everythingRead({ unread }: DumpFacts): Finding | undefined {
  if (unread.length === 0) return undefined;
  return { reason: 'FactsUnreadable', summary: 'Not all facts could be read.', detail: unread.map(words) };
}

const words = ({ what, why }: Unread): string => `${what}: ${why}`;

/** Told with a refusal too, so that the night can say what is proven of them. */
export const guestsIn = ({ cluster, guests, listsAll, leftOut }: DumpFacts): BackedUpGuest[] | undefined =>
  // A node that is cut off from the others lists whom it has last heard of.
  cluster?.quorate && listsAll ? guests?.map((guest) => backedUpGuest(guest, leftOut)) : undefined;

const backedUpGuest = ({ vmid, kind, name, template }: GuestFacts, leftOut: DumpFacts['leftOut']): BackedUpGuest => {
  const lacking = template ? [] : (leftOut.get(vmid) ?? 'unread');
  return { vmid, kind, name, template, ...(lacking.length > 0 ? { leftOut: lacking } : {}) };
};

/** Templates are never dumped. `vmids` absent: all others. */
export const wantedOf = (guests: readonly GuestFacts[], vmids: readonly number[] | undefined): GuestFacts[] =>
  guests.filter(({ vmid, template }) => !template && (vmids?.includes(vmid) ?? true));

/** A guest that cannot be dumped is told as one that failed, and the others go on. */
function planOf({ cluster, guests = [], leftOut, busyNodes }: DumpFacts, { vmids }: DumpWish): DecidedDump {
  const online = new Set(cluster?.nodes.filter((node) => node.online).map(({ name }) => name));
  const wanted = wantedOf(guests, vmids);
  const known = new Set(guests.map(({ vmid }) => vmid));
  const unreachable: GuestRun[] = (vmids ?? [])
    .filter((vmid) => !known.has(vmid))
    .map((vmid) => ({ vmid, kind: 'failed', text: 'there is no such guest', failure: 'guest' }));
  const byNode = new Map<string, number[]>();
  for (const { vmid, node, lock } of wanted.toSorted((a, b) => a.vmid - b.vmid)) {
    if (!online.has(node)) {
      unreachable.push({ vmid, kind: 'failed', text: `its node ${node} is offline`, failure: 'network' });
    } else if (lock !== undefined) {
      unreachable.push({ vmid, kind: 'failed', text: `it is locked (${lock})`, failure: 'lock' });
    } else byNode.set(node, [...(byNode.get(node) ?? []), vmid]);
  }
  const nodes = [...byNode].map(([node, own]) => ({ node, vmids: own }));
  nodes.sort((a, b) => (a.node < b.node ? -1 : 1));
  const waiting = busyNodes.filter((node) => byNode.has(node));
  return {
    nodes,
    guests: guests.map((guest) => backedUpGuest(guest, leftOut)),
    unreachable,
    notes: waiting.length === 0 ? [] : [`another vzdump runs, and is waited for, on ${abridge(waiting)}`],
  };
}

/**
 * What vzdump needs and the token lacks, as `VM.Backup on /vms/101`. The list of guests leaves out those that the token
 * may not see, without a word: so it has to see all that there are, and all that there will be.
 */
export function missingForDump(
  permissions: Permissions,
  vmids: readonly number[],
  storages: readonly string[],
): string[] {
  const needed: Needed[] = [
    ...neededToSeeAll(permissions),
    ...vmids.map((vmid): Needed => [`/vms/${vmid}`, 'VM.Backup']),
    ...storages.map((storage): Needed => [`/storage/${storage}`, 'Datastore.AllocateSpace']),
    ...storages.map((storage): Needed => [`/storage/${storage}`, 'Datastore.Audit']),
  ];
  return needed
    .filter((one) => !isHeld(permissions, one))
    .map(([path, privilege]) => `${privilege} on ${path.replace(/\/\*$/, ' and all below it')}`);
}

export const seesAllGuests = (permissions: Permissions): boolean =>
  neededToSeeAll(permissions).every((one) => isHeld(permissions, one));

type Needed = [path: string, privilege: string];

const neededToSeeAll = (permissions: Permissions): Needed[] => [
  ['/vms/*', 'VM.Audit'],
  ...Object.keys(permissions)
    .filter((path) => /^\/vms\/\d+$/.test(path))
    .map((path): Needed => [path, 'VM.Audit']),
];

const isHeld = (permissions: Permissions, [path, privilege]: Needed): boolean =>
  heldOn(permissions, path).includes(privilege);
