import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import {
  ConfigError,
  controlConfig,
  logLevel,
  pinnedKeysSchema,
  readConfigFile,
  releaseConfig,
  storeWorkerSchema,
} from '#workers/config.js';

const SECRET = 'hunter2-s3cret';

const CONTROL = {
  EDGE_REPO: '/srv/edge-infra',
  EDGE_OBJECTS: 's3://edge/releases',
  EDGE_DATABASE_URL: `postgres://edge:${SECRET}@db.example/ledger`,
};

function environment(values: Record<string, string>): void {
  for (const name of Object.keys(process.env).filter((each) => each.startsWith('EDGE_'))) vi.stubEnv(name, undefined);
  for (const [name, value] of Object.entries(values)) vi.stubEnv(name, value);
}

const errorOf = (run: () => unknown): ConfigError => {
  try {
    run();
  } catch (error) {
    if (error instanceof ConfigError) return error;
    throw error;
  }
  throw new Error('It was accepted.');
};

afterEach(() => vi.unstubAllEnvs());

describe('the environment of a control worker', () => {
  it('needs three settings; the rest has defaults', () => {
    environment(CONTROL);
    expect(controlConfig()).toEqual({
      ...CONTROL,
      EDGE_TEMPORAL_ADDRESS: '127.0.0.1:7233',
      EDGE_TEMPORAL_NAMESPACE: 'default',
      EDGE_LOG_LEVEL: 'info',
      EDGE_BRANCH: 'main',
      EDGE_TAKE_OVER: 'first',
    });
  });

  it('is told everything that is wrong at once, with what each setting is for', () => {
    environment({ EDGE_LOG_LEVEL: 'loud', EDGE_REPO: '' });
    const { message } = errorOf(controlConfig);
    expect(message).toContain('The control worker cannot start');
    expect(message).toMatch(/EDGE_LOG_LEVEL \(Log level\): /);
    expect(message).toMatch(/EDGE_REPO \(Folder of the GitOps repo\): /);
    expect(message).toMatch(/EDGE_OBJECTS \(Where releases are kept/);
    expect(message).toMatch(/EDGE_DATABASE_URL \(PostgreSQL URL of the ledger\): /);
  });

  it('is not told what it was given: any of it may be a secret', () => {
    environment({ EDGE_DATABASE_URL: CONTROL.EDGE_DATABASE_URL, EDGE_LOG_LEVEL: SECRET });
    expect(errorOf(controlConfig).message).not.toContain(SECRET);
  });
});

describe('the environment of a release worker', () => {
  it('needs the file of its key, and the ledger to look approvals up in', () => {
    environment({ EDGE_REPO: '/srv/edge-infra', EDGE_OBJECTS: 'file:///srv/objects' });
    const { message } = errorOf(releaseConfig);
    expect(message).toMatch(/EDGE_RELEASE_KEY_FILE \(/);
    expect(message).toMatch(/EDGE_DATABASE_URL \(PostgreSQL URL of the ledger, .* may read is enough\)/);
    expect(message).not.toContain('EDGE_REPO');
  });

  it('runs no scan program that it was not told of', () => {
    environment({ ...CONTROL, EDGE_RELEASE_KEY_FILE: '/keys/key.pem' });
    expect(releaseConfig()).toMatchObject({ EDGE_SCAN_PROGRAMS: [], EDGE_DATABASE_URL: CONTROL.EDGE_DATABASE_URL });
  });
});

describe('the log level', () => {
  it('is info when nobody says', () => {
    environment({});
    expect(logLevel()).toBe('info');
  });
  it('is refused when it is none', () => {
    environment({ EDGE_LOG_LEVEL: 'loud' });
    expect(errorOf(logLevel).message).toContain('EDGE_LOG_LEVEL');
  });
});

const STORE = {
  store: 'store-001',
  fleet: 'edge',
  temporal: { address: 'temporal.example:7233', namespace: 'default' },
  registry: 'https://registry.example/',
  proxmox: { nodes: [{ name: 'n1', address: '10.0.0.1', port: 8006 }], tokenFile: 'token', caFile: 'ca.pem' },
  ssh: { user: 'edge-governor', keyFile: 'key', nodes: { n1: { address: '10.0.0.1', port: 22, hostKey: 'AAAA' } } },
  releaseKeys: 'keys.json',
  stateDir: '/var/lib/edge-governor',
};

describe('the file of a store worker', () => {
  let dir = '';
  beforeEach(async () => {
    dir = await mkdtemp(join(tmpdir(), 'edge-config-'));
  });
  afterEach(() => rm(dir, { recursive: true, force: true }));

  const write = async (content: unknown): Promise<string> => {
    const path = join(dir, 'store-worker.json');
    await writeFile(path, typeof content === 'string' ? content : JSON.stringify(content));
    return path;
  };
  const refusal = async (
    content: unknown,
    schema: Parameters<typeof readConfigFile>[1] = storeWorkerSchema,
  ): Promise<string> => {
    const path = await write(content);
    const error: unknown = await readConfigFile(path, schema).catch((caught: unknown) => caught);
    expect(error).toBeInstanceOf(ConfigError);
    expect((error as Error).message).toContain(path);
    return (error as Error).message;
  };

  it('is taken, with timing for real hardware', async () => {
    const config = await readConfigFile(await write(STORE), storeWorkerSchema);
    expect(config).toMatchObject(STORE);
    expect(config.timing.reboot).toBe(1_200_000);
    expect(config.timing.stable).toBe(60_000);
  });

  const BACKUP = {
    storage: 'pbs',
    pbs: {
      node: 'pbs-1',
      address: '10.0.0.8',
      fingerprint: 'ab:'.repeat(31) + 'cd',
      datastore: 'backup',
      verifyTokenFile: 'verify',
      pruneTokenFile: 'prune',
    },
  };

  it('may name the backup server, which has the usual port and no namespace unless it says so', async () => {
    const config = await readConfigFile(await write({ ...STORE, backup: BACKUP }), storeWorkerSchema);
    expect(config.backup?.pbs).toEqual({ ...BACKUP.pbs, port: 8007, namespace: '' });
  });

  it.each([
    ['a fingerprint that is cut off', { ...BACKUP.pbs, fingerprint: 'ab:cd' }, 'backup.pbs.fingerprint'],
    ['one token for everything', { ...BACKUP.pbs, pruneTokenFile: undefined }, 'backup.pbs.pruneTokenFile'],
    ['a token itself', { ...BACKUP.pbs, token: 'x' }, 'token'],
    ['an id that is too short', { ...BACKUP.pbs, datastore: 'ab' }, 'backup.pbs.datastore'],
    ['an id that is too long', { ...BACKUP.pbs, datastore: 'a'.repeat(33) }, 'backup.pbs.datastore'],
    ['a namespace that there cannot be', { ...BACKUP.pbs, namespace: '/shop' }, 'backup.pbs.namespace'],
    ['a host name with its domain', { ...BACKUP.pbs, node: 'pbs.example.com' }, 'backup.pbs.node'],
  ])('is refused when it names of the backup server %s', async (_, pbs, place) => {
    expect(await refusal({ ...STORE, backup: { ...BACKUP, pbs } })).toContain(place);
  });

  it('is refused with every problem by its path', async () => {
    const message = await refusal({
      ...STORE,
      store: 'Store 1',
      proxmox: { ...STORE.proxmox, nodes: [{ ...STORE.proxmox.nodes[0], port: '8006' }] },
      ssh: { ...STORE.ssh, nodes: { n1: { address: '10.0.0.1', port: 22 } } },
      timing: { poll: 0 },
    });
    expect(message).toMatch(/store: .*proxmox\.nodes\[0\]\.port: .*ssh\.nodes\.n1\.hostKey: .*timing\.poll: /s);
  });

  it.each([
    ['no node of the API', { ...STORE, proxmox: { ...STORE.proxmox, nodes: [] } }, 'proxmox.nodes'],
    ['no node to log in to', { ...STORE, ssh: { ...STORE.ssh, nodes: {} } }, 'ssh.nodes'],
    ['a setting it does not know', { ...STORE, insecure: true }, 'insecure'],
    ['a timing that would never end', { ...STORE, timing: { drain: 86_400_001 } }, 'timing.drain'],
  ])('is refused with %s', async (_, content, place) => {
    expect(await refusal(content)).toContain(place);
  });

  it('is refused without showing what is in it', async () => {
    expect(
      await refusal({
        ...STORE,
        proxmox: { ...STORE.proxmox, tokenFile: 42, caFile: [SECRET] },
        store: SECRET.repeat(9),
      }),
    ).not.toContain(SECRET);
    expect(await refusal(`{"token": "${SECRET}", `)).not.toContain(SECRET);
  });

  it('is refused when it cannot be read', async () => {
    await expect(readConfigFile(join(dir, 'absent.json'), storeWorkerSchema)).rejects.toThrow(
      /absent\.json cannot be read/,
    );
  });

  it('needs at least one pinned key', async () => {
    expect(await refusal([], pinnedKeysSchema)).toMatch(/>=1|at least 1/);
  });
});
