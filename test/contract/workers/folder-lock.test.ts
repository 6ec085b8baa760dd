import { spawn, spawnSync, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { hostname } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeAll, beforeEach, describe, expect, it, vi } from 'vitest';
import { writeEnrolment } from '#lab/enrolment.js';
import { createAuthorities } from '#lab/tls/authority.js';
import { ensureReleaseKey } from '#workers/embedded/release-key.js';
import { lockFolder } from '#workers/folder-lock.js';
import { buildOnce, ROOT } from '../../support/build.js';
import { SOON } from '../../support/soon.js';
import { useTempDir } from '../../support/temp-dir.js';
import { aWorld, type TestWorld } from '../../unit/lab/lab-support.js';

const AT_ONCE = { patienceMs: 0 };
const tempDir = useTempDir();
const children: ChildProcess[] = [];
beforeAll(buildOnce, 240_000);
afterEach(async () => {
  await Promise.all(children.splice(0).map(killed));
});

async function killed(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  const gone = once(child, 'exit');
  child.kill('SIGKILL');
  await gone;
}

interface Run {
  child: ChildProcess;
  said: { out: string; err: string };
  ended: Promise<number | null>;
}

function launch(program: string, args: readonly string[]): Run {
  const child = spawn(program, args, { stdio: ['ignore', 'pipe', 'pipe'] });
  children.push(child);
  const said = { out: '', err: '' };
  child.stdout.on('data', (part: Buffer) => (said.out += part.toString()));
  child.stderr.on('data', (part: Buffer) => (said.err += part.toString()));
  return { child, said, ended: once(child, 'close').then(([code]) => code as number | null) };
}

/** A process of its own that holds the folder; its answer is on its output. */
function aHolder(dir: string, before: readonly string[] = []): Run {
  const module = JSON.stringify(join(ROOT, 'dist', 'workers', 'folder-lock.js'));
  const script =
    `import { ensureReleaseKey } from '#workers/embedded/release-key.js';
import { lockFolder } from ${module}; setInterval(() => {}, 1000);` +
    `console.log(JSON.stringify(await lockFolder(${JSON.stringify(dir)}, 'lock', { patienceMs: 0 })));`;
  const [program = '', ...args] = [...before, process.execPath, '--input-type=module', '-e', script];
  return launch(program, args);
}
const answers = ({ said }: Run) => vi.waitUntil(() => said.out.includes('\n'), SOON);

describe('the lock of a folder', () => {
  it('is held until it is released, and names its holder meanwhile', async () => {
    const dir = join(await tempDir(), 'new');
    const first = await lockFolder(dir, 'lock', AT_ONCE);
    const holder = `process ${process.pid} on ${hostname()}`;
    expect(await lockFolder(dir, 'lock', AT_ONCE)).toEqual({ kind: 'busy', holder });
    expect((await lockFolder(dir, 'another', AT_ONCE)).kind).toBe('held');
    if (first.kind === 'held') first.release();
    expect((await lockFolder(dir, 'lock', AT_ONCE)).kind).toBe('held');
  });

  it('is free once its holder was killed', async () => {
    const dir = await tempDir();
    const holder = aHolder(dir);
    await answers(holder);
    expect(await lockFolder(dir, 'lock', AT_ONCE)).toMatchObject({ kind: 'busy' });
    await killed(holder.child);
    expect((await lockFolder(dir, 'lock', AT_ONCE)).kind).toBe('held');
  });

  it('is had by one of many that ask at once for what a dead one has left', async () => {
    const dir = await tempDir();
    const dead = aHolder(dir);
    await answers(dead);
    await killed(dead.child);
    const runs = Array.from({ length: 4 }, () => aHolder(dir));
    await Promise.all(runs.map(answers));
    const kinds = runs.map(({ said }) => (JSON.parse(said.out) as { kind: string }).kind);
    expect(kinds.toSorted()).toEqual(['busy', 'busy', 'busy', 'held']);
  });

  it('waits as long as it is told to for a holder that is about to end', async () => {
    const dir = await tempDir();
    const holder = aHolder(dir);
    await answers(holder);
    const next = lockFolder(dir, 'lock', { patienceMs: 3_600_000 });
    await killed(holder.child);
    expect((await next).kind).toBe('held');
  });

  const containers = ['unshare', '--pid', '--fork', '--kill-child', '--mount-proc'];
  const hasContainers = spawnSync('unshare', [...containers.slice(1), 'true']).status === 0;
  it.skipIf(!hasContainers)('is seen from a container, where process ids say nothing of its holder', async () => {
    const dir = await tempDir();
    const holder = aHolder(dir, containers);
    await answers(holder);
    // Its first process has the id 1 there, and so has the other's.
    const second = aHolder(dir, containers);
    await answers(second);
    expect(JSON.parse(second.said.out)).toMatchObject({ kind: 'busy', holder: `process 1 on ${hostname()}` });
  });
});

describe('a store worker', () => {
  let practice: TestWorld;
  let config: string;
  let stateDir: string;
  beforeEach(async () => {
    practice = aWorld();
    const { world } = practice;
    const store = world.store('store-001');
    const releaseKeys = ensureReleaseKey(world.stateDir).publicKeys;
    const { caPem } = await createAuthorities(world.stateDir).storeAuthority(store.id);
    const nobody = { temporal: '127.0.0.1:9', registry: '127.0.0.1:9', namespace: 'default' };
    const folder = await writeEnrolment(store, { ...nobody, fleet: 'practice', releaseKeys, caPem });
    config = join(folder, 'store-worker.json');
    // Its backup server is not part of this.
    const { backup: _, ...settings } = JSON.parse(await readFile(config, 'utf8')) as { backup?: object };
    await writeFile(config, JSON.stringify(settings));
    stateDir = join(world.stateDir, 'workers', store.id);
    await mkdir(stateDir, { recursive: true });
  });
  afterEach(() => practice.close());

  const start = () => launch(process.execPath, [join(ROOT, 'dist', 'workers', 'store.js'), '--config', config]);
  /** It has read its memory, and looks for its link. */
  const works = async (run: Run) => {
    const ended = run.ended.then(() => Promise.reject(new Error(`It ended: ${run.said.err}`)));
    await Promise.race([vi.waitUntil(() => run.said.out.includes('no link to Temporal yet'), SOON), ended]);
  };

  it('refuses to work with the memory that another one works with, and says what to do', async () => {
    const first = start();
    await works(first);
    const second = start();
    expect(await second.ended).toBe(1);
    expect(second.said.out).not.toContain('no link to Temporal yet');
    expect(second.said.err).toBe(
      `Another worker (process ${first.child.pid} on ${hostname()}) works with ${stateDir}, and there can be only one: ` +
        'stop that one first, or leave it running and do not start this one.\n',
    );
    expect(first.child.exitCode).toBe(null);
  });

  it('goes on with the memory of one that was killed', async () => {
    const first = start();
    await works(first);
    await killed(first.child);
    await works(start());
  });
});
