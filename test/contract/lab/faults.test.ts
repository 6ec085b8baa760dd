import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { startSshServers, type SshServers } from '#lab/ssh/server.js';
import {
  FAULT_KINDS,
  FAULT_TABLE,
  kindOf,
  STEPS,
  type FaultKind,
  type Moment,
  type Step,
} from '#lab/world/fault-table.js';
import type { JournalEntry } from '#lab/world/journal.js';
import { WEEKLY_SNAPSHOT } from '#lab/world/mirror.js';
import type { NodeSim } from '#lab/world/node-sim.js';
import { timeText } from '#lab/world/pbs/datastore.js';
import type { PbsSim } from '#lab/world/pbs/pbs-sim.js';
import { until } from '../../unit/lab/lab-support.js';
import { PbsCaller } from './pbs/caller.js';
import { startPracticeStore, type PracticeStore } from './pve/practice-store.js';
import { Shell } from './ssh-shell.js';

/** Each fault, met as a client meets it: over SSH and the API, with what the journal says of it. */
const STORE = 'store-001';
const SOURCES = '/etc/apt/sources.list.d/edge-governor.list';
const UNIT = 'edge-governor-upgrade-0123456789ab';
const FAILING_UNIT = `systemd-run --unit=${UNIT} --remain-after-exit -- apt-get -y install nonsense=1`;
const VCL = '/etc/edge-governor/releases/abc/varnish-vcl.vcl';
const GUESTS = [
  { vmid: 101, name: 'cache', kind: 'qemu', role: 'cache', node: 'n1', ha: false },
  {
    vmid: 102,
    name: 'varnish',
    kind: 'lxc',
    role: 'cache',
    node: 'n2',
    ha: false,
    config: [
      { file: 'varnish-vcl.vcl', target: '/etc/varnish/default.vcl', reload: ['systemctl', 'reload', 'varnish'] },
    ],
  },
] as const;

const PERSONAL = ['VM.Allocate', 'VM.Config.Options', 'VM.GuestAgent.Audit', 'Datastore.Allocate', 'SDN.Use'];

interface Answer {
  /** The connection ended without an answer. */
  lost: boolean;
  ok: boolean;
  text: string;
}

let lab: PracticeStore;
let ssh: SshServers;
let shells: Shell[];
let pbs: PbsCaller;
let n1: NodeSim;
let n2: NodeSim;

beforeEach(async () => {
  lab = await startPracticeStore({
    speed: 10_000,
    backup: true,
    guests: GUESTS.map((guest) => ({ ...guest })) as never,
  });
  // What a store's own worker may not do is a person's here.
  lab.store.token.privileges['/']?.push(...PERSONAL);
  ssh = await startSshServers(lab.world);
  pbs = await PbsCaller.open(lab.world.pbs.get('store-001') as PbsSim, lab.authorities);
  shells = [];
  n1 = lab.store.node('n1');
  n2 = lab.store.node('n2');
});
afterEach(async () => {
  for (const shell of shells) shell.end();
  await pbs.close();
  await ssh.close();
  await lab.close();
});

async function run(node: NodeSim, command: string, stdin?: string): Promise<Answer> {
  try {
    const shell = await new Shell().connect(node);
    shells.push(shell);
    const { code, stdout, stderr } = await shell.run(command, stdin);
    shell.end();
    return { lost: code === null, ok: code === 0, text: stdout + stderr };
  } catch (error) {
    return { lost: true, ok: false, text: String(error) };
  }
}
const root = (node: NodeSim, command: string, stdin?: string) => run(node, `sudo -n ${command}`, stdin);

async function call(method: string, path: string, body: Record<string, string> = {}, entry = 'n3'): Promise<Answer> {
  try {
    const reply = await lab.request(entry, method, path, ['GET', 'DELETE'].includes(method) ? {} : { body });
    return { lost: false, ok: reply.status === 200, text: `${reply.status} ${reply.reason}` };
  } catch (error) {
    return { lost: true, ok: false, text: String(error) };
  }
}

/** The identity that may run the sync job. */
const VERIFIER = 'edge-governor@pbs!verify';

/** A call of the backup server. */
async function ask(method: string, path: string, json?: object, token?: string): Promise<Answer> {
  try {
    const reply = await pbs.call(method, path, {
      ...(json === undefined ? {} : { json }),
      ...(token === undefined ? {} : { token }),
    });
    return { lost: false, ok: reply.status === 200, text: reply.text };
  } catch (error) {
    return { lost: true, ok: false, text: String(error) };
  }
}

const vzdump = (): Promise<Answer> => call('POST', '/nodes/n2/vzdump', { vmid: '102', storage: 'pbs' });

