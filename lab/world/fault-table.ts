/**
 * What can be made to go wrong in the practice fleet, where and when: plain data, for tests that want to meet all of it,
 * and for people who look for the right word.
 */
export const MOMENTS = ['before', 'during', 'after'] as const;
export type Moment = (typeof MOMENTS)[number];

interface StepRow {
  title: string;
  /** `during` only where the effect takes time. */
  moments: readonly Moment[];
  /** How it is asked for: a command over SSH, a call of the API, one of the backup server's, or nobody asks and the store does it by itself. */
  by: readonly ('ssh' | 'api' | 'pbs' | 'store')[];
  /** Changes nothing: only traps on its way can be met there. */
  read?: true;
}

const AT_ONCE = ['before', 'after'] as const;
const TAKES_TIME = ['before', 'during', 'after'] as const;

/** The steps that a fault can be aimed at. All but the reads are named as their effect is in the journal. */
export const STEPS = {
  'apt.sources': { title: 'package sources are written', moments: AT_ONCE, by: ['ssh'] },
  'apt.update': { title: 'package lists are fetched', moments: TAKES_TIME, by: ['ssh', 'api'] },
  'apt.download': { title: 'packages are fetched', moments: TAKES_TIME, by: ['ssh'] },
  'unit.start': { title: 'the transient unit is started', moments: AT_ONCE, by: ['ssh'] },
  'unit.stop': { title: 'the ended unit is taken away', moments: AT_ONCE, by: ['ssh'] },
  'unit.reset': { title: 'the failed unit is taken away', moments: AT_ONCE, by: ['ssh'] },
  'packages.install': { title: 'apt and dpkg change packages', moments: TAKES_TIME, by: ['ssh'] },
  'packages.configure': { title: 'dpkg configures what was left', moments: TAKES_TIME, by: ['ssh'] },
  'boot.pin': { title: 'a kernel is pinned', moments: AT_ONCE, by: ['ssh'] },
  'boot.unpin': { title: 'the pin is taken away', moments: AT_ONCE, by: ['ssh'] },
  'boot.refresh': { title: 'the boot partitions are written', moments: AT_ONCE, by: ['ssh'] },
  'ha.maintenance.enable': { title: 'maintenance mode is set', moments: AT_ONCE, by: ['ssh'] },
  'ha.maintenance.disable': { title: 'maintenance mode is taken away', moments: AT_ONCE, by: ['ssh'] },
  'guest.migrate': { title: 'a guest moves', moments: TAKES_TIME, by: ['api', 'store'] },
  'guest.start': { title: 'a guest is started', moments: AT_ONCE, by: ['api', 'store'] },
  'guest.stop': { title: 'a guest is stopped', moments: AT_ONCE, by: ['api', 'store'] },
  'ceph.noout.set': { title: 'noout is set on a host', moments: AT_ONCE, by: ['ssh'] },
  'ceph.noout.unset': { title: 'noout is taken away', moments: AT_ONCE, by: ['ssh'] },
  'ceph.recovery': { title: 'Ceph catches up', moments: ['before', 'during'], by: ['store'] },
  'node.reboot.request': { title: 'the node is asked to reboot', moments: AT_ONCE, by: ['api', 'ssh'] },
  'node.up': { title: 'the node boots', moments: TAKES_TIME, by: ['store'] },
  'guest.config.write': { title: 'a config file is written in a guest', moments: AT_ONCE, by: ['ssh'] },
  'guest.config.switch': { title: 'a guest gets the new config', moments: AT_ONCE, by: ['ssh'] },
  'guest.config.reload': { title: 'a guest loads its config', moments: AT_ONCE, by: ['ssh'] },
  'storage.add': { title: 'a storage is added to the cluster', moments: AT_ONCE, by: ['api'] },
  'storage.remove': { title: 'a storage is taken out of the cluster', moments: AT_ONCE, by: ['api'] },
  'guest.restore': { title: 'a guest is restored from a backup', moments: TAKES_TIME, by: ['api'] },
  'guest.configure': { title: 'the settings of a guest are changed', moments: AT_ONCE, by: ['api'] },
  'guest.destroy': { title: 'a guest is destroyed', moments: TAKES_TIME, by: ['api'] },
  'agent.read': { title: 'the agent of a guest is asked', moments: AT_ONCE, by: ['api'], read: true },
  'backup.start': { title: 'vzdump is started on a node', moments: AT_ONCE, by: ['api'] },
  'snapshot.create': { title: 'vzdump backs up a guest', moments: TAKES_TIME, by: ['store'] },
  'snapshot.verify': { title: 'a snapshot is verified', moments: TAKES_TIME, by: ['pbs'] },
  'datastore.prune': { title: 'old snapshots are pruned', moments: AT_ONCE, by: ['pbs'] },
  'datastore.gc': { title: 'unused chunks are collected', moments: TAKES_TIME, by: ['pbs'] },
  'datastore.sync': { title: 'what is new is copied to the central server', moments: TAKES_TIME, by: ['pbs'] },
  'pbs.read': { title: 'the backup server is asked', moments: AT_ONCE, by: ['pbs'], read: true },
  'ceph.read': { title: 'Ceph is asked', moments: AT_ONCE, by: ['ssh', 'api'], read: true },
  'node.read': { title: 'a node is looked at over SSH', moments: AT_ONCE, by: ['ssh'], read: true },
  'api.read': { title: 'the API is asked', moments: AT_ONCE, by: ['api'], read: true },
} as const satisfies Record<string, StepRow>;

