import { existsSync, readFileSync } from 'node:fs';
import { mkdtemp, rm, stat } from 'node:fs/promises';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Client, Connection } from '@temporalio/client';
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import { initRepo } from '#client/repo/template.js';
import { CONTROL_QUEUE, RELEASE_QUEUE } from '#domain/naming.js';
import { openLedger } from '#systems/ledger/client.js';
import type { ChildEvent } from '#workers/embedded/managed-child.js';
import { isRunning, recordOf } from '#workers/processes.js';
import { type Service, type ServiceOptions, startService } from '#workers/embedded/supervisor.js';
import { buildOnce } from '../../../support/build.js';

const TRAIN = { id: '2026-w48', fleet: 'edge', state: 'running', startedAt: '2026-11-23T01:00:00.000Z' };

describe('startService', () => {
  let root: string;
  let service: Service | undefined;
  const events: ChildEvent[] = [];
  const pids = () => new Map(events.flatMap((event) => (event.kind === 'started' ? [[event.name, event.pid]] : [])));
  const readyCount = (name: string) => events.filter((event) => event.kind === 'ready' && event.name === name).length;

  const start = (change: Partial<ServiceOptions> = {}) =>
    startService({
      dir: join(root, 'state'),
      repo: join(root, 'repo'),
      fleet: 'edge',
      env: { ...process.env, EDGE_LOG_LEVEL: 'warn', OTHER_SECRET: 'canary-91c3' },
      log: () => undefined,
      onEvent: (event) => events.push(event),
      ...change,
    });
  const serviceFile = () => join(root, 'state', 'service.json');

  beforeAll(async () => {
    await buildOnce();
    root = await mkdtemp(join(tmpdir(), 'edge-service-'));
    await initRepo(join(root, 'repo'), { fleet: 'edge', stores: 3, compressed: true });
    service = await start();
  }, 240_000);
  afterAll(async () => {
    await service?.stop();
    await rm(root, { recursive: true, force: true });
  });

  const pollers = async (queue: string) => {
    const connection = await Connection.connect({ address: service!.temporal.address });
    try {
      const answer = await new Client({ connection }).workflowService.describeTaskQueue({
        namespace: service!.temporal.namespace,
        taskQueue: { name: queue },
        taskQueueType: 2,
      });
      return (answer.pollers ?? []).map(({ identity }) => identity);
    } finally {
      await connection.close();
    }
  };
  const eventually = (check: () => void | Promise<void>) => vi.waitFor(check, { timeout: 50_000, interval: 100 });

  it('runs workers that poll their queues', async () => {
    expect(service!.processes().toSorted()).toEqual(['control', 'ledger', 'release', 'temporal']);
    await eventually(async () =>
      expect(await pollers(CONTROL_QUEUE)).toContain(`control-worker/${pids().get('control')}`),
    );
    await eventually(async () =>
      expect(await pollers(RELEASE_QUEUE)).toContain(`release-worker/${pids().get('release')}`),
    );
  });

  it('serves the objects read-only and keeps a ledger', async () => {
    const missing = await fetch(`${service!.registry}/sha256/${'0'.repeat(64)}`);
    expect(missing.status).toBe(404);
    const ledger = await openLedger(service!.databaseUrl);
    await ledger.recordTrain(TRAIN);
    await ledger.close();
  });

  it('says where everything is in service.json', () => {
    expect(JSON.parse(readFileSync(serviceFile(), 'utf8'))).toMatchObject({
      pid: process.pid,
      temporal: { address: service!.temporal.address, ui: service!.temporal.ui, namespace: 'default' },
      repo: join(root, 'repo'),
      branch: 'main',
      fleet: 'edge',
      databaseUrl: service!.databaseUrl,
      registry: service!.registry,
    });
  });

  it('gives the signing key to the release worker alone, and nobody what is not theirs', async () => {
    const environmentOf = (name: string) => readFileSync(`/proc/${pids().get(name)}/environ`, 'utf8').split('\0');
    const key = join(root, 'state', 'release-key', 'key.pem');
    expect(environmentOf('release')).toContain(`EDGE_RELEASE_KEY_FILE=${key}`);
    for (const name of ['control', 'ledger', 'temporal']) {
      expect(environmentOf(name).join('\n')).not.toMatch(/RELEASE_KEY|release-key/);
    }
    for (const name of service!.processes()) expect(environmentOf(name).join('\n')).not.toContain('canary-91c3');
    expect((await stat(key)).mode & 0o777).toBe(0o600);
    expect((await stat(join(key, '..'))).mode & 0o777).toBe(0o700);
  });

  it('refuses a second service on the same state, naming the process', async () => {
    await expect(start()).rejects.toThrow(
      `The service in ${join(root, 'state')} is already run by process ${process.pid} on `,
    );
    expect(existsSync(serviceFile())).toBe(true);
  });

  it('brings back each process that is killed', async () => {
    for (const name of service!.processes()) {
      const before = recordOf(pids().get(name)!);
      const readyBefore = readyCount(name);
      expect(service!.kill(name, 'SIGKILL')).toBe(true);
      await eventually(() => expect(readyCount(name)).toBe(readyBefore + 1));
      expect(isRunning(before)).toBe(false);
      expect(isRunning(recordOf(pids().get(name)!))).toBe(true);
    }
    await eventually(async () =>
      expect(await pollers(CONTROL_QUEUE)).toContain(`control-worker/${pids().get('control')}`),
    );
  }, 120_000);

  it('knows its processes by name', () => {
    expect(() => service!.kill('nobody', 'SIGTERM')).toThrow('There is no process nobody; there are ');
  });

  it('leaves nothing running when it stops, and goes on where it was when it starts again', async () => {
    const { temporal, databaseUrl, registry } = service!;
    const key = readFileSync(service!.releaseKeys, 'utf8');
    const processes = [...pids().values()].map(recordOf).filter(({ started }) => started !== undefined);
    expect(processes).toHaveLength(4);
    await service!.stop();
    expect(processes.filter(isRunning)).toEqual([]);
    expect(existsSync(serviceFile())).toBe(false);

    service = await start();
    expect(service).toMatchObject({ temporal: { address: temporal.address, ui: temporal.ui }, databaseUrl, registry });
    expect(readFileSync(service.releaseKeys, 'utf8')).toBe(key);
    const ledger = await openLedger(databaseUrl);
    expect(await ledger.trains(5)).toEqual([TRAIN]);
    await ledger.close();
  }, 120_000);
});

