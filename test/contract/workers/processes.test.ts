import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { connect, createServer, type AddressInfo, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Client, type Connection } from '@temporalio/client';
import { afterAll, afterEach, beforeAll, describe, expect, it, vi } from 'vitest';
import { openConnection } from '#client/temporal-connection.js';
import { CONTROL_QUEUE, OFFSITE_QUEUE, RELEASE_QUEUE, STAGING_QUEUE, storeQueue } from '#domain/naming.js';
import { writeCentralEnrolment } from '#lab/enrolment.js';
import { writeStagingEnrolment } from '#lab/staging-enrolment.js';
import { findTemporalCli } from '#workers/embedded/temporal-cli.js';
import { startTemporal, type TemporalServer } from '#workers/embedded/temporal.js';
import { askActivity } from '../../support/ask-activity.js';
import { buildOnce, ROOT } from '../../support/build.js';
import { SOON } from '../../support/soon.js';
import { copyForEach, endByHand, endOne } from '../lab/pbs/central-copies.js';
import { PracticeStaging } from '../lab/staging/practice-staging.js';

/** The offsite and the staging worker, as the processes that an installer starts, on a practice site. */

let temporal: TemporalServer;
let connection: Connection;
let client: Client;
let staging: PracticeStaging;
let dir: string;
let door: Door;
const files = { offsite: '', staging: '' };
type Name = keyof typeof files;
type Config = Record<string, Record<string, unknown>>;

beforeAll(async () => {
  await buildOnce();
  dir = await mkdtemp(join(tmpdir(), 'edge-workers-'));
  const cli = await findTemporalCli({ env: process.env, say: () => undefined });
  const server = { cli, env: process.env, dir, namespace: 'default', searchAttributes: [], headless: true };
  temporal = await startTemporal(server);
  connection = await openConnection(temporal.address, '10s');
  client = new Client({ connection });
  staging = await PracticeStaging.start();
  const { site, central, lab } = staging;
  door = await openDoor(central.address, central.port);
  const { caPem } = await lab.authorities.storeAuthority('staging');
  const to = { namespace: 'default', temporal: temporal.address };
  await writeCentralEnrolment(central, to);
  const folder = await writeStagingEnrolment(site, central, { ...to, caPem });
  files.offsite = join(folder, '..', 'enrolment-central', 'offsite-worker.json');
  const config = JSON.parse(await readFile(files.offsite, 'utf8')) as Config;
  await writeFile(files.offsite, JSON.stringify({ ...config, pbs: { ...config['pbs'], port: door.port } }));
  files.staging = join(folder, 'staging.json');
}, 240_000);
afterAll(async () => {
  await door?.close();
  await staging?.close();
  await connection?.close();
  await temporal?.stop();
  await rm(dir, { recursive: true, force: true });
});

interface Door {
  port: number;
  /** What is asked from now on has no answer until it is opened. */
  shut(): void;
  open(): void;
  /** How many have come since it was shut. */
  knocks(): number;
  close(): Promise<void>;
}