export type Step = keyof typeof STEPS;
const ALL_STEPS = Object.keys(STEPS) as Step[];
const row = (step: Step): StepRow => STEPS[step];

const EFFECTS = ALL_STEPS.filter((step) => !row(step).read);
const OVER_SSH = ALL_STEPS.filter((step) => row(step).by.includes('ssh'));
const OVER_API = ALL_STEPS.filter((step) => row(step).by.includes('api'));
const OVER_PBS = ALL_STEPS.filter((step) => row(step).by.includes('pbs'));
/** What any node does by itself is not handed on by one. */
const OVER_PROXY = OVER_API.filter((step) => !step.startsWith('storage.'));
const OVER_WIRE = ALL_STEPS.filter((step) => [OVER_SSH, OVER_API, OVER_PBS].some((steps) => steps.includes(step)));

interface KindRow {
  title: string;
  /**
   * An event takes effect at once, or when its step is reached, and is undone when it ends. A trap waits at its steps
   * until somebody comes by.
   */
  sort: 'event' | 'trap';
  steps: readonly Step[];
  /** Meant when none is given; else a trap without a step waits at all of them. */
  usual?: Step;
  /** The first is meant when none is given. */
  moments: readonly Moment[];
  params?: Record<string, { type: 'number' | 'boolean' | 'string'; title: string }>;
}

const event = (title: string, params?: KindRow['params']): KindRow => ({
  title,
  sort: 'event',
  steps: EFFECTS,
  moments: MOMENTS,
  ...(params === undefined ? {} : { params }),
});

const VMID = { vmid: { type: 'number', title: 'only this guest' } } as const;