describe('startService, when it cannot', () => {
  const options = async (): Promise<ServiceOptions> => {
    const dir = await mkdtemp(join(tmpdir(), 'edge-service-'));
    return { dir, repo: dir, env: process.env, log: () => undefined };
  };

  it('names the repo that is not there, and frees the folder', async () => {
    const wrong = { ...(await options()), repo: '/nowhere/edge-infra' };
    const message = 'The repo /nowhere/edge-infra does not exist. Make one with `edge init`.';
    await expect(startService(wrong)).rejects.toThrow(message);
    await expect(startService(wrong)).rejects.toThrow(message);
  });

  it('gives up the making of a Temporal CLI when it is interrupted, and leaves nothing running', async () => {
    const { dir, ...rest } = await options();
    const started: number[] = [];
    const starting = startService({
      ...{ ...rest, dir, signal: AbortSignal.abort() },
      env: { PATH: join(dir, 'no-programs'), XDG_CACHE_HOME: join(dir, 'cache') },
      onEvent: (event) => void (event.kind === 'started' && started.push(event.pid)),
    });
    await expect(starting).rejects.toThrow('interrupted before there was a Temporal CLI');
    expect(started).not.toEqual([]);
    expect(started.map(recordOf).filter(isRunning)).toEqual([]);
    await rm(dir, { recursive: true, force: true });
  }, 60_000);

  it('names the port that another program uses', async () => {
    const other = createServer();
    const port = await new Promise<number>((resolve) =>
      other.listen(0, '127.0.0.1', () => resolve((other.address() as { port: number }).port)),
    );
    try {
      await expect(startService({ ...(await options()), ports: { registry: port } })).rejects.toThrow(
        `Port ${port} on 127.0.0.1 (registry) is in use by another program.`,
      );
    } finally {
      other.close();
    }
  });
});
