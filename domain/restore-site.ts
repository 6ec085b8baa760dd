import { MAX_SKEW } from './backup.js';
import { TEST_IDS, type Fault, type TrialTask } from './messages/restore.js';
import { heldOn, type Permissions } from './permissions.js';
import { hasEndedWell } from './task-status.js';

/**
 * May backups be restored at the staging site, and may a guest that came from one be started there? A copy that meets
 * its original, or writes where others write, does more harm than a backup that was not tried: so each list of checks is
 * the policy, judged from facts alone, and what is not known is not safe.
 */

/** What the site keeps for guests under test, beside the ids of `TEST_IDS`. */
export interface SitePlace {
  storage: string;
  /** Without a port on any node. */
  bridge: string;
  pool: string;
}

/** One node that is online. What is absent could not be read; null: it is not there. */
export interface SiteNode {
  name: string;
  bridge?: { ports?: readonly string[] | undefined } | null | undefined;
  storage?:
    | { content: readonly string[]; enabled: boolean; active: boolean; available?: number | undefined }
    | null
    | undefined;
  /** Bytes. */
  memoryFree?: number | undefined;
}

export interface SiteFacts {
  quorate?: boolean | undefined;
  nodes: readonly SiteNode[];
  hasPool?: boolean | undefined;
  /** Of the token of the site's worker. */
  permissions?: Permissions | undefined;
  /** What could not be read, and what the other side said. Never a secret. */
  unread: readonly string[];
}

/** What is to be restored; absent when it is not known yet. */
export interface Load {
  kind: GuestKind;
  /** Of the whole guest. */
  bytes: number;
  /** Bytes by node that restores still on their way will take there. */
  promised: Readonly<Record<string, number>>;
}

type GuestKind = 'qemu' | 'lxc';

/** `nodes`: that can take it, the one with most room first. */
export type SiteDecision =
  { kind: 'proceed'; nodes: string[] } | { kind: 'refuse'; why: string; detail?: string[] | undefined };

interface Finding {
  why: string;
  detail?: string[];
}
type SiteCheck = (facts: SiteFacts, place: SitePlace) => Finding | undefined;

/** A storage for disks counts as full with less: a thin pool that runs full takes all that is on it with it. */
const SPARE_BYTES = 2 * 1024 ** 3;
/** With less a node is not asked to start anything. */
const SPARE_MEMORY = 1024 ** 3;

const siteChecks: SiteCheck[] = [
  // Before all else: whatever is restored could get out.
  bridgeHasNoPort,
  clusterIsQuorate,
  poolIsThere,
  tokenMayNotTouchOthers,
  tokenMayRestore,
];

export function decideSite(facts: SiteFacts, place: SitePlace, load?: Load): SiteDecision {
  for (const check of siteChecks) {
    const finding = check(facts, place);
    if (finding) return { kind: 'refuse', ...finding };
  }
  const judged = facts.nodes.map((node) => ({ node, lacks: lacking(node, place, load) }));
  const room = ({ name, storage }: SiteNode): number => (storage?.available ?? 0) - (load?.promised[name] ?? 0);
  const nodes = judged
    .filter(({ lacks }) => lacks.length === 0)
    .map(({ node }) => node)
    .toSorted((a, b) => room(b) - room(a) || (a.name < b.name ? -1 : 1));
  if (nodes.length > 0) return { kind: 'proceed', nodes: nodes.map(({ name }) => name) };
  const detail = [...judged.flatMap(({ node, lacks }) => lacks.map((why) => `${node.name}: ${why}`)), ...facts.unread];
  return { kind: 'refuse', why: 'No node of the site can take a restored guest.', detail };
}

function bridgeHasNoPort({ nodes }: SiteFacts, { bridge }: SitePlace): Finding | undefined {
  const open = nodes.flatMap(({ name, bridge: seen }) => {
    const ports = seen?.ports ?? [];
    return ports.length === 0 ? [] : [`${name}: ${bridge} has the port ${ports.join(', ')}`];
  });
  if (open.length === 0) return undefined;
  return { why: `The bridge ${bridge}, on which restored guests shall be alone, has a port.`, detail: open };
}

function clusterIsQuorate({ quorate, unread }: SiteFacts): Finding | undefined {
  if (quorate) return undefined;
  if (quorate === undefined) return { why: 'Whether the site is quorate cannot be read.', detail: [...unread] };
  return { why: 'The cluster of the site is not quorate.' };
}