const KINDS = {
  'wan-cut': event('the link to the centre is cut', {
    silent: { type: 'boolean', title: 'what is sent is swallowed instead of refused' },
  }),
  'wan-flap': event('the link goes away and comes back, again and again', {
    downSeconds: { type: 'number', title: 'away for so long (default 20)' },
    upSeconds: { type: 'number', title: 'there for so long (default 20)' },
  }),
  'wan-slow': event('the link to the centre is slow: what is sent to the central backup server takes longer', {
    factor: { type: 'number', title: 'times as long (default 10)' },
  }),
  'disk-full': event('the root disk of the node is full'),
  'clock-skew': event('the clock of one node is wrong, the others see it', {
    seconds: { type: 'number', title: 'ahead of the others by so much (default 600)' },
  }),
  'clock-jump': event('the clocks of all nodes jump together', {
    seconds: { type: 'number', title: 'by so much, negative for back (default 3600)' },
  }),
  'guest-unhealthy': event('guests fail their health check', VMID),
  'guest-locked': event('a guest is locked by other work', {
    ...VMID,
    lock: { type: 'string', title: 'whose work: backup, snapshot, … (default backup)' },
  }),
  'disk-left-out': event('guests have a further disk that backups leave out, and take along when the fault ends', VMID),
  'bad-cache': event('caches keep nothing', VMID),
  'osd-down': event('an OSD is down', { osd: { type: 'number', title: 'which (default: first of the node)' } }),
  'mon-down': event('the monitor of the node is down'),
  'mgr-down': event('no manager runs: calls that need one hang'),
  'foreign-noout': event('somebody else sets noout', { host: { type: 'string', title: 'on which host' } }),
  'node-crash': event('the node loses its power, and gets it back when the fault ends'),
  'chunk-corrupt': event('a chunk of the newest snapshot rots on the disk of the backup server', {
    ...VMID,
    ns: { type: 'string', title: 'only in this namespace' },
    datastore: { type: 'string', title: 'which (default: the first)' },
  }),
  'datastore-full': event('the disk of the datastore is full', {
    datastore: { type: 'string', title: 'which (default: the first)' },
  }),
  'pbs-down': event('the backup server loses its power, and gets it back when the fault ends'),
  'restore-storage-full': event('the storage for the disks of guests is full', {
    storage: { type: 'string', title: 'which (default: the one for restored guests, else that of all guests)' },
  }),
  'restore-fails': trap('a restore fails: at once, or in the middle', ['guest.restore'], ['during', 'before']),
  'restore-slow': trap('a restore takes longer', ['guest.restore'], ['before'], {
    factor: { type: 'number', title: 'times as long (default 10)' },
  }),
  'agent-silent': trap('a guest starts, and its agent never answers', ['guest.start'], ['after']),
  'boot-fails': trap('a guest starts, and hangs before its services do', ['guest.start'], ['after']),
  'backup-slow': trap('a backup takes longer', ['snapshot.create'], ['before'], {
    factor: { type: 'number', title: 'times as long (default 10)' },
  }),
  'backup-warns': trap('vzdump succeeds with a warning', ['snapshot.create'], ['after']),
  'vzdump-dies': trap('the process of vzdump dies, and leaves the guest locked', ['snapshot.create'], ['during']),
  'node-stays-down': trap('the node does not come back from a reboot', ['node.up'], ['before']),
  'wrong-kernel': trap('the node boots its oldest kernel', ['node.up'], ['before']),
  'slow-recovery': trap('Ceph takes longer to catch up', ['ceph.recovery'], ['before'], {
    factor: { type: 'number', title: 'times as long (default 10)' },
  }),
  'stuck-recovery': trap('Ceph does not catch up', ['ceph.recovery'], ['before']),
  'apt-fail': {
    title: 'apt fails, half-way or before it changes anything',
    sort: 'trap',
    steps: ['apt.update', 'apt.download', 'packages.install', 'packages.configure'],
    usual: 'packages.install',
    moments: ['during', 'before'],
  },
  'lock-contention': trap(
    'somebody else holds the lock: that of dpkg, or of the guest',
    [
      'apt.update',
      'apt.download',
      'packages.install',
      'packages.configure',
      'guest.migrate',
      'guest.start',
      'guest.stop',
      'snapshot.create',
    ],
    ['before'],
  ),
  'lost-answer': trap('the connection breaks: before the effect, in it, or after it', OVER_WIRE, [
    'after',
    'before',
    'during',
  ]),
  'proxy-595': trap('the entry node cannot reach the other', OVER_PROXY, ['before']),
  'proxy-596': trap('the entry node gives up waiting for the other', OVER_API, ['after', 'before']),
  'token-expired': trap(
    'the API, or the backup server, knows the token no more',
    [...OVER_API, ...OVER_PBS],
    ['before'],
  ),
  'command-hangs': trap('a command never ends: before its effect, or after it', OVER_SSH, ['before', 'after']),
  'migration-fails': trap('a guest does not move: at once, or in the middle', ['guest.migrate'], ['during', 'before']),
} as const satisfies Record<string, KindRow>;