/** What vzdump itself came to, from its task. */
async function backedUp(): Promise<Answer> {
  await vzdump();
  const task = n2.tasks.all.findLast(({ type }) => type === 'vzdump');
  await until('vzdump ended', () => task?.exitstatus !== undefined);
  const exit = task?.exitstatus;
  return { lost: exit === 'unexpected status', ok: exit === 'OK', text: task?.log.join('\n') ?? '' };
}

/** Container 102 once more, from its newest backup. */
function restore(): Promise<Answer> {
  const group = lab.store.pbs?.datastore('backup').findGroup('', 'ct', '102');
  const ostemplate = `pbs:backup/ct/102/${timeText(group?.snapshots.at(-1)?.time ?? 0)}`;
  return call('POST', '/nodes/n2/lxc', { vmid: '190', ostemplate, restore: '1', storage: 'vm' });
}

/** What the restore itself came to, from its task. */
async function restored(): Promise<string> {
  await restore();
  const task = n2.tasks.all.findLast(({ type }) => type === 'vzrestore');
  await until('the restore ended', () => task?.exitstatus !== undefined);
  return task?.exitstatus ?? '';
}

function addStorage(): Promise<Answer> {
  const { config, pbs: server } = lab.store.storages.pbs('pbs');
  const { id: username, secret: password } = config.token;
  const { datastore } = config;
  const params = { storage: 'more', type: 'pbs', server: server.address, datastore, username, password };
  return call('POST', '/storage', params, 'n1');
}

interface Act {
  step: Step;
  do: () => Promise<Answer>;
  /** The same over the API, where both ways lead there. */
  api?: () => Promise<Answer>;
  /** What must be so before it makes sense. */
  first?: () => void | Promise<void>;
}

/** Every step that somebody asks for, in an order in which all of them work. Guests' steps happen on n2, the others on n1. */
const STORY: Act[] = [
  { step: 'node.read', do: () => run(n1, 'uname -r') },
  {
    step: 'ceph.read',
    do: () => root(n1, 'ceph status -f json'),
    api: () => call('GET', '/nodes/n1/ceph/status'),
  },
  { step: 'api.read', do: () => call('GET', '/nodes/n1/status') },
  {
    step: 'apt.sources',
    do: () =>
      root(
        n1,
        `install -D -m 0644 /dev/stdin ${SOURCES}`,
        `deb http://mirror.example/${WEEKLY_SNAPSHOT} trixie main\n`,
      ),
  },
  {
    step: 'apt.update',
    do: () => root(n1, 'apt-get update'),
    api: () => call('POST', '/nodes/n1/apt/update'),
  },
  { step: 'apt.download', do: () => root(n1, 'apt-get -y --download-only dist-upgrade') },
  { step: 'ha.maintenance.enable', do: () => root(n1, 'ha-manager crm-command node-maintenance enable n1') },
  {
    step: 'guest.migrate',
    first: () => until('the guest is free', () => lab.store.guests.get(101)?.lock === undefined),
    do: () => call('POST', '/nodes/n1/qemu/101/migrate', { target: 'n2', online: '1' }),
  },
  { step: 'ceph.noout.set', do: () => root(n1, 'ceph osd set-group noout n1') },
  { step: 'packages.install', do: () => root(n1, 'apt-get -y dist-upgrade') },
  {
    step: 'packages.configure',
    first: () => void (n1.packages.halfConfigured = ['openssl']),
    do: () => root(n1, 'dpkg --configure -a'),
  },
  {
    step: 'unit.start',
    do: () => root(n1, FAILING_UNIT),
  },
  {
    step: 'unit.reset',
    first: async () => {
      if (n1.units.all.size === 0) await root(n1, FAILING_UNIT);
      await until('the unit failed', () => n1.units.failed.length === 1);
    },
    do: () => root(n1, `systemctl reset-failed ${UNIT}`),
  },
  {
    step: 'unit.stop',
    first: async () => {
      await root(n1, `systemd-run --unit=${UNIT} --remain-after-exit -- apt-get -y dist-upgrade`);
      await until('the unit ended', () => n1.units.all.get(`${UNIT}.service`)?.state === 'exited');
    },
    do: () => root(n1, `systemctl stop ${UNIT}`),
  },
  { step: 'boot.pin', do: () => root(n1, 'proxmox-boot-tool kernel pin 6.14.11-3-pve') },
  { step: 'boot.refresh', do: () => root(n1, 'proxmox-boot-tool refresh') },
  { step: 'boot.unpin', do: () => root(n1, 'proxmox-boot-tool kernel unpin') },
  { step: 'node.reboot.request', do: () => call('POST', '/nodes/n1/status', { command: 'reboot' }) },
  { step: 'ceph.noout.unset', do: () => root(n1, 'ceph osd unset-group noout n1') },
  { step: 'ha.maintenance.disable', do: () => root(n1, 'ha-manager crm-command node-maintenance disable n1') },
  {
    step: 'guest.config.write',
    do: () =>
      root(n2, `pct exec 102 -- install -D -m 0644 /dev/stdin ${VCL}`, 'vcl 4.1;\nbackend x { .host = "::1"; }\n'),
  },
  { step: 'guest.config.switch', do: () => root(n2, `pct exec 102 -- ln -sfn ${VCL} /etc/varnish/default.vcl`) },
  { step: 'guest.config.reload', do: () => root(n2, 'pct exec 102 -- systemctl reload varnish') },
  { step: 'guest.stop', do: () => call('POST', '/nodes/n2/lxc/102/status/shutdown') },
  {
    step: 'guest.start',
    first: () => until('the guest stopped', () => lab.store.guests.get(102)?.status === 'stopped'),
    do: () => call('POST', '/nodes/n2/lxc/102/status/start'),
  },
  { step: 'backup.start', do: vzdump },
  {
    step: 'snapshot.create',
    // What died in the middle of it left its lock.
    first: () => void (lab.store.guests.get(102)!.lock = undefined),
    do: backedUp,
  },
  { step: 'storage.add', do: addStorage },
  { step: 'storage.remove', do: () => call('DELETE', '/storage/more', {}, 'n1') },
  { step: 'guest.restore', do: restore },
  { step: 'guest.configure', do: () => call('PUT', '/nodes/n2/lxc/190/config', { description: 'restored' }) },
  { step: 'guest.destroy', do: () => call('DELETE', '/nodes/n2/lxc/190?force=1') },
  {
    step: 'agent.read',
    first: () => until('the agent answers', () => lab.store.guests.get(101)?.agentAnswers(lab.world.timing) ?? false),
    do: () => call('POST', '/nodes/n2/qemu/101/agent/ping'),
  },
  { step: 'pbs.read', do: () => ask('GET', '/admin/datastore/backup/snapshots') },
  { step: 'snapshot.verify', do: () => ask('POST', '/admin/datastore/backup/verify', { 'ignore-verified': false }) },
  { step: 'datastore.sync', do: () => ask('POST', '/admin/sync/to-central/run', undefined, VERIFIER) },
  {
    step: 'datastore.prune',
    first: async () => void (await backedUp()),
    do: () => ask('POST', '/admin/datastore/backup/prune', { 'backup-type': 'ct', 'backup-id': '102', 'keep-last': 1 }),
  },
  { step: 'datastore.gc', do: () => ask('POST', '/admin/datastore/backup/gc') },
];