function poolIsThere({ hasPool, unread }: SiteFacts, { pool }: SitePlace): Finding | undefined {
  if (hasPool) return undefined;
  if (hasPool === undefined) return { why: `The pool ${pool} cannot be read.`, detail: [...unread] };
  return { why: `The site has no pool ${pool}.` };
}

/** Whoever may change what is outside of pool, storage and bridge needs only one mistake to do so. */
function tokenMayNotTouchOthers({ permissions, unread }: SiteFacts, place: SitePlace): Finding | undefined {
  if (!permissions) return { why: 'The rights of the token cannot be read.', detail: [...unread] };
  const excess = excessIn(permissions, place);
  if (excess.length === 0) return undefined;
  return { why: 'The token of the site may touch more than what restored guests need.', detail: excess };
}

function tokenMayRestore({ permissions = {} }: SiteFacts, { pool, storage, bridge }: SitePlace): Finding | undefined {
  const needed: [path: string, ...anyOf: string[]][] = [
    ['/', 'Sys.Audit'],
    ['/vms', 'VM.Audit'],
    [`/pool/${pool}`, 'VM.Allocate'],
    [`/pool/${pool}`, 'VM.Config.HWType'],
    [`/pool/${pool}`, 'VM.Config.Network'],
    [`/pool/${pool}`, 'VM.Config.Options'],
    [`/pool/${pool}`, 'VM.PowerMgmt'],
    // The first since 9.0, the second before.
    [`/pool/${pool}`, 'VM.GuestAgent.Unrestricted', 'VM.Monitor'],
    ['/storage', 'Datastore.Allocate'],
    [`/storage/${storage}`, 'Datastore.AllocateSpace'],
    [`/sdn/zones/localnetwork/${bridge}`, 'SDN.Use'],
  ];
  const lacks = needed
    .filter(([path, ...anyOf]) => !anyOf.some((privilege) => heldOn(permissions, path).includes(privilege)))
    .map(([path, ...anyOf]) => `lacks ${anyOf.join(' or ')} on ${path}`);
  return lacks.length === 0 ? undefined : { why: 'The token of the site lacks rights to restore.', detail: lacks };
}

function excessIn(permissions: Permissions, { pool, storage, bridge }: SitePlace): string[] {
  const isUnder = (path: string, base: string): boolean => path === base || path.startsWith(`${base}/`);
  const isOurs = (path: string, privilege: string): boolean => {
    if (/\.Audit$/.test(privilege)) return true;
    const [, vmid] = /^\/vms\/(\d+)$/.exec(path) ?? [];
    if (isUnder(path, `/pool/${pool}`) || (vmid !== undefined && isTestId(Number(vmid))))
      return privilege.startsWith('VM.');
    if (isUnder(path, `/storage/${storage}`) || /^\/storage\/test-/.test(path))
      return privilege.startsWith('Datastore.');
    // To add and take away storages it has to be held for all of them.
    if (isUnder(path, '/storage')) return privilege === 'Datastore.Allocate';
    if (path === `/mapping/pci/${NO_DEVICE}`) return privilege === 'Mapping.Use';
    return isUnder(path, `/sdn/zones/localnetwork/${bridge}`) && privilege === 'SDN.Use';
  };
  return Object.entries(permissions).flatMap(([path, privileges]) =>
    privileges.filter((privilege) => !isOurs(path, privilege)).map((privilege) => `${privilege} on ${path}`),
  );
}

function lacking({ bridge, storage, memoryFree, name }: SiteNode, place: SitePlace, load: Load | undefined): string[] {
  const wants = load === undefined ? ['images', 'rootdir'] : [load.kind === 'qemu' ? 'images' : 'rootdir'];
  const needs = (load ? load.bytes + (load.promised[name] ?? 0) : 0) + SPARE_BYTES;
  const lacks: string[] = [];
  if (bridge === null) lacks.push(`there is no bridge ${place.bridge}`);
  else if (bridge?.ports === undefined) lacks.push(`the ports of ${place.bridge} cannot be read`);
  if (storage === null) lacks.push(`there is no storage ${place.storage}`);
  else if (storage === undefined) lacks.push(`the storage ${place.storage} cannot be read`);
  else if (!storage.enabled || !storage.active) lacks.push(`the storage ${place.storage} is not active`);
  else {
    const missing = wants.filter((content) => !storage.content.includes(content));
    if (missing.length > 0) lacks.push(`the storage ${place.storage} is not for ${missing.join(' and ')}`);
    if (storage.available === undefined) lacks.push(`the room on ${place.storage} cannot be read`);
    else if (storage.available < needs)
      lacks.push(`the storage ${place.storage} has no room: ${mib(storage.available)} of ${mib(needs)} MiB`);
  }
  if (memoryFree === undefined) lacks.push('its free memory cannot be read');
  else if (memoryFree < SPARE_MEMORY) lacks.push(`it has only ${mib(memoryFree)} MiB of memory left`);
  return lacks;
}