function trap(title: string, steps: readonly Step[], moments: readonly Moment[], params?: KindRow['params']): KindRow {
  return { title, sort: 'trap', steps, moments, ...(params === undefined ? {} : { params }) };
}

export type FaultKind = keyof typeof KINDS;
export const FAULT_KINDS = Object.keys(KINDS) as FaultKind[];
export const kindOf = (kind: FaultKind): KindRow => KINDS[kind];

/** What the kind and the step have in common; the kind's order, so the first is the default. */
export const momentsAt = (kind: FaultKind, step: Step): Moment[] => {
  const { moments } = kindOf(kind);
  // Nothing that only the transport sees lasts as long as its effect, unless the command itself does.
  const hasMiddle = row(step).moments.includes('during') && (kind !== 'lost-answer' || row(step).by.includes('ssh'));
  return moments.filter((moment) => row(step).moments.includes(moment) && (moment !== 'during' || hasMiddle));
};

/** Where and when one kind can strike. */
export interface FaultRow {
  kind: FaultKind;
  title: string;
  sort: 'event' | 'trap';
  /** An event may also be set without a step: then it begins at once. */
  steps: { step: Step; title: string; moments: Moment[] }[];
  params: { name: string; type: string; title: string }[];
}

/** Every kind with each step and moment at which it can be armed. */
export const FAULT_TABLE: readonly FaultRow[] = FAULT_KINDS.map((kind) => {
  const { title, sort, steps, params = {} } = kindOf(kind);
  return {
    kind,
    title,
    sort,
    steps: steps.map((step) => ({ step, title: row(step).title, moments: momentsAt(kind, step) })),
    params: Object.entries(params).map(([name, { type, title: what }]) => ({ name, type, title: what })),
  };
});

/** What is wrong with a fault as it was written, by the name of the field. Empty when it can be armed. */
export function faultProblems(fault: {
  kind: FaultKind;
  step?: string | undefined;
  moment?: Moment | undefined;
  times?: number | undefined;
  params?: Record<string, unknown> | undefined;
}): { field: string; message: string }[] {
  const { sort, steps, params: known = {} } = kindOf(fault.kind);
  const problems: { field: string; message: string }[] = [];
  const add = (field: string, message: string): void => void problems.push({ field, message });
  const step = steps.find((each) => each === fault.step);
  if (fault.step !== undefined && step === undefined) {
    add('step', `${fault.kind} cannot strike at ${fault.step}. It can at: ${steps.join(', ')}`);
  }
  if (fault.moment !== undefined && fault.step === undefined && sort === 'event') {
    add('moment', 'a moment needs a step; without one the fault begins at once');
  }
  const allowed = step === undefined ? kindOf(fault.kind).moments : momentsAt(fault.kind, step);
  if (fault.moment !== undefined && !allowed.includes(fault.moment)) {
    add('moment', `${fault.kind}${step ? ` at ${step}` : ''} strikes ${allowed.join(' or ')}, not ${fault.moment}`);
  }
  if (fault.times !== undefined && sort === 'event' && fault.step === undefined) {
    add('times', 'what begins at once begins once; give a step to have it come again');
  }
  for (const [name, value] of Object.entries(fault.params ?? {})) {
    const param = known[name];
    if (!param) {
      const names = Object.keys(known);
      add(`params.${name}`, `${fault.kind} takes ${names.length === 0 ? 'no settings' : `only ${names.join(', ')}`}`);
    } else if (typeof value !== param.type) {
      add(`params.${name}`, `must be a ${param.type}`);
    }
  }
  return problems;
}