const effects = (name: string): JournalEntry[] => lab.world.journal.entries.filter(({ effect }) => effect === name);
const strikes = (kind: FaultKind) =>
  effects('fault.active')
    .filter(({ detail }) => detail?.['kind'] === kind)
    .map(({ detail }) => ({
      step: detail?.['step'] as Step,
      moment: detail?.['moment'] as Moment,
      hit: detail?.['hit'],
    }));

/** What a step leads to by itself has to be over before the next one. */
async function settled(): Promise<void> {
  await until('nothing runs', () => lab.world.quiet && [...lab.store.nodes.values()].every(({ up }) => up));
}

/** Goes through the story; each act that the table has for the fault meets it first, once. */
async function tell(
  kind: FaultKind,
  moment: Moment,
  judge: (act: Act, answer: Answer, done: () => boolean) => void | Promise<void>,
): Promise<Step[]> {
  const steps = FAULT_TABLE.find((row) => row.kind === kind)?.steps ?? [];
  const aimed = new Set(steps.filter(({ moments }) => moments.includes(moment)).map(({ step }) => step));
  const met: Step[] = [];
  for (const act of STORY) {
    await act.first?.();
    const before = effects(act.step).length;
    const done = (): boolean => effects(act.step).length > before;
    if (aimed.has(act.step)) {
      lab.world.faults.add({ store: STORE, kind, step: act.step, moment, times: 1 });
      met.push(act.step);
      const overApi = kind.startsWith('proxy-');
      await judge(act, await (overApi && act.api ? act.api : act.do)(), done);
      await settled();
    }
    if (!done()) expect([act.step, (await act.do()).ok]).toEqual([act.step, true]);
    await settled();
  }
  expect(strikes(kind).map(({ step, moment: at }) => [step, at])).toEqual(met.map((step) => [step, moment]));
  return met;
}