export const isTestId = (vmid: number): boolean => vmid >= TEST_IDS.from && vmid <= TEST_IDS.to;

/** A guest that was restored, as the site shows it now. What is absent could not be read. */
export interface RestoredGuest {
  vmid: number;
  kind: GuestKind;
  config?: Readonly<Record<string, string>> | undefined;
  inPool?: boolean | undefined;
  ha?: boolean | undefined;
  node: SiteNode;
}

export type StartDecision = { kind: 'safe' } | { kind: 'unsafe'; why: string[] };

/** May it be started? One that only fits nowhere is not safe either. */
export function decideStart(guest: RestoredGuest, place: SitePlace): StartDecision {
  const why = startChecks.flatMap((check) => check(guest, place));
  return why.length === 0 ? { kind: 'safe' } : { kind: 'unsafe', why };
}

type StartCheck = (guest: RestoredGuest, place: SitePlace) => string[];

const startChecks: StartCheck[] = [
  ({ vmid }) => (isTestId(vmid) ? [] : [`its id ${vmid} is not one of those for tests`]),
  ({ inPool }, { pool }) => (inPool ? [] : [inPool === undefined ? 'its pool is not known' : `it is not in ${pool}`]),
  ({ ha }) => (ha === false ? [] : [ha ? 'HA would start it' : 'whether HA would start it is not known']),
  ({ node }, { bridge }) =>
    node.bridge?.ports?.length === 0 ? [] : [`${bridge} on ${node.name} is not known to be without a port`],
  ({ config }) => (config ? [] : ['its settings cannot be read']),
  ({ config = {}, kind }, place) =>
    Object.entries(config).flatMap(([key, value]) => {
      const why = harmIn(kind, key, value, place);
      return why === undefined ? [] : [why];
    }),
  ({ config = {}, node }) => {
    const needs = memoryOf(config);
    if (node.memoryFree === undefined) return [`the free memory of ${node.name} is not known`];
    return needs <= node.memoryFree ? [] : [`it needs ${mib(needs)} MiB, ${node.name} has ${mib(node.memoryFree)}`];
  },
];

/** Settings that reach nothing beyond the guest, whatever their value. */
const HARMLESS: Record<GuestKind, RegExp> = {
  qemu: /^(acpi|affinity|agent|allow-ksm|arch|audio0|autostart|balloon|bios|boot|bootdisk|ci(password|type|upgrade|user)|cores|cpu|cpulimit|cpuunits|description|digest|freeze|hotplug|hugepages|ipconfig\d+|keephugepages|keyboard|kvm|localtime|machine|memory|meta|migrate_(downtime|speed)|name|nameserver|numa\d*|ostype|protection|reboot|rng0|scsihw|searchdomain|shares|smbios1|smp|sockets|spice_enhancements|sshkeys|startdate|startup|tablet|tags|tdf|vcpus|vga|vmgenid|watchdog)$/,
  lxc: /^(arch|cmode|console|cores|cpulimit|cpuunits|debug|description|digest|entrypoint|env|hostname|memory|nameserver|ostype|protection|searchdomain|startup|swap|tags|timezone|tty|unprivileged)$/,
};
const DISK: Record<GuestKind, RegExp> = {
  qemu: /^((ide|sata|scsi|virtio|unused|efidisk)\d+|tpmstate0|cdrom)$/,
  lxc: /^(rootfs|(mp|unused)\d+)$/,
};
const FEATURES = /^(nesting|keyctl|fuse)=[01]$/;

