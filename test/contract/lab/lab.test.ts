import { spawn, type ChildProcess } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, statSync, truncateSync, writeFileSync } from 'node:fs';
import { connect, createServer, type Server, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import ssh2 from 'ssh2';
import { afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { readFaultPlan } from '#lab/control/plan.js';
import { startLab, type Lab } from '#lab/lab.js';
import type { JournalEntry } from '#lab/world/journal.js';
import { storeWorkerSchema } from '#workers/config.js';
import { buildOnce } from '../../support/build.js';
import { aStoreSpec, until } from '../../unit/lab/lab-support.js';

const NET = '127.61.2';

function aLabStore() {
  const spec = aStoreSpec();
  return {
    ...spec,
    nodes: spec.nodes.map((node, i) => ({ ...node, address: `${NET}.${i + 1}` })),
    guests: (spec.guests ?? []).map((guest, i) => ({
      ...guest,
      health: `http://${NET}.${i + 101}:8080/health`,
      metrics: `http://${NET}.${i + 101}:8080/metrics`,
    })),
  };
}

interface StoreWorkerFile {
  temporal: { address: string };
  registry: string;
  proxmox: { tokenFile: string; caFile: string };
  ssh: { keyFile: string; nodes: Record<string, { hostKey: string }> };
  backup: { pbs: { verifyTokenFile: string; pruneTokenFile: string } };
}

/** A server that sends back what it gets, in the place of Temporal. */
async function echoServer(): Promise<{ address: string; server: Server }> {
  const server = createServer((socket) => socket.pipe(socket).on('error', () => socket.destroy()));
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as { port: number };
  return { address: `127.0.0.1:${port}`, server };
}

/** Resolves with what the other end says next, or with why nothing comes. */
function said(socket: Socket, word: string): Promise<string> {
  return new Promise((resolve) => {
    socket.once('data', (data: Buffer) => resolve(data.toString()));
    socket.once('error', (error: NodeJS.ErrnoException) => resolve(error.code ?? error.message));
    socket.once('close', () => resolve('closed'));
    socket.write(word);
  });
}

describe('a whole lab in one process', () => {
  let stateDir: string;
  let echo: Awaited<ReturnType<typeof echoServer>>;
  let lab: Lab;

  beforeEach(async () => {
    stateDir = mkdtempSync(join(tmpdir(), 'edge-lab-'));
    echo = await echoServer();
    lab = await startLab({ stores: [aLabStore()], stateDir, speed: 10_000, temporal: echo.address, fleet: 'practice' });
  });
  afterEach(async () => {
    await lab.close();
    echo.server.close();
    rmSync(stateDir, { recursive: true, force: true });
  });

  const call = async (method: string, path: string, body?: unknown) => {
    const response = await fetch(`${lab.control}${path}`, {
      method,
      ...(body === undefined ? {} : { body: JSON.stringify(body) }),
    });
    return { status: response.status, body: (await response.json()) as Record<string, unknown> };
  };

  it('enrols a store with files that only their owner reads, the same ones each time', async () => {
    const folder = await lab.enrol('store-001');
    const read = () => JSON.parse(readFileSync(join(folder, 'store-worker.json'), 'utf8')) as StoreWorkerFile;
    const worker = read();
    expect(worker).toMatchObject({
      store: 'store-001',
      fleet: 'practice',
      temporal: { address: `${NET}.9:7233`, namespace: 'default' },
      registry: `http://${NET}.9:7280`,
      ssh: { user: 'edge-governor', nodes: { n1: { address: `${NET}.1`, port: 2222 } } },
    });
    for (const file of ['store-worker.json', 'pve-token', 'ca.pem', 'ssh-key', 'pbs-verify-token', 'pbs-prune-token']) {
      expect(statSync(join(folder, file)).mode & 0o777).toBe(0o600);
    }
    expect(readFileSync(worker.proxmox.tokenFile, 'utf8')).toMatch(/^edge-governor@pve!worker=[0-9a-f-]{36}\n$/);
    expect(storeWorkerSchema.parse(worker).backup).toMatchObject({
      storage: 'pbs',
      pbs: { node: 'pbs-store-001', address: `${NET}.8`, datastore: 'backup', namespace: '' },
      sendJob: 'to-central',
    });
    const { verifyTokenFile, pruneTokenFile } = worker.backup.pbs;
    expect(readFileSync(verifyTokenFile, 'utf8')).toMatch(/^edge-governor@pbs!verify:[0-9a-f-]{36}\n$/);
    expect(readFileSync(pruneTokenFile, 'utf8')).toMatch(/^edge-governor@pbs!prune:[0-9a-f-]{36}\n$/);
    expect(readFileSync(worker.proxmox.caFile, 'utf8')).toContain('BEGIN CERTIFICATE');
    expect(readFileSync(worker.ssh.keyFile, 'utf8')).toContain('OPENSSH PRIVATE KEY');
    await lab.enrol('store-001');
    expect(read()).toEqual(worker);
  });

  it('enrols the staging site, which is no store, with the keys of all stores', async () => {
    await lab.enrolAll();
    const folder = join(stateDir, 'enrolment-staging');
    const staging = JSON.parse(readFileSync(join(folder, 'staging.json'), 'utf8')) as {
      proxmox: { nodes: { address: string }[]; tokenFile: string };
      encryptionKeyFiles: Record<string, string>;
    };
    expect(staging).toMatchObject({
      place: { storage: 'restore', bridge: 'vmbr-lab', pool: 'restore-test' },
      copies: {
        address: `${NET}.7`,
        datastore: 'offsite',
        fingerprint: expect.stringMatching(/^[0-9A-F:]{95}$/) as string,
      },
    });
    expect(readFileSync(staging.proxmox.tokenFile, 'utf8')).toMatch(/^edge-staging@pve!worker=[0-9a-f-]{36}\n$/);
    const keyFile = staging.encryptionKeyFiles['store-001'] ?? '';
    expect(statSync(keyFile).mode & 0o777).toBe(0o600);
    expect(JSON.parse(readFileSync(keyFile, 'utf8'))).toHaveProperty('data');
    expect((await call('GET', '/state')).body).toHaveLength(1);
    expect((await call('GET', '/state?store=staging')).body).toMatchObject({ id: 'staging' });
    const { rules } = (await call('POST', '/check')).body as { rules: { violations: unknown[] }[] };
    expect(rules.flatMap(({ violations }) => violations)).toEqual([]);
  });

  it('answers for guests as they are, and refuses connections to a stopped one', async () => {
    const health = (i: number) => fetch(`http://${NET}.${i}:8080/health`).then(({ status }) => status);
    const metrics = async () => (await fetch(`http://${NET}.103:8080/metrics`)).json();
    expect(await health(101)).toBe(200);
    expect(await metrics()).toEqual({ latency_ms: expect.any(Number) as number, cache_hit_percent: 96.5 });
    lab.world.faults.add({ id: 'ill', store: 'store-001', kind: 'guest-unhealthy', params: { vmid: 101 } });
    lab.world.faults.add({ id: 'cold', store: 'store-001', kind: 'bad-cache' });
    expect(await health(101)).toBe(503);
    expect(await metrics()).toMatchObject({ cache_hit_percent: 41 });
    lab.world.faults.remove('ill');
    expect(await health(101)).toBe(200);
    lab.world.store('store-001').shutdown(103, { user: 'x@pve', by: 'test' });
    await until('the guest stopped', () => lab.world.store('store-001').guests.get(103)?.status === 'stopped');
    await expect(health(103)).rejects.toThrow();
  });

  it('relays the store to the centre until its link is cut, and again when it is back', async () => {
    const dial = () => connect({ host: `${NET}.9`, port: 7233 });
    const socket = dial();
    expect(await said(socket, 'hello')).toBe('hello');
    await call('POST', '/stores/store-001/wan', { up: false });
    expect(['ECONNRESET', 'closed']).toContain(await said(socket, 'still there?'));
    expect(await said(dial(), 'hello')).toBe('ECONNREFUSED');
    expect((await call('POST', '/stores/store-001/wan', { up: true })).body).toEqual({ store: 'store-001', up: true });
    await until('the relay listens', async () => {
      const again = dial();
      const answer = await said(again, 'back');
      again.destroy();
      return answer === 'back';
    });
    expect(lab.world.journal.entries.map(({ effect }) => effect)).toEqual(['wan.cut', 'wan.restore']);
  });

  it('swallows what is sent while the link is silently dead, and drops it afterwards', async () => {
    const socket = connect({ host: `${NET}.9`, port: 7233 });
    expect(await said(socket, 'hello')).toBe('hello');
    lab.world.store('store-001').setWan(false, 'test', true);
    const answer = said(socket, 'anybody?');
    lab.world.store('store-001').setWan(true, 'test');
    expect(['ECONNRESET', 'closed']).toContain(await answer);
  });

  it('is steered over HTTP, and says what it does not accept', async () => {
    expect((await call('GET', '/health')).body).toMatchObject({ ok: true, stores: 1 });
    expect((await call('GET', '/timing')).body).toMatchObject({ speed: 10_000 });
    const bad = await call('POST', '/faults', { store: 'nowhere', kind: 'wan-cut' });
    expect(bad).toMatchObject({ status: 400, body: { problems: ['store: there is no store nowhere'] } });
    const nonsense = { store: 'store-001', kind: 'nonsense', step: 'nowhere' };
    expect(await call('POST', '/faults', nonsense)).toMatchObject({
      status: 400,
      body: {
        problems: [
          'kind: there is no such fault. All of them: edge lab faults',
          'step: there is no such step. All of them: edge lab faults',
        ],
      },
    });
    expect((await call('POST', '/faults', { store: 'store-001', kind: 'wan-cut', extra: 1 })).status).toBe(400);
    expect((await call('POST', '/faults', { id: 'f1', store: 'store-001', kind: 'wan-cut' })).status).toBe(201);
    expect((await call('GET', '/faults')).body).toMatchObject([{ id: 'f1', state: 'active', bites: 1 }]);
    expect((await call('GET', '/state?store=store-001')).body).toMatchObject({
      id: 'store-001',
      wanUp: false,
      quorate: true,
    });
    expect((await call('DELETE', '/faults/f1')).body).toEqual({ removed: 'f1' });
    const journal = (await call('GET', '/journal?after=1')).body;
    expect(journal).toMatchObject([
      { seq: 2, effect: 'wan.cut' },
      { seq: 3, effect: 'fault.over' },
      { seq: 4, effect: 'wan.restore' },
    ]);
    expect((await call('GET', '/nothing')).status).toBe(404);
  });

  it('takes a plan of faults as a whole, or says what is wrong at which place of it', async () => {
    const cut = { store: 'store-001', kind: 'wan-cut', step: 'guest.migrate' };
    const bad = await call('POST', '/faults', [
      cut,
      { ...cut, moment: 'sometimes' },
      { ...cut, step: 'ceph.read' },
      { store: 'store-001', kind: 'disk-full', params: { bytes: 1 } },
    ]);
    expect(bad).toMatchObject({ status: 400 });
    expect(bad.body['problems']).toEqual([
      expect.stringMatching(/^\[1\]\.moment: /),
      expect.stringMatching(/^\[2\]\.step: wan-cut cannot strike at ceph\.read\. It can at: apt\.sources, /),
      '[3].params.bytes: disk-full takes no settings',
    ]);
    const elsewhere = await call('POST', '/faults', [cut, { ...cut, store: 'store-009' }, { ...cut, node: 'n9' }]);
    expect(elsewhere.body['problems']).toEqual([
      '[1].store: there is no store store-009',
      '[2].node: store store-001 has no node n9',
    ]);
    expect((await call('GET', '/faults')).body).toEqual([]);
    expect((await call('POST', '/faults', [cut, { ...cut, id: 'mine', moment: 'during' }])).status).toBe(201);
    expect((await call('GET', '/faults')).body).toMatchObject([{ state: 'armed' }, { id: 'mine', moment: 'during' }]);
    const table = (await call('GET', '/faults/table')).body as unknown as { kind: string }[];
    expect(table.map(({ kind }) => kind)).toContain('wan-cut');
  });

  it('names the line of a plan file that is wrong', () => {
    const file = join(stateDir, 'plan.yaml');
    writeFileSync(file, '- kind: wan-cut\n  store: store-001\n- kind: apt-fail\n  store: store-001\n  step: node.up\n');
    expect(() => readFaultPlan(file)).toThrow(`${file}:5  [1].step: apt-fail cannot strike at node.up.`);
    writeFileSync(file, '- kind: [\n');
    expect(() => readFaultPlan(file)).toThrow(`${file}:`);
  });

  it('reports every rule as held when nothing happened', async () => {
    const { body } = await call('POST', '/check');
    expect(body['effects']).toBe(0);
    expect((body['rules'] as { violations: unknown[] }[]).flatMap(({ violations }) => violations)).toEqual([]);
  });

  it('keeps its keys over a restart', async () => {
    const folder = await lab.enrol('store-001');
    const before = readFileSync(join(folder, 'store-worker.json'), 'utf8');
    await lab.close();
    lab = await startLab({ stores: [aLabStore()], stateDir, speed: 10_000, temporal: echo.address, fleet: 'practice' });
    await lab.enrol('store-001');
    expect(readFileSync(join(folder, 'store-worker.json'), 'utf8')).toBe(before);
  });

  it('goes on where it was, however it ended, and begins anew only when told to', async () => {
    const options = { stores: [aLabStore()], stateDir, speed: 10_000, temporal: echo.address, fleet: 'practice' };
    const n1 = () => lab.world.store('store-001').node('n1');
    n1().packages.lists = ['20261116T000000Z'];
    void n1().packages.install('edge-governor', { lockTimeoutMs: 0 });
    lab.world.store('store-001').ha.enableMaintenance('n1', 'edge-governor');
    await lab.shutdown();
    lab = await startLab(options);
    expect(n1().packages.installed.get('pve-manager')).toBe('9.1.5');
    expect(n1().kernel).toBe('6.14.11-3-pve');
    expect(lab.world.store('store-001').guests.get(101)?.node).not.toBe('n1');
    const effects = lab.world.journal.entries.map(({ effect }) => effect).sort();
    expect(effects).toEqual(['guest.migrate', 'ha.maintenance.enable', 'packages.begin', 'packages.install']);
    lab.world.store('store-001').ha.disableMaintenance('n1', 'edge-governor');
    await until('the POS is home', () => lab.world.store('store-001').guests.get(101)?.node === 'n1');
    expect(lab.world.journal.entries.at(-1)?.seq).toBe(6);
    await lab.close();
    lab = await startLab(options);
    expect(n1().packages.installed.get('pve-manager')).toBe('9.1.5');
    expect(lab.world.journal.entries).toHaveLength(6);
    await lab.close();
    lab = await startLab({ ...options, fresh: true });
    expect(n1().packages.installed.get('pve-manager')).toBe('9.1.4');
    expect(lab.world.journal.entries).toEqual([]);
  });

  it('repairs a journal whose last line was cut off', async () => {
    await call('POST', '/stores/store-001/wan', { up: false });
    await call('POST', '/stores/store-001/wan', { up: true });
    await lab.close();
    const { file } = lab.world.journal;
    truncateSync(file, statSync(file).size - 10);
    lab = await startLab({ stores: [aLabStore()], stateDir, speed: 10_000, temporal: echo.address, fleet: 'practice' });
    await call('POST', '/stores/store-001/wan', { up: false });
    const lines = readFileSync(file, 'utf8').trimEnd().split('\n');
    expect(lines.map((line) => JSON.parse(line) as object)).toMatchObject([
      { seq: 1, effect: 'wan.cut' },
      { seq: 2, effect: 'wan.restore' },
      { seq: 3, effect: 'wan.cut' },
    ]);
  });

  it('refuses a second store with the same id, and an empty fleet', async () => {
    await expect(startLab({ stores: [], stateDir })).rejects.toThrow('told of no store');
    const twice = startLab({ stores: [aLabStore(), aLabStore()], stateDir: join(stateDir, 'other') });
    await expect(twice).rejects.toThrow('is there twice');
  });
});

describe('the lab as a process', () => {
  let stateDir: string;
  let child: ChildProcess;
  beforeAll(() => buildOnce());
  beforeEach(() => (stateDir = mkdtempSync(join(tmpdir(), 'edge-lab-'))));
  afterEach(async () => {
    child.kill('SIGKILL');
    await ended();
    rmSync(stateDir, { recursive: true, force: true });
  });

  const address = (n: number): string => `127.61.3.${n}`;
  const ended = (): Promise<number | null> =>
    new Promise((resolve) => {
      if (child.exitCode !== null || child.signalCode !== null) resolve(child.exitCode);
      else child.once('exit', (code) => resolve(code));
    });

  async function start(): Promise<{ control: string }> {
    const stores = join(stateDir, 'stores.json');
    const spec = aStoreSpec({
      id: 'store-002',
      nodes: [1, 2, 3].map((n) => ({ name: `n${n}`, address: address(n), sshPort: 2222 })),
    });
    writeFileSync(stores, JSON.stringify([spec]));
    const main = join(import.meta.dirname, '../../../dist/lab/main.js');
    child = spawn(process.execPath, [main, '--stores-file', stores, '--state', stateDir, '--control-port', '0']);
    let out = '';
    let errors = '';
    child.stdout?.on('data', (part: Buffer) => (out += part.toString()));
    child.stderr?.on('data', (part: Buffer) => (errors += part.toString()));
    await until('it is ready, or ended', () => out.includes('\n') || child.exitCode !== null);
    expect(errors).toBe('');
    const facts = JSON.parse(out) as { control: string };
    expect(facts).toMatchObject({ ready: true, stores: 1, speed: 480 });
    return facts;
  }

  async function ssh(n: number, command: string, stdin = ''): Promise<number | null> {
    const privateKey = readFileSync(join(stateDir, 'enrolment/store-002/ssh-key'));
    const client = new ssh2.Client();
    await new Promise<void>((resolve, reject) => {
      client.on('ready', () => resolve()).on('error', reject);
      client.connect({ host: address(n), port: 2222, username: 'edge-governor', privateKey });
    });
    return new Promise((resolve, reject) => {
      client.exec(command, (error, channel) => {
        if (error) return reject(error);
        let code: number | null = null;
        channel.on('exit', (exit: number) => (code = exit)).on('close', () => (client.end(), resolve(code)));
        channel.resume().end(stdin);
      });
    });
  }

  it('says that it is ready in one line, and ends on SIGTERM', async () => {
    await start();
    child.kill('SIGTERM');
    expect(await ended()).toBe(0);
  });

  it('goes on where it was when it is killed in the middle of everything', async () => {
    interface State {
      wanUp: boolean;
      nodes: { name: string; state: string; bootId: string; units: object[]; packages: Record<string, string> }[];
      guests: { vmid: number; node: string; lock?: string }[];
    }
    let { control } = await start();
    const get = async <T>(path: string) => (await (await fetch(`${control}${path}`)).json()) as T;
    const state = () => get<State>('/state?store=store-002');
    const journal = () => get<JournalEntry[]>('/journal');
    const fault = (body: object) =>
      fetch(`${control}/faults`, { method: 'POST', body: JSON.stringify({ store: 'store-002', ...body }) });
    const list = 'deb http://mirror.example/20261116T000000Z trixie main\n';
    const file = '/etc/apt/sources.list.d/edge-governor.list';
    const unit = 'systemd-run --unit=edge-governor-upgrade-00 --remain-after-exit -- apt-get -y dist-upgrade';

    await fault({ id: 'cut', kind: 'wan-cut' });
    await fault({ id: 'trap', kind: 'lost-answer', step: 'ceph.noout.set', times: 1 });
    expect(await ssh(1, `sudo -n install -D -m 0644 /dev/stdin ${file}`, list)).toBe(0);
    expect(await ssh(1, 'sudo -n apt-get update')).toBe(0);
    expect(await ssh(1, `sudo -n ${unit}`)).toBe(0);
    const before = await state();
    expect(await ssh(3, 'sudo -n systemctl reboot')).toBe(0);
    await until('n3 is on its way', async () => (await state()).nodes[2]?.state !== 'up');
    expect((await state()).nodes[0]?.units).toMatchObject([{ state: 'running' }]);
    const seen = await journal();
    child.kill('SIGKILL');
    await ended();

    ({ control } = await start());
    expect(await state()).toMatchObject({ wanUp: false });
    expect(await get('/faults')).toMatchObject([
      { id: 'cut', state: 'active' },
      { id: 'trap', state: 'active' },
    ]);
    expect((await journal()).slice(0, seen.length)).toEqual(seen);
    await until('all ended', async () => {
      const { nodes } = await state();
      return nodes.every((node) => node.state === 'up') && JSON.stringify(nodes[0]?.units).includes('exited');
    });
    const { nodes } = await state();
    expect(nodes[0]?.packages['pve-manager']).toBe('9.1.5');
    expect(nodes[2]?.bootId).not.toBe(before.nodes[2]?.bootId);
    const entries = await journal();
    expect(entries.map(({ seq }) => seq)).toEqual(entries.map((_, i) => i + 1));
    const count = (effect: string): number => entries.filter((entry) => entry.effect === effect).length;
    expect([count('packages.begin'), count('packages.install'), count('unit.end'), count('node.up')]).toEqual([
      1, 1, 1, 1,
    ]);
    expect(await ssh(1, 'sudo -n ceph osd set-group noout n1')).toBeNull();
    await fetch(`${control}/faults/cut`, { method: 'DELETE' });
    expect(await state()).toMatchObject({ wanUp: true });
  });
});