/** Steps whose effect comes after the answer. */
const LATER: Step[] = [
  'guest.migrate',
  'guest.stop',
  'guest.start',
  'guest.restore',
  'guest.destroy',
  'snapshot.verify',
  'datastore.gc',
  'datastore.sync',
];
const atPbs = (step: Step): boolean => (STEPS[step].by as readonly string[]).includes('pbs');
const isRead = (step: Step): boolean => 'read' in STEPS[step];
const overSsh = (step: Step): boolean => (STEPS[step].by as readonly string[]).includes('ssh');

describe('a lost answer', () => {
  it('before the effect leaves nothing done', async () => {
    await tell('lost-answer', 'before', ({ step }, answer, done) => {
      expect([step, answer.lost, done()]).toEqual([step, true, false]);
    });
  });

  it('after the effect leaves it done, and the journal says after which entry', async () => {
    const met = await tell('lost-answer', 'after', async ({ step }, answer, done) => {
      expect([step, answer.lost]).toEqual([step, true]);
      if (!isRead(step)) await until(`${step} is in the journal`, done);
    });
    const byNumber = new Map(lab.world.journal.entries.map((entry) => [entry.seq, entry.effect]));
    const instant = met.filter((step) => !isRead(step) && !LATER.includes(step));
    for (const step of instant) {
      const hit = strikes('lost-answer').find((strike) => strike.step === step)?.hit;
      expect([step, byNumber.get(Number(hit))]).toEqual([step, step]);
    }
  });

  it('in the middle does not end the work', async () => {
    const met = await tell('lost-answer', 'during', async ({ step }, answer, done) => {
      expect([step, answer.lost]).toEqual([step, true]);
      await until(`${step} is in the journal`, done);
    });
    expect(met).toEqual(['apt.update', 'apt.download', 'packages.install', 'packages.configure']);
  });
});

describe('a command that hangs', () => {
  for (const moment of ['before', 'after'] as const) {
    it(`${moment} its effect never answers`, async () => {
      for (const act of STORY.filter(({ step }) => overSsh(step) && step !== 'node.reboot.request')) {
        await act.first?.();
        const before = effects(act.step).length;
        lab.world.faults.add({ store: STORE, kind: 'command-hangs', step: act.step, moment, times: 1 });
        let answered = false;
        void act.do().then(() => (answered = true));
        await until('it struck', () => strikes('command-hangs').at(-1)?.step === act.step);
        const isDone = effects(act.step).length > before;
        expect([act.step, answered, isDone]).toEqual([act.step, false, moment === 'after' && !isRead(act.step)]);
        if (!isDone) expect([act.step, (await act.do()).ok]).toEqual([act.step, true]);
        await settled();
      }
    });
  }
});

describe('the way between two nodes', () => {
  it('fails with 595 before anything is done', async () => {
    await tell('proxy-595', 'before', ({ step }, answer, done) => {
      expect([step, answer.text, done()]).toEqual([step, '595 Connection refused', false]);
    });
  });
  it('ends with 596 before anything is done', async () => {
    await tell('proxy-596', 'before', ({ step }, answer, done) => {
      expect([step, answer.text, done()]).toEqual([step, '596 Connection timed out', false]);
    });
  });
  it('ends with 596 after all was done', async () => {
    await tell('proxy-596', 'after', async ({ step }, answer, done) => {
      expect([step, answer.text]).toEqual([step, '596 Connection timed out']);
      if (!isRead(step)) await until(`${step} is in the journal`, done);
    });
  });
});

it('an expired token is refused before anything is done', async () => {
  lab.world.faults.add({ store: STORE, kind: 'token-expired', step: 'guest.migrate', times: 1 });
  expect((await call('GET', '/version')).ok).toBe(true);
  const migrate = () => call('POST', '/nodes/n1/qemu/101/migrate', { target: 'n2', online: '1' });
  expect((await migrate()).text).toBe('401 Authentication failed!');
  expect(strikes('token-expired')).toMatchObject([{ step: 'guest.migrate', moment: 'before' }]);
  expect((await migrate()).ok).toBe(true);
});

describe('apt and dpkg', () => {
  it('fail before they change anything', async () => {
    await tell('apt-fail', 'before', ({ step }, answer, done) => {
      expect([step, answer.lost, answer.ok, done()]).toEqual([step, false, false, false]);
    });
  });

  it('fail half-way, and say so, apart from lists that could not be fetched', async () => {
    await tell('apt-fail', 'during', ({ step }, answer, done) => {
      expect([step, answer.ok, done()]).toEqual([step, step === 'apt.update', false]);
      if (step === 'apt.update') expect(answer.text).toContain('or old ones used instead');
      if (step === 'apt.download') expect(n1.packages.downloaded.size).toBe(3);
      if (step !== 'packages.install') return;
      expect(effects('packages.fail')).toHaveLength(1);
      expect(n1.packages.halfConfigured).toHaveLength(1);
      n1.packages.halfConfigured = [];
    });
  });

  it('wait for nobody who holds their lock, nor does a guest', async () => {
    await tell('lock-contention', 'before', ({ step }, answer, done) => {
      expect([step, answer.ok, done()]).toEqual([step, false, false]);
      const says = step.startsWith('guest.') ? /^500 can't lock file .* got timeout$/ : /lock/;
      expect(answer.text).toMatch(says);
    });
  });
});