/** A way to the central backup server on which the test can hold up what is asked. */
async function openDoor(host: string, port: number): Promise<Door> {
  const sockets = new Set<Socket>();
  let isShut = false;
  let knocks = 0;
  const keep = (socket: Socket) => sockets.add(socket.on('error', () => socket.destroy()));
  const server = createServer((from) => {
    const to = connect({ host, port });
    keep(from).add(to);
    keep(to);
    from.pipe(to).pipe(from);
    if (!isShut) return;
    from.pause();
    knocks += 1;
  });
  await new Promise<void>((resolve) => server.listen(0, host, resolve));
  return {
    port: (server.address() as AddressInfo).port,
    knocks: () => knocks,
    shut() {
      isShut = true;
      knocks = 0;
      for (const socket of sockets) socket.pause();
    },
    open() {
      isShut = false;
      for (const socket of sockets) socket.resume();
    },
    async close() {
      for (const socket of sockets) socket.destroy();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}

const WORKERS = {
  offsite: {
    queue: OFFSITE_QUEUE,
    activity: 'readCopy',
    task: {
      protocol: 1,
      fleet: 'practice',
      night: 'night-2026-11-26',
      store: 'store-001',
      operationId: 'night-2026-11-26/store-001/r0',
      startedAt: '2026-11-26T01:00:00Z',
    },
    answers: { copy: { node: 'pbs-central' } },
    notMine: ['dumpNode', 'restoreGuest', 'buildRelease'],
    credentials: [
      ['pbs', 'verifyTokenFile'],
      ['pbs', 'pruneTokenFile'],
    ],
  },
  staging: {
    queue: STAGING_QUEUE,
    activity: 'openCopy',
    task: { protocol: 1, fleet: 'practice', run: 'restores-2026-w48', store: 'store-001' },
    answers: { kind: 'done' },
    notMine: ['dumpNode', 'pruneCopy', 'buildRelease'],
    credentials: [
      ['proxmox', 'tokenFile'],
      ['proxmox', 'caFile'],
      ['ssh', 'keyFile'],
      ['copies', 'readTokenFile'],
    ],
  },
} as const;

interface Run {
  child: ChildProcess;
  /** All it has said so far. */
  said: { out: string; err: string };
  ended: Promise<{ code: number | null; signal: NodeJS.Signals | null }>;
}

const running: ChildProcess[] = [];
afterEach(() => {
  door.open();
  for (const child of running.splice(0)) child.kill('SIGKILL');
  vi.restoreAllMocks();
});

function launch(name: Name, args: string[], env: NodeJS.ProcessEnv = {}): Run {
  const child = spawn(process.execPath, [join(ROOT, 'dist', 'workers', `${name}.js`), ...args], {
    cwd: dir,
    env: { PATH: process.env.PATH, ...env },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  running.push(child);
  const said = { out: '', err: '' };
  child.stdout.on('data', (text: Buffer) => (said.out += text.toString()));
  child.stderr.on('data', (text: Buffer) => (said.err += text.toString()));
  const ended = once(child, 'close').then(([code, signal]) => ({ code, signal }) as Awaited<Run['ended']>);
  return { child, said, ended };
}

async function started(name: Name, file = files[name]): Promise<Run> {
  const run = launch(name, ['--config', file]);
  const isReady = vi.waitFor(() => expect(run.said.out).toContain('{"ready":true}\n'), { timeout: 30_000 });
  await Promise.race([isReady, run.ended.then(() => Promise.reject(new Error(`It ended: ${run.said.err}`)))]);
  return run;
}

/** It does not start, and says why in one line, without a trace of the program. */
async function refusal(name: Name, args: string[], env?: NodeJS.ProcessEnv): Promise<string> {
  const { said, ended } = launch(name, args, env);
  expect(await ended).toEqual({ code: 1, signal: null });
  expect(said.out).not.toContain('ready');
  expect(said.err).toMatch(/^[^\n]+\n$/);
  expect(said.err).not.toMatch(/\bat .*:\d+:\d+|\{ code:/);
  return said.err.trim();
}

/** The worker's own file, changed in a copy; null takes a setting away. */
async function changed(name: Name, change: Record<string, unknown>): Promise<string> {
  const config = JSON.parse(await readFile(files[name], 'utf8')) as Config;
  for (const [path, value] of Object.entries(change)) {
    const [first = '', second] = path.split('.');
    const place = second === undefined ? config : (config[first] ?? {});
    if (value === null) delete place[second ?? first];
    else place[second ?? first] = value as never;
  }
  const file = join(dir, `${name}-changed.json`);
  await writeFile(file, JSON.stringify(config));
  return file;
}

const pollersOf = async (queue: string): Promise<string[]> => {
  const { pollers } = await client.workflowService.describeTaskQueue({
    namespace: 'default',
    taskQueue: { name: queue },
    taskQueueType: 2,
  });
  return (pollers ?? []).map(({ identity }) => identity ?? '');
};
const ask = (name: Name, change: Partial<{ activity: string; task: unknown }> = {}) => {
  const { queue, activity, task } = WORKERS[name];
  return askActivity(client, { queue, activity, task, ...change });
};
/** The worker has the task, and is held up at the door. */
const heldUp = () => vi.waitFor(() => expect(door.knocks()).toBeGreaterThan(0), { timeout: 10_000 });

describe.each(Object.keys(WORKERS) as Name[])('the %s worker', (name) => {
  const { queue, notMine, credentials } = WORKERS[name];

  it('polls its own queue and no other, and answers there', async () => {
    const { child } = await started(name);
    const identity = `${name}-worker/${child.pid}`;
    await vi.waitFor(async () => expect(await pollersOf(queue)).toContain(identity), { timeout: 10_000 });
    const others = [CONTROL_QUEUE, RELEASE_QUEUE, OFFSITE_QUEUE, STAGING_QUEUE, storeQueue('store-001')];
    for (const other of others.filter((one) => one !== queue)) expect(await pollersOf(other)).not.toContain(identity);
    const { answer } = await ask(name);
    expect(await answer).toMatchObject({ kind: 'done', result: WORKERS[name].answers });
  });

  it('refuses tasks of other workers, and tasks that are not of the form it knows', async () => {
    await started(name);
    for (const activity of notMine) {
      const { answer } = await ask(name, { activity });
      expect(await answer).toMatchObject({ kind: 'failed', message: expect.stringContaining(activity) as string });
    }
    const { answer } = await ask(name, { task: { ...WORKERS[name].task, store: '../store-002' } });
    expect(await answer).toMatchObject({ kind: 'failed', type: 'InvalidInput', isFinal: true });
  });

  it('says what is wrong with its start in one sentence', async () => {
    expect(await refusal(name, [])).toContain('--config FILE');
    expect(await refusal(name, ['--config'])).toContain('--config FILE');
    expect(await refusal(name, ['--config', 'absent.json'])).toMatch(/^absent\.json cannot be read: ENOENT/);
    expect(await refusal(name, ['--config', files[name]], { EDGE_LOG_LEVEL: 'loud' })).toContain('EDGE_LOG_LEVEL');
    await writeFile(join(dir, 'torn.json'), readFileSync(files[name], 'utf8').slice(0, -9));
    expect(await refusal(name, ['--config', 'torn.json'])).toBe('torn.json is not JSON.');
    const nowhere = await changed(name, { temporal: { address: '127.0.0.1:9', namespace: 'default' } });
    expect(await refusal(name, ['--config', nowhere])).toMatch(
      /^Temporal does not answer at 127\.0\.0\.1:9: Connection refused/,
    );
    const unknown = await changed(name, { temporal: { address: temporal.address, namespace: 'nowhere' } });
    expect(await refusal(name, ['--config', unknown])).toMatch(/Namespace nowhere (is|was) not found/);
  });

  it.each<readonly [string, string]>(credentials)(
    'does not start with a bad credential in %s.%s, and shows none of it',
    async (part, setting) => {
      const path = `${part}.${setting}`;
      const secret = 'canary-8f2c secret';
      const file = join(dir, 'credential');
      const config = await changed(name, { [path]: file });
      await rm(file, { force: true });
      expect(await refusal(name, ['--config', config])).toContain(`${file} cannot be read: ENOENT`);
      await writeFile(file, ' \n');
      expect(await refusal(name, ['--config', config])).toBe(`${file} is empty.`);
      await writeFile(file, `${secret}\n`);
      expect(await refusal(name, ['--config', config])).not.toContain('canary-8f2c');
      const without = await changed(name, { [path]: null });
      expect(await refusal(name, ['--config', without])).toContain(`${part}.${setting}: `);
    },
  );

  it.each([
    ['a release key', { releaseKeyFile: '/keys/release.pem' }],
    ['a database', { database: 'postgres://edge:canary-8f2c@db/ledger' }],
    ['a token itself', { 'temporal.apiKey': 'canary-8f2c' }],
    name === 'offsite'
      ? ['the keys of backups', { encryptionKeyFiles: { 'store-001': '/keys/store-001.json' } }]
      : ['a token that prunes', { 'copies.pruneTokenFile': '/keys/prune' }],
  ])('takes no file that also names %s', async (_, change) => {
    const config = await changed(name, change as Record<string, unknown>);
    const said = await refusal(name, ['--config', config]);
    expect(said).toContain(Object.keys(change)[0]?.split('.').at(-1));
    expect(said).not.toContain('canary-8f2c');
  });
});

describe('a worker that is told to end', () => {
  it('finishes what it holds when it is told to end, and takes nothing more', async () => {
    const { child, ended } = await started('offsite');
    door.shut();
    const { answer } = await ask('offsite');
    await heldUp();
    child.kill('SIGTERM');
    await new Promise((resolve) => setTimeout(resolve, 1_000));
    door.open();
    expect(await answer).toMatchObject({ kind: 'done' });
    expect(await ended).toEqual({ code: 0, signal: null });
  });

  it('gives up what does not end, and ends all the same', async () => {
    const { child, said, ended } = await started('offsite');
    door.shut();
    await ask('offsite');
    await heldUp();
    child.kill('SIGTERM');
    expect(await ended).toEqual({ code: 0, signal: null });
    expect(said.out).toContain('what did not end in time is given up');
  });
});

describe('a worker that is busy', () => {
  const stores = (count: number) => Array.from({ length: count }, (_, i) => `store-${String(i + 2).padStart(3, '0')}`);

  it('is not taken for one that is away: a list is read while more is to be verified than may be at once', async () => {
    const { central } = staging;
    const all = stores(12);
    staging.backUp(101);
    copyForEach(central, all);
    endByHand(central);
    await started('offsite');
    const order = { ...WORKERS.offsite.task, reverifyAfter: 30 * 86_400_000 };
    const asked = await Promise.all(
      all.map((store) => ask('offsite', { activity: 'verifyCopy', task: { ...order, store } })),
    );
    const running = () => central.tasks.running.filter(({ type }) => type === 'verify_snapshot').length;
    await vi.waitFor(() => expect(running()).toBe(8), SOON);
    const { answer: list } = await ask('offsite');
    expect(await list).toMatchObject({ kind: 'done', result: WORKERS.offsite.answers });
    for (let left = all.length; left > 0; left -= 1) {
      await vi.waitFor(() => expect(running()).toBe(Math.min(8, left)), SOON);
      endOne(central);
    }
    for (const { answer } of asked) expect(await answer).toMatchObject({ kind: 'done', result: { ok: true } });
  });

  it('is not taken for one that is away: a storage is taken away while as many stores are tried as may be at once', async () => {
    await started('staging', await changed('staging', { 'copies.port': door.port }));
    door.shut();
    const ended: string[] = [];
    const { task } = WORKERS.staging;
    for (const store of stores(50)) {
      const { answer } = await ask('staging', { task: { ...task, store } });
      const end = () => void ended.push(store);
      answer.then(end, end);
    }
    await heldUp();
    const { answer } = await ask('staging', { activity: 'closeCopy' });
    expect(await answer).toMatchObject({ kind: 'done', result: { kind: 'done' } });
    expect(ended).toEqual([]);
  });
});

describe('the keys of backups', () => {
  it('are read when a store is tried: one that is missing stops the tests of that store alone', async () => {
    const keys = { 'store-001': join(dir, 'absent-key.json') };
    await started('staging', await changed('staging', { encryptionKeyFiles: keys }));
    const { answer } = await ask('staging');
    expect(await answer).toMatchObject({
      kind: 'done',
      result: {
        kind: 'failed',
        fault: 'site',
        why: expect.stringContaining('absent-key.json cannot be read') as string,
      },
    });
    const { answer: other } = await ask('staging', { task: { ...WORKERS.staging.task, store: 'store-777' } });
    expect(await other).toMatchObject({ kind: 'done', result: { kind: 'done' } });
  });
});
