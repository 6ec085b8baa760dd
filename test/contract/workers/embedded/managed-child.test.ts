import { spawn } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterEach, describe, expect, it, vi } from 'vitest';
import { type ChildEvent, type ChildSpec, ManagedChild } from '#workers/embedded/managed-child.js';
import { isRunning, recordOf } from '#workers/processes.js';
import { ROOT, buildOnce } from '../../../support/build.js';
import { useTempDir } from '../../../support/temp-dir.js';

const READY = `console.log(JSON.stringify({ ready: true }));`;
const FOREVER = `setInterval(() => {}, 1000);`;
const SAY_PID = `require('fs').writeFileSync('pid', String(process.pid));`;

describe('ManagedChild', () => {
  const tempDir = useTempDir();
  const children: ManagedChild[] = [];
  afterEach(async () => {
    await Promise.all(children.splice(0).map((child) => child.stop(0)));
  });

  async function aChild(program: string, change: Partial<ChildSpec> = {}) {
    const dir = await tempDir();
    const events: ChildEvent[] = [];
    const child = new ManagedChild({
      name: 'child',
      command: process.execPath,
      args: ['-e', program],
      env: {},
      cwd: dir,
      dir,
      keep: false,
      onEvent: (event) => events.push(event),
      ...change,
    });
    children.push(child);
    const programPid = () => Number(readFileSync(join(dir, 'pid'), 'utf8'));
    return { child, dir, events, programPid };
  }

  const eventually = (check: () => void) => vi.waitFor(check, { timeout: 20_000, interval: 20 });
  const ended = (record: ReturnType<typeof recordOf>) => eventually(() => expect(isRunning(record)).toBe(false));

  it('is started when it has said that it is ready, and writes its log', async () => {
    const { child, events } = await aChild(`console.log('first'); setTimeout(() => { ${READY} }, 50); ${FOREVER}`);
    await child.start();
    expect(events.map(({ kind }) => kind)).toEqual(['started', 'ready']);
    expect(readFileSync(child.logFile, 'utf8')).toBe('first\n{"ready":true}\n');
  });

  it('does not take the ready line of an earlier run for its own', async () => {
    const { child, dir } = await aChild(`process.exit(3)`);
    await mkdir(join(dir, 'logs'));
    await writeFile(child.logFile, '{"ready":true}\n');
    await expect(child.start()).rejects.toThrow('child ended with code 3 before it was ready');
  });

  it('tells how its log ends when it cannot start', async () => {
    const { child } = await aChild(`console.error('no such database'); process.exit(1)`);
    await expect(child.start()).rejects.toThrow(
      /ended with code 1 before it was ready\. See .*child\.log.*no such database/s,
    );
  });

  it('gives up on one that is never ready, and ends it', async () => {
    const { child, programPid, events } = await aChild(`${SAY_PID} ${FOREVER}`, {
      isReady: () => Promise.resolve(false),
      readyTimeoutMs: 500,
    });
    await expect(child.start()).rejects.toThrow('was not ready after 0.5 s');
    expect(events.at(-1)?.kind).toBe('ended');
    if (existsSync(join(child.logFile, '..', '..', 'pid'))) await ended({ pid: programPid() });
  });

  it('is started again when it is killed', async () => {
    const { child, programPid, events } = await aChild(`${SAY_PID} ${READY} ${FOREVER}`, { keep: true });
    await child.start();
    const first = recordOf(programPid());
    child.kill('SIGKILL');
    await ended(first);
    await eventually(() => expect(events.filter(({ kind }) => kind === 'ready')).toHaveLength(2));
    expect(events.map(({ kind }) => kind)).toEqual(['started', 'ready', 'ended', 'restarting', 'started', 'ready']);
    expect(isRunning(recordOf(programPid()))).toBe(true);
  });

  it('waits longer each time when it does not stay up', async () => {
    const { child, events } = await aChild(
      `const fs = require('fs'); if (fs.existsSync('once')) process.exit(1); fs.writeFileSync('once', ''); ${READY} ${FOREVER}`,
      { keep: true },
    );
    await child.start();
    child.kill('SIGKILL');
    const waits = () => events.flatMap((event) => (event.kind === 'restarting' ? [event.inMs] : []));
    await eventually(() => expect(waits().length).toBeGreaterThanOrEqual(3));
    expect(waits().slice(0, 3)).toEqual([500, 1_000, 2_000]);
    await child.stop(0);
    expect(events.at(-1)).toMatchObject({ kind: 'restarting' });
  });

  it('lets the program end in its own time when it is stopped', async () => {
    const { child, dir } = await aChild(
      `process.on('SIGTERM', () => setTimeout(() => { require('fs').writeFileSync('clean', 'yes'); process.exit(0); }, 200)); ${READY} ${FOREVER}`,
      { keep: true },
    );
    await child.start();
    await child.stop();
    expect(readFileSync(join(dir, 'clean'), 'utf8')).toBe('yes');
    expect(child.pid).toBeUndefined();
  });

  it('kills a program that does not end when asked', async () => {
    const { child, programPid } = await aChild(`${SAY_PID} process.on('SIGTERM', () => {}); ${READY} ${FOREVER}`);
    await child.start();
    const program = recordOf(programPid());
    await child.stop(200);
    expect(isRunning(program)).toBe(false);
  });

  it('ends what the program itself had started', async () => {
    const { child, dir } = await aChild(
      `const c = require('child_process').spawn('sleep', ['1000']); require('fs').writeFileSync('sleep', String(c.pid)); ${READY} ${FOREVER}`,
    );
    await child.start();
    const sleep = recordOf(Number(readFileSync(join(dir, 'sleep'), 'utf8')));
    child.kill('SIGKILL');
    await ended(sleep);
  });

  it('ends what an earlier supervisor left behind', async () => {
    const { child, dir } = await aChild(`${READY} ${FOREVER}`);
    const leftover = spawn('sleep', ['1000'], { detached: true, stdio: 'ignore' });
    const record = recordOf(leftover.pid!);
    await mkdir(join(dir, 'pids'));
    await writeFile(join(dir, 'pids', 'child.json'), JSON.stringify(record));
    await child.start();
    await ended(record);
  });

  it('spares another process that was given the id of the one it remembers', async () => {
    const { child, dir } = await aChild(`${READY} ${FOREVER}`);
    const stranger = spawn('sleep', ['1000'], { detached: true, stdio: 'ignore' });
    const record = recordOf(stranger.pid!);
    await mkdir(join(dir, 'pids'));
    await writeFile(join(dir, 'pids', 'child.json'), JSON.stringify({ pid: record.pid, started: 'another time' }));
    await child.start();
    expect(isRunning(record)).toBe(true);
    stranger.kill('SIGKILL');
  });

  it('ends when its supervisor is killed', async () => {
    await buildOnce();
    const dir = await tempDir();
    const supervisor = `
      import { ManagedChild } from ${JSON.stringify(join(ROOT, 'dist/workers/embedded/managed-child.js'))};
      const spec = { name: 'child', command: process.execPath, args: ['-e', ${JSON.stringify(`${SAY_PID} ${READY} ${FOREVER}`)}],
        env: {}, cwd: process.cwd(), dir: process.cwd(), keep: true, onEvent: () => {} };
      await new ManagedChild(spec).start();
      console.log('up');
    `;
    const parent = spawn(process.execPath, ['--input-type=module', '-e', supervisor], {
      cwd: dir,
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    await new Promise((resolve) => parent.stdout.once('data', resolve));
    const program = recordOf(Number(readFileSync(join(dir, 'pid'), 'utf8')));
    expect(isRunning(program)).toBe(true);
    parent.kill('SIGKILL');
    await ended(program);
  });

  it('passes arguments on as they are', async () => {
    const hostile = [`a b`, `'"$(touch owned)`, '*', ''];
    const { child, dir } = await aChild('', {
      args: [
        '-e',
        `require('fs').writeFileSync('args', JSON.stringify(process.argv.slice(1))); ${READY}; ${FOREVER}`,
        '--',
        ...hostile,
      ],
    });
    await child.start();
    expect(JSON.parse(readFileSync(join(dir, 'args'), 'utf8'))).toEqual(hostile);
    expect(existsSync(join(dir, 'owned'))).toBe(false);
  });
});
