import { describe, expect, it } from 'vitest';
import { groupOf, inventoryOf, knownHostsOf } from '#client/cli/bench/inventory.js';
import type { LoadedRepo } from '#client/cli/repo.js';
import { renderRepo } from '#client/repo/template.js';
import { checkRepo } from '#domain/repo-check.js';
import { storeWorkerSchema } from '#workers/config.js';
import { repoFiles } from '../../../../support/repo-files.js';

const files = renderRepo({ stores: 2, lab: true, compressed: true });
const { fleet, stores } = checkRepo(repoFiles(files));
const repo = { dir: '/repo', commit: 'c', fleet, stores } as LoadedRepo;
const config = storeWorkerSchema.parse({
  store: 'store-001',
  fleet: 'edge',
  temporal: { address: '127.0.0.1:7233', namespace: 'default' },
  registry: 'http://127.0.0.1:7280',
  proxmox: {
    nodes: [{ name: 'n1', address: '127.10.0.1', port: 8006 }],
    tokenFile: '/e/pve-token',
    caFile: '/e/ca.pem',
  },
  ssh: { user: 'edge', keyFile: '/e/ssh-key', nodes: { n1: { address: '127.10.0.1', port: 2222, hostKey: 'AAAA' } } },
  releaseKeys: '/keys',
  stateDir: '/state',
  timing: { poll: 100, drain: 60_000 },
});
const enrolled = new Map([['store-001', { folder: '/e', config }]]);
const inventory = () =>
  inventoryOf({
    repo,
    stages: [{ name: 'wave-1', stores: ['store-001'] }],
    enrolled,
    manifest: `sha256:${'ab'.repeat(32)}`,
    knownHosts: '/known',
    fileOf: (path) => files.get(path) ?? '',
  }) as {
    all: {
      vars: Record<string, unknown>;
      children: Record<string, { hosts: Record<string, { configs: { check: string; path: string }[] }> }>;
    };
  };

describe('inventoryOf', () => {
  it('waits as patiently as a store worker: looks as often, and as long', () =>
    expect(inventory().all.vars).toMatchObject({ look_every: 0.1, tries: { drain: 600 } }));
  it('names the upgrade as the service does, which is what the nodes allow', () =>
    expect(inventory().all.vars['unit']).toBe('edge-governor-upgrade-abababababab'));
  it('puts a stage into a group whose name Ansible takes', () =>
    expect(Object.keys(inventory().all.children)).toEqual([groupOf('wave-1')]));
  it('lets the check of a file look at the file that is written', () => {
    const [first] = inventory().all.children['stage_wave_1']?.hosts['store-001']?.configs ?? [];
    expect(first?.check).toContain(first?.path);
  });
  it('refuses a store that nobody enrolled', () => {
    enrolled.delete('store-001');
    expect(inventory).toThrow('enrolled no store');
  });
});

describe('knownHostsOf', () => {
  it('pins the host key of each node at its port', () =>
    expect(knownHostsOf([{ folder: '/e', config }])).toBe('[127.10.0.1]:2222 ssh-ed25519 AAAA\n'));
});