/** What a setting would do outside of the guest; undefined when it does nothing. One that nobody knows here may do anything. */
function harmIn(kind: GuestKind, key: string, value: string, place: SitePlace): string | undefined {
  if (HARMLESS[kind].test(key)) return undefined;
  if (/^net\d+$/.test(key)) return isOn(place.bridge, value) ? undefined : `${key} is not on ${place.bridge} alone`;
  if (DISK[kind].test(key)) {
    const [volume = ''] = value.split(',');
    if (volume.replace(/^(file|volume)=/, '').startsWith(`${place.storage}:`)) return undefined;
    return kind === 'qemu' && volume === 'none' ? undefined : `${key} is not on the storage ${place.storage}`;
  }
  if (key === 'onboot') return value === '0' ? undefined : 'it would start with its node';
  if (key === 'template') return value === '0' ? undefined : 'it is a template';
  if (key === 'lock') return `it is locked (${value})`;
  if (key === 'features' && value.split(',').every((word) => FEATURES.test(word))) return undefined;
  if (leadsNowhere(kind, key, value)) return undefined;
  return `${key} may reach beyond the guest`;
}

const DEVICE: Record<GuestKind, RegExp> = { qemu: /^(hostpci|usb|serial|parallel)\d{1,2}$/, lxc: /^dev\d{1,3}$/ };

/** A device that ends in the process of the VM itself. */
const leadsNowhere = (kind: GuestKind, key: string, value: string): boolean =>
  kind === 'qemu' &&
  ((/^serial\d+$/.test(key) && value === 'socket') ||
    (/^usb\d+$/.test(key) && /^(host=)?spice(,usb3=[01])?$/.test(value)));

/** Devices of its node that a guest was given. The site has none of them, and its copy is tried without. */
export const devicesIn = (kind: GuestKind, config: Readonly<Record<string, string>>): string[] =>
  Object.entries(config)
    .filter(([key, value]) => DEVICE[kind].test(key) && !leadsNowhere(kind, key, value))
    .map(([key]) => key)
    .toSorted();

/**
 * What is given with the restore in place of devices that Proxmox VE lets only root bring back, or take away again
 * (`check_mapping_access` in its `QemuServer.pm`; it looks at no other kind of device, and of a container at none): a USB
 * port without a device, and a mapping that names none, on which the token has its one right of this kind.
 */
export const standInsFor = (kind: GuestKind, archived: Readonly<Record<string, string>>): Record<string, string> =>
  Object.fromEntries(
    devicesIn(kind, archived).flatMap((name) => {
      if (name.startsWith('usb')) return [[name, 'spice']];
      return name.startsWith('hostpci') ? [[name, `mapping=${NO_DEVICE}`]] : [];
    }),
  );
const NO_DEVICE = 'edge-none';

/**
 * The cards that a guest is restored with: all that its backup has, each on the bridge where restored guests are alone.
 * They are given with the restore itself, so that no card of the copy is ever anywhere else; Proxmox refuses the restore
 * when a card is left on a bridge that the token may not use.
 */
export function cardsFor(
  kind: GuestKind,
  archived: Readonly<Record<string, string>>,
  { bridge }: Pick<SitePlace, 'bridge'>,
): Record<string, string> {
  const names = Object.keys(archived).filter((key) => CARD.test(key));
  return Object.fromEntries(
    (names.length > 0 ? names : ['net0']).map((name) => {
      const inside = INSIDE.exec(archived[name] ?? '')?.[1] ?? name.replace('net', 'eth');
      return [name, kind === 'qemu' ? `virtio,bridge=${bridge}` : `name=${inside},bridge=${bridge}`];
    }),
  );
}
const CARD = /^net\d{1,2}$/;
/** What a container calls its card. */
const INSIDE = /(?:^|,)name=([\w.-]{1,15})(?:,|$)/;

/** A VM's card without a bridge is behind its node's own address. */
const isOn = (bridge: string, card: string): boolean => {
  const bridges = card.split(',').flatMap((word) => (word.startsWith('bridge=') ? [word.slice(7)] : []));
  return bridges.length === 1 && bridges[0] === bridge;
};

/** Mebibytes in the settings; those of Proxmox when they say nothing. */
const memoryOf = ({ memory = '512' }: Readonly<Record<string, string>>): number =>
  Number(/^(?:current=)?(\d+)/.exec(memory)?.[1] ?? Infinity) * 1024 ** 2;

/** Whether an agent is set up in a VM, without which nobody can tell from outside how it fares. */
export const hasAgent = ({ agent = '0' }: Readonly<Record<string, string>>): boolean =>
  /^(1|enabled=1)(,|$)/.test(agent) || /,enabled=1(,|$)/.test(agent);