describe('a guest that does not move', () => {
  for (const moment of ['before', 'during'] as const) {
    it(`fails ${moment === 'before' ? 'at once' : 'in the middle'}, and is where it was`, async () => {
      await tell('migration-fails', moment, async (_act, answer, done) => {
        expect(answer.ok).toBe(true);
        const task = () => n1.tasks.all.find(({ type }) => type === 'qmigrate');
        await until('the task ended', () => task()?.exitstatus !== undefined);
        expect([task()?.exitstatus, lab.store.guests.get(101)?.node, done()]).toEqual([
          'migration aborted',
          'n1',
          false,
        ]);
      });
    });
  }
});

describe('an event', () => {
  it('can be had at every step and moment of the table', async () => {
    const [row] = FAULT_TABLE.filter(({ kind }) => kind === 'guest-unhealthy');
    const wanted = (row?.steps ?? []).flatMap(({ step, moments }) => moments.map((moment) => `${step} ${moment}`));
    for (const { step, moments } of row?.steps ?? []) {
      for (const moment of moments) {
        lab.world.faults.add({ store: STORE, kind: 'guest-unhealthy', step, moment, durationMs: 1 });
      }
    }
    for (const act of STORY) {
      await act.first?.();
      await act.do();
      await settled();
    }
    const seen = strikes('guest-unhealthy').map(({ step, moment }) => `${step} ${moment}`);
    expect(seen.sort()).toEqual(wanted.sort());
  });

  it('comes so often as it says, each time for its duration', async () => {
    lab.world.faults.add({
      store: STORE,
      kind: 'wan-cut',
      step: 'ceph.noout.set',
      moment: 'after',
      times: 2,
      durationMs: 1,
    });
    for (let i = 0; i < 3; i += 1) {
      await root(n1, 'ceph osd set-group noout n1');
      await until('the link is there', () => lab.store.wanUp);
      await root(n1, 'ceph osd unset-group noout n1');
    }
    expect(effects('wan.cut')).toHaveLength(2);
    expect(effects('wan.restore')).toHaveLength(2);
    expect(effects('fault.over')).toHaveLength(2);
  });
});

describe('a node that loses its power', () => {
  const acts = STORY.filter(({ step }) => !isRead(step) && !atPbs(step));
  const crash = (step: Step, moment: Moment) =>
    lab.world.faults.add({ id: `crash-${step}`, store: STORE, kind: 'node-crash', step, moment });
  const backFrom = async (step: Step) => {
    lab.world.faults.remove(`crash-${step}`);
    await settled();
    await until('all is clean', () => lab.store.ceph.allClean());
    // What a crash leaves of dpkg is another test's matter.
    n1.packages.halfConfigured = [];
  };

  it('before any step leaves the step undone', async () => {
    for (const act of acts) {
      await act.first?.();
      crash(act.step, 'before');
      // What a power cut does to guests is the node's doing.
      const asked = (): number => effects(act.step).filter(({ by }) => by !== 'node').length;
      const before = asked();
      const answer = await act.do();
      const broken = answer.lost || /^59[56] /.test(answer.text);
      expect([act.step, broken, asked() - before]).toEqual([act.step, true, 0]);
      expect([n1, n2].filter(({ up }) => !up)).toHaveLength(1);
      await backFrom(act.step);
      await act.first?.();
      expect([act.step, (await act.do()).ok]).toEqual([act.step, true]);
      await settled();
    }
  });

  it('in the middle of a step leaves it half done', async () => {
    const left: Partial<Record<Step, () => unknown>> = {
      'apt.update': () => effects('apt.update').length,
      'apt.download': () => n1.packages.downloaded.size,
      'packages.install': () => [effects('packages.fail').length - 1, effects('packages.install').length],
      'packages.configure': () => [effects('packages.configure').length, n1.packages.halfConfigured.length - 1],
      'guest.migrate': () => (lab.store.guests.get(101)?.node === 'n1' ? 0 : 1),
    };
    for (const act of acts) {
      await act.first?.();
      const half = left[act.step];
      if (half) {
        crash(act.step, 'during');
        await act.do();
        await until('the node is down', () => !n1.up);
        expect([act.step, [half()].flat()]).toEqual([act.step, [half()].flat().map(() => 0)]);
        await backFrom(act.step);
        await until('guests run', () => [...lab.store.guests.values()].every(({ status }) => status === 'running'));
        await act.first?.();
      }
      expect([act.step, (await act.do()).ok]).toEqual([act.step, true]);
      await settled();
    }
  });

  it('while it boots has to be switched on again', async () => {
    crash('node.up', 'during');
    await call('POST', '/nodes/n1/status', { command: 'reboot' });
    await until('it struck', () => strikes('node-crash').length === 1);
    expect(n1.state).toBe('down');
    await backFrom('node.up');
    expect(effects('node.up')).toHaveLength(1);
  });
});