/** Which trial a guest belongs to; written into its notes with the restore itself, so that it is never without. */
export interface TrialMark {
  run: string;
  store: string;
  /** As a backup server names it: `vm/101/2026-11-26T01:00:00Z`. */
  snapshot: string;
  /** ISO instant. */
  askedAt: string;
}

export const snapshotName = ({ type, id, time }: TrialTask['snapshot']): string =>
  `${type}/${id}/${new Date(time * 1_000).toISOString().slice(0, 19)}Z`;
export const isSameTrial = (one: TrialMark, other: TrialMark): boolean =>
  one.run === other.run && one.store === other.store && one.snapshot === other.snapshot;

export const writeMark = ({ run, store, snapshot, askedAt }: TrialMark): string =>
  `Restore test ${run} of ${store} ${snapshot}, asked for at ${askedAt}. It is taken away after the test.`;
const MARK =
  /^Restore test ([a-z0-9-]+) of ([a-z0-9-]+) ((?:vm|ct)\/\d+\/[0-9TZ:-]+), asked for at ([0-9TZ:.-]+)\. It is taken away after the test\.\s*$/;

/** Undefined when the notes are not those of a test. */
export function readMark(notes: string | undefined): TrialMark | undefined {
  const [, run, store, snapshot, askedAt] = MARK.exec(notes ?? '') ?? [];
  if (run === undefined || store === undefined || snapshot === undefined || askedAt === undefined) return undefined;
  return Number.isNaN(Date.parse(askedAt)) ? undefined : { run, store, snapshot, askedAt };
}

/** What was done to an id at the site, by whomever. Times in epoch seconds on the clock of its node. */
export interface SiteTask {
  type: string;
  node: string;
  /** By the token of the site's worker. */
  own: boolean;
  startTime: number;
  /** Both absent while it runs. */
  endTime?: number | undefined;
  status?: string | undefined;
}

/** A guest with an id for tests, as the site shows it, whoever made it. */
export interface FoundGuest {
  kind: GuestKind;
  node: string;
  config: Readonly<Record<string, string>>;
}

export type Whose<Task> =
  | { kind: 'marked'; mark: TrialMark }
  /** Of this restore of ours. */
  | { kind: 'remainder'; task: Task }
  /** Somebody else may have made it, or means to keep it. */
  | { kind: 'unknown'; why: string };

/**
 * Whose a guest is, by its notes, by all that was done to its id, and by what is on record of the id. Nothing is taken away
 * on any other ground.
 *
 * Notes go along with a backup or a clone of a guest, and a clone leaves no task with the id that it got. So they prove
 * nothing when it is not our restore that came last, or when neither a restore of ours to that id nor a record of that
 * test is known: whoever finds such a guest can only name it.
 */
export function whoseIs<Task extends SiteTask>(
  guest: FoundGuest,
  tasks: readonly Task[],
  record?: TrialMark,
): Whose<Task> {
  const notes = guest.config['description'];
  const mark = readMark(notes);
  const work = workOf(guest, tasks);
  const unknown = (why: string) => ({ kind: 'unknown', why }) as const;
  if (mark) {
    if (isMadeAnew(work))
      return unknown('its notes are those of a test, and somebody made or destroyed a guest there since');
    const isOnRecord = record !== undefined && isSameTrial(mark, record);
    if (!isOnRecord && !work.some(hasWrittenNotes)) return unknown(COPIED);
    return { kind: 'marked', mark };
  }
  if (notes !== undefined) return unknown('its notes are not those of a test');
  const task = remainderOf(guest, work);
  return task ? { kind: 'remainder', task } : unknown('nobody can tell when it came, or that a test made it');
}

const COPIED =
  'its notes are those of a test, and no restore of ours to that id is known: it may be a clone; take it away by hand when nobody needs it';

/** One that failed writes none. */
const hasWrittenNotes = (task: SiteTask): boolean =>
  isOurRestore(task) && (task.status === undefined || hasEndedWell(task.status));

/**
 * What may have changed whose guest it is. An id has one guest at a time, and the clocks of nodes differ: what we did on
 * another node about when we restored on this one was done to the guest before it, whatever its time says.
 */
function workOf<Task extends SiteTask>({ node }: FoundGuest, tasks: readonly Task[]): Task[] {
  const work = tasks.filter(changesWhose);
  const here = newestOf(work.filter((task) => isOurRestore(task) && task.node === node));
  const isBefore = (task: Task): boolean =>
    task.own && task.node !== node && Math.abs(task.startTime - here) * 1_000 <= MAX_SKEW;
  return work.filter((task) => !isBefore(task));
}

const newestOf = (tasks: readonly SiteTask[]): number => Math.max(...tasks.map(({ startTime }) => startTime));

function isMadeAnew(work: readonly SiteTask[]): boolean {
  const restored = newestOf(work.filter(isOurRestore));
  return work.some(
    (task) => task.startTime > restored || (task.startTime === restored && !task.own && MAKES.test(task.type)),
  );
}

/**
 * Which restore of ours a guest without notes is a remainder of: one that still runs, or failed, since one that ended
 * well has written them; a destroy that dies half-way takes them again, and leaves the lock `destroyed`.
 *
 * A task alone tells little. The same id has had other guests before, which were taken away since: by the token, by root
 * over SSH, by a person. So nothing may have happened to the id after it, also not within the same second, and the VM may
 * not say itself that it was made later (`ctime` in `meta`; a restore that failed leaves none).
 */
function remainderOf<Task extends SiteTask>(
  { kind, node, config }: FoundGuest,
  work: readonly Task[],
): Task | undefined {
  const newest = newestOf(work);
  const [task, ...others] = work.filter(({ startTime }) => startTime === newest);
  if (!task || others.length > 0 || !isOurRestore(task)) return undefined;
  if (task.node !== node || !task.type.startsWith(kind === 'qemu' ? 'qm' : 'vz')) return undefined;
  if (task.status === undefined || config['lock'] === 'destroyed') return task;
  if (hasEndedWell(task.status)) return undefined;
  const madeAt = Number(/(?:^|,)ctime=(\d+)/.exec(config['meta'] ?? '')?.[1] ?? 0);
  return madeAt > (task.endTime ?? task.startTime) ? undefined : task;
}

const MAKES = /^(qm|vz)(create|restore)$/;
const DESTROYS = /^(qm|vz)destroy$/;
/** Proxmox VE takes the settings away as the last of all: while a destroy runs, and when it failed, the guest is the same. */
const changesWhose = ({ type, status }: SiteTask): boolean =>
  MAKES.test(type) || (DESTROYS.test(type) && status !== undefined && hasEndedWell(status));
export const isOurRestore = ({ type, own }: SiteTask): boolean => own && /^(qm|vz)restore$/.test(type);

/** Storages of this name, and no others, are added and taken away. */
export const copyStorage = (store: string): string => `test-${store}`;

/** What says that the copy itself cannot be had back: damaged or gone at the backup server, or not to be read with this key. */
const NOT_TO_BE_HAD =
  /missing key|wrong key|manifest's key|unable to (decrypt|decode)|decryption failed|wrong digest|digest mismatch|wrong (crc|checksum)|crc mismatch|corrupt|\.chunks\/\S+ failed|no such (backup )?snapshot|unable to open snapshot|unable to (find|open) (index|archive|blob)|index .*(damaged|broken)|invalid magic/i;
const TROUBLE = /\b(error|fail(ed|ure)?|unable|denied|refused|no space|missing|wrong|timed? ?out)\b/i;
/** Repeats, without a word of why, that a program failed. */
const HOLLOW = /^(TASK ERROR:|error before or during data restore)|failed: exit code \d+$/;
const SHOWN = 5;

/**
 * Whose fault it is that a restore ended badly, from its last words and its log. What is not known to be the copy's fault
 * is the site's: nobody then believes that a backup was tried.
 */
export function judgeRestore(
  exit: string,
  lines: readonly string[],
): { fault: Fault; why: string; detail: string[] | undefined } {
  const trouble = lines.filter((line) => TROUBLE.test(line));
  const telling = trouble.filter((line) => !HOLLOW.test(line));
  const fault = [exit, ...trouble].some((line) => NOT_TO_BE_HAD.test(line)) ? 'guest' : 'site';
  const cause = telling.find((line) => NOT_TO_BE_HAD.test(line)) ?? telling.at(-1) ?? exit;
  const why = cause.replace(/^(error|restore failed): /i, '').slice(0, 300);
  return { fault, why, detail: trouble.length === 0 ? undefined : trouble.slice(-SHOWN) };
}

const mib = (bytes: number): number => Math.floor(bytes / 1024 ** 2);