describe('each kind of fault by what a client sees of it', () => {
  const add = (kind: FaultKind, rest: object = {}) => lab.world.faults.add({ id: 'it', store: STORE, kind, ...rest });
  const over = () => lab.world.faults.remove('it');
  const health = async (): Promise<string> => (await root(n3(), 'ceph health detail -f json')).text;
  const n3 = () => lab.store.node('n3');
  const data = async <T>(path: string): Promise<T> => (await lab.request('n3', 'GET', path)).body.data as T;

  const SEEN: Record<FaultKind, () => Promise<void>> = {
    'wan-cut': async () => {
      add('wan-cut');
      expect(lab.store.wanUp).toBe(false);
      over();
      expect(lab.store.wanUp).toBe(true);
    },
    'wan-flap': async () => {
      add('wan-flap', { params: { downSeconds: 10, upSeconds: 10 } });
      await until('it came and went', () => effects('wan.cut').length >= 3 && effects('wan.restore').length >= 2);
      over();
      expect(lab.store.wanUp).toBe(true);
      await settled();
      const cuts = effects('wan.cut').length;
      await root(n1, 'apt-get update');
      expect(effects('wan.cut')).toHaveLength(cuts);
    },
    'wan-slow': async () => {
      await backedUp();
      // Half of it and more go over the line: a hundred times 240 s, ten thousand times as fast.
      add('wan-slow', { params: { factor: 100 } });
      await ask('POST', '/admin/sync/to-central/run', undefined, VERIFIER);
      const task = lab.store.pbs?.tasks.all.findLast(({ type }) => type === 'syncjob');
      const began = performance.now();
      await until('it ended', () => task?.exitstatus === 'OK');
      expect(performance.now() - began).toBeGreaterThan(100);
      over();
      expect(lab.world.faults.on('wan-slow', STORE)).toBeUndefined();
      expect(effects('fault.over').map(({ detail }) => detail?.['kind'])).toEqual(['wan-slow']);
    },
    'disk-full': async () => {
      n1.packages.lists = [WEEKLY_SNAPSHOT];
      add('disk-full', { node: 'n1' });
      expect(await root(n1, 'apt-get -y dist-upgrade')).toMatchObject({
        ok: false,
        text: expect.stringContaining("don't have enough free space") as string,
      });
      expect((await data<{ rootfs: { avail: number } }>('/nodes/n1/status')).rootfs.avail).toBeLessThan(100_000_000);
      over();
      expect((await root(n1, 'apt-get -y dist-upgrade')).ok).toBe(true);
    },
    'clock-skew': async () => {
      add('clock-skew', { node: 'n2' });
      expect(Number((await run(n2, 'date +%s')).text)).toBeGreaterThan(Date.now() / 1_000 + 500);
      expect(await health()).toContain('"clock skew detected on mon.n2"');
      over();
      expect(await health()).toContain('HEALTH_OK');
    },
    'clock-jump': async () => {
      add('clock-jump', { params: { seconds: -7_200 } });
      expect(Number((await run(n1, 'date +%s')).text)).toBeLessThan(Date.now() / 1_000 - 7_000);
      expect(await health()).toContain('HEALTH_OK');
      const upid = (await lab.request('n1', 'POST', '/nodes/n1/apt/update', { body: {} })).body.data as string;
      expect(parseInt(upid.split(':')[4] ?? '', 16)).toBeLessThan(Date.now() / 1_000 - 7_000);
      over();
      expect(Number((await run(n1, 'date +%s')).text)).toBeCloseTo(Date.now() / 1_000, -2);
    },
    'guest-unhealthy': async () => {
      add('guest-unhealthy', { params: { vmid: 102 } });
      const measure = (vmid: number) => lab.store.guests.get(vmid)?.measure(Date.now(), 0, 0).healthy;
      expect([measure(101), measure(102)]).toEqual([true, false]);
      over();
      expect(measure(102)).toBe(true);
    },
    'guest-locked': async () => {
      add('guest-locked', { params: { vmid: 101 } });
      const migrate = () => call('POST', '/nodes/n1/qemu/101/migrate', { target: 'n2', online: '1' });
      expect((await migrate()).text).toBe('500 VM is locked (backup)');
      expect(await data('/nodes/n1/qemu/101/status/current')).toMatchObject({ lock: 'backup' });
      over();
      expect((await migrate()).ok).toBe(true);
    },
    'disk-left-out': async () => {
      add('disk-left-out', { params: { vmid: 101 } });
      expect(await data('/nodes/n1/qemu/101/config')).toMatchObject({ scsi1: expect.stringContaining(',backup=0') });
      expect(lab.store.guests.get(101)?.content(1).disks).toBeUndefined();
      over();
      expect(await data('/nodes/n1/qemu/101/config')).toMatchObject({ scsi1: expect.stringContaining(',backup=1') });
      expect(lab.store.guests.get(101)?.content(1).disks).toMatchObject([{ name: 'scsi1' }]);
    },
    'bad-cache': async () => {
      add('bad-cache');
      const hits = () => lab.store.guests.get(102)?.measure(Date.now(), 0, 0).cacheHitPercent;
      expect(hits()).toBe(41);
      over();
      expect(hits()).toBe(96.5);
    },
    'osd-down': async () => {
      add('osd-down', { params: { osd: 3 } });
      expect(await health()).toContain('osd.3 (root=default,host=n2) is down');
      over();
      await until('it is up', async () => (await health()).includes('HEALTH_OK'));
    },
    'mon-down': async () => {
      add('mon-down', { node: 'n2' });
      expect(await health()).toContain('1/3 mons down, quorum n1,n3');
      expect((await root(n3(), 'ceph mon ok-to-stop n1')).ok).toBe(false);
      n2.reboot('test');
      await until('n2 is back', () => n2.up && effects('node.up').length === 1 && lab.store.ceph.allClean());
      expect(await health()).toContain('MON_DOWN');
      over();
      expect(await health()).not.toContain('MON_DOWN');
    },
    'mgr-down': async () => {
      add('mgr-down');
      expect(await health()).toContain('no active mgr');
      let answered = false;
      void root(n1, 'ceph osd ok-to-stop 0 -f json').then(() => (answered = true));
      expect((await call('GET', '/nodes/n1/ceph/cmd-safety?service=osd&id=0&action=stop')).text).toMatch(/^596/);
      expect(answered).toBe(false);
      over();
      expect((await root(n1, 'ceph osd ok-to-stop 0 -f json')).ok).toBe(true);
    },
    'foreign-noout': async () => {
      add('foreign-noout', { node: 'n2' });
      expect(await health()).toContain('host n2 has flags noout');
      over();
      expect(await health()).toContain('HEALTH_OK');
    },
    'node-crash': async () => {
      add('node-crash', { node: 'n1' });
      expect((await run(n1, 'uname -r')).text).toContain('ECONNREFUSED');
      expect((await call('GET', '/nodes/n1/status')).text).toBe('595 No route to host');
      over();
      await until('it is back', () => n1.up);
      expect((await run(n1, 'uname -r')).ok).toBe(true);
    },
    'chunk-corrupt': async () => {
      await backedUp();
      add('chunk-corrupt', { params: { vmid: 102 } });
      expect(await pbs.work('/admin/datastore/backup/verify')).toMatch(/^verification failed/);
      over();
      // A rotten chunk stays rotten.
      expect(await pbs.work('/admin/datastore/backup/verify', { 'ignore-verified': false })).toMatch(/failed/);
    },
    'datastore-full': async () => {
      add('datastore-full');
      expect((await backedUp()).text).toContain('No space left on device');
      over();
      expect((await backedUp()).ok).toBe(true);
    },
    'pbs-down': async () => {
      add('pbs-down');
      expect((await ask('GET', '/ping')).lost).toBe(true);
      expect((await backedUp()).text).toContain("Can't connect to");
      over();
      await until('it answers', async () => (await ask('GET', '/ping')).ok);
    },
    'restore-storage-full': async () => {
      await backedUp();
      add('restore-storage-full');
      expect(await restored()).toContain('free space in thin pool vm/data reached threshold');
      expect(await data('/nodes/n2/storage/vm/status')).toMatchObject({ avail: 0 });
      over();
      expect(await restored()).toBe('OK');
    },
    'restore-fails': async () => {
      await backedUp();
      add('restore-fails', { times: 1 });
      expect(await restored()).toMatch(/^unable to restore CT 190 - command .* failed: exit code 255$/);
      expect(await restored()).toBe('OK');
    },
    'restore-slow': async () => {
      await backedUp();
      add('restore-slow', { params: { factor: 20 } });
      const began = performance.now();
      expect(await restored()).toBe('OK');
      // Twenty times 300 s, ten thousand times as fast.
      expect(performance.now() - began).toBeGreaterThan(500);
    },
    'agent-silent': async () => {
      add('agent-silent');
      await call('POST', '/nodes/n1/qemu/101/status/stop');
      await settled();
      await call('POST', '/nodes/n1/qemu/101/status/start');
      await settled();
      const guest = lab.store.guests.get(101);
      await until('it has come up', () => guest?.isBooted(lab.world.timing) ?? false);
      expect((await call('POST', '/nodes/n1/qemu/101/agent/ping')).text).toBe('500 QEMU guest agent is not running');
      expect(guest?.measure(Date.now(), 0, 0).healthy).toBe(true);
    },
    'boot-fails': async () => {
      add('boot-fails', { times: 1 });
      for (const healthy of [false, true]) {
        await call('POST', '/nodes/n2/lxc/102/status/stop');
        await settled();
        await call('POST', '/nodes/n2/lxc/102/status/start');
        await settled();
        expect(lab.store.guests.get(102)?.measure(Date.now(), 0, 0).healthy).toBe(healthy);
      }
    },
    'backup-slow': async () => {
      add('backup-slow', { params: { factor: 100 } });
      void vzdump();
      await until('it began', () => strikes('backup-slow').length === 1);
      // A hundred times 120 s, ten thousand times as fast.
      const began = performance.now();
      await until('it ended', () => n2.tasks.all.at(-1)?.exitstatus === 'OK');
      expect(performance.now() - began).toBeGreaterThan(1_000);
    },
    'backup-warns': async () => {
      add('backup-warns');
      expect((await backedUp()).text).toMatch(/\nTASK WARNINGS: 1$/);
    },
    'vzdump-dies': async () => {
      add('vzdump-dies');
      expect((await backedUp()).lost).toBe(true);
      expect(await data('/nodes/n2/lxc/102/status/current')).toMatchObject({ lock: 'backup' });
      over();
      expect((await backedUp()).text).toContain('CT is locked (backup)');
    },
    'node-stays-down': async () => {
      add('node-stays-down', { node: 'n1' });
      await call('POST', '/nodes/n1/status', { command: 'reboot' });
      await until('it struck', () => strikes('node-stays-down').length === 1);
      expect((await run(n1, 'uname -r')).text).toContain('ECONNREFUSED');
      over();
      await until('it is back', () => n1.up);
    },
    'wrong-kernel': async () => {
      n1.packages.lists = [WEEKLY_SNAPSHOT];
      await root(n1, 'apt-get -y dist-upgrade');
      add('wrong-kernel', { node: 'n1' });
      await call('POST', '/nodes/n1/status', { command: 'reboot' });
      await until('it is back', () => effects('node.up').length === 1);
      expect((await run(n1, 'uname -r')).text).toBe('6.14.11-3-pve\n');
    },
    'slow-recovery': async () => {
      add('slow-recovery', { params: { factor: 1_000 } });
      await call('POST', '/nodes/n1/status', { command: 'reboot' });
      await until('it struck', () => lab.store.ceph.osds[0]?.recovery !== undefined);
      const { from, until: end } = lab.store.ceph.osds[0]?.recovery ?? { from: 0, until: 0 };
      // A thousand times 180 s, ten thousand times as fast.
      expect(Math.round(end - from)).toBe(18_000);
      expect(strikes('slow-recovery')).toMatchObject([{ step: 'ceph.recovery', moment: 'before' }]);
    },
    'stuck-recovery': async () => {
      add('stuck-recovery');
      await call('POST', '/nodes/n1/status', { command: 'reboot' });
      await until('it struck', () => strikes('stuck-recovery').length === 1);
      await until('it recovers', async () => (await health()).includes('recovery_wait'));
      over();
      await until('it is well', async () => (await health()).includes('HEALTH_OK'));
    },
    // Shown above at each of their steps and moments.
    'apt-fail': () => Promise.resolve(),
    'lock-contention': () => Promise.resolve(),
    'lost-answer': () => Promise.resolve(),
    'proxy-595': () => Promise.resolve(),
    'proxy-596': () => Promise.resolve(),
    'token-expired': () => Promise.resolve(),
    'command-hangs': () => Promise.resolve(),
    'migration-fails': () => Promise.resolve(),
  };

  for (const [kind, see] of Object.entries(SEEN) as [FaultKind, () => Promise<void>][]) {
    if (/=> Promise\.resolve\(\)/.test(String(see))) continue;
    it(`${kind}: ${kindOf(kind).title}`, see);
  }

  it('leaves out none', () => {
    expect(Object.keys(SEEN).sort()).toEqual([...FAULT_KINDS].sort());
  });
});
