import { execFileSync } from 'node:child_process';
import { generateKeyPairSync } from 'node:crypto';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { MockActivityEnvironment } from '@temporalio/testing';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { StoreDeps } from '#activities/store/deps.js';
import { createStoreActivities } from '#activities/store/index.js';
import { createOperation } from '#activities/store/operation.js';
import { storeSchema } from '#domain/fleet.js';
import type { StoreActivities, StoreTask } from '#domain/messages/store.js';
import { promotionTag } from '#domain/naming.js';
import { desiredPointer, type ReleaseRef } from '#domain/release.js';
import { startLab, type Lab } from '#lab/lab.js';
import { builtinMirror, WEEKLY_SNAPSHOT } from '#lab/world/mirror.js';
import { createCephClient } from '#systems/ceph/client.js';
import { openObjects } from '#systems/objects/open.js';
import { createProxmoxClient } from '#systems/proxmox/client.js';
import { createBundle, loadSigningKey } from '#systems/release/sign.js';
import { createReleaseVerifier } from '#systems/release/verify.js';
import { createSshRunner } from '#systems/ssh/client.js';
import { createFailoverRunner } from '#systems/ssh/failover.js';
import { probeGuest } from '#workers/guest-prober.js';
import { startRegistry, type Registry } from '#workers/registry.js';
import { memoryStoreState } from '../../support/memory-store-state.js';
import { aStoreSpec } from '../../unit/lab/lab-support.js';

const NET = '127.61.4';
const TRAIN = '2026-w48';
const VCL = 'vcl 4.1;\nbackend default { .host = "127.0.0.1"; .port = "8080"; }\n';
const INVENTORY = 'listen: 0.0.0.0:8080\nworkers: 4\n';

interface Enrolment {
  proxmox: { nodes: { name: string; address: string; port: number }[]; tokenFile: string; caFile: string };
  ssh: { user: string; keyFile: string; nodes: Record<string, { address: string; port: number; hostKey: string }> };
}

describe('the activities of a store on the practice fleet', () => {
  let dir: string;
  let lab: Lab;
  let registry: Registry;
  let activities: StoreActivities;
  let task: StoreTask;
  let closeClients: () => Promise<void>;

  beforeEach(async () => {
    dir = mkdtempSync(join(tmpdir(), 'edge-lab-'));
    const base = aStoreSpec();
    const spec = {
      ...base,
      nodes: base.nodes.map((node, i) => ({ ...node, address: `${NET}.${i + 1}` })),
      guests: (base.guests ?? []).map((guest, i) => ({ ...guest, health: `http://${NET}.${i + 101}:8080/health` })),
    };
    const objectsDir = join(dir, 'objects');
    mkdirSync(objectsDir);
    registry = await startRegistry({ dir: objectsDir, host: '127.0.0.1', port: 0 });
    const objects = openObjects(pathToFileURL(objectsDir).href);

    const pair = generateKeyPairSync('ec', { namedCurve: 'P-256' });
    const key = loadSigningKey(pair.privateKey.export({ type: 'pkcs8', format: 'pem' }).toString());
    const releaseKeys = join(dir, 'keys.json');
    const pinned = [{ hint: key.hint, publicKeyPem: key.publicKeyPem }];
    writeFileSync(releaseKeys, JSON.stringify(pinned));

    const artifact = Buffer.from(
      JSON.stringify({
        schema: 'edge.store-config/v1',
        store: storeSchema.parse(spec),
        files: { 'inventory-api.yaml': INVENTORY, 'varnish-vcl.vcl': VCL },
      }),
    );
    const sbom = await objects.put(Buffer.from('{}'));
    const digest = await objects.put(artifact);
    const manifest = Buffer.from(
      JSON.stringify({
        schema: 'edge.release/v1',
        fleet: 'practice',
        version: '2026.48.0',
        sequence: 1,
        created: new Date().toISOString(),
        expires: new Date(Date.now() + 86_400_000).toISOString(),
        source: { commit: 'a'.repeat(40), builder: 'test' },
        compat: { pve: '>=8.2 <10', minSequence: 0 },
        packages: {
          snapshot: WEEKLY_SNAPSHOT,
          sources: ['deb http://mirror.example/{snapshot} trixie main'],
          pinned: [...(builtinMirror.get(WEEKLY_SNAPSHOT) ?? [])]
            .filter(([name]) => !name.startsWith('proxmox-kernel-6.14.11-3'))
            .map(([name, version]) => ({ name, version })),
          kernel: '6.14.11-4-pve',
        },
        artifacts: [{ store: spec.id, digest, size: artifact.length }],
        images: [],
        sbom,
        scan: {
          tool: 'test',
          at: new Date().toISOString(),
          sbom,
          report: sbom,
          verdict: 'pass',
          counts: { critical: 0, high: 0, other: 0 },
        },
      }),
    );
    const release: ReleaseRef = {
      version: '2026.48.0',
      sequence: 1,
      manifest: await objects.put(manifest),
      bundle: await objects.put(Buffer.from(createBundle(key, manifest))),
    };
    const repo = join(dir, 'repo');
    promoteIn(repo, release, [spec.id]);
    await objects.setPointer(
      desiredPointer(spec.id),
      Buffer.from(
        JSON.stringify({
          schema: 'edge.desired/v1',
          store: spec.id,
          release,
          train: TRAIN,
          stage: 'canary',
          commit: 'a'.repeat(40),
          expires: new Date(Date.now() + 86_400_000).toISOString(),
        }),
      ),
    );

    lab = await startLab({
      stores: [spec],
      repo,
      stateDir: join(dir, 'lab'),
      speed: 2_000,
      registry: registry.url.replace('http://', ''),
      releaseKeys,
      fleet: 'practice',
    });
    const folder = await lab.enrol(spec.id);
    const enrolment = JSON.parse(readFileSync(join(folder, 'store-worker.json'), 'utf8')) as Enrolment;
    const proxmox = createProxmoxClient({
      nodes: enrolment.proxmox.nodes,
      token: readFileSync(enrolment.proxmox.tokenFile, 'utf8').trim(),
      ca: readFileSync(enrolment.proxmox.caFile, 'utf8'),
    });
    const privateKey = readFileSync(enrolment.ssh.keyFile, 'utf8');
    const nodes = new Map(
      Object.entries(enrolment.ssh.nodes).map(([name, { address, port, hostKey }]) => [
        name,
        createSshRunner({ host: address, port, user: enrolment.ssh.user, privateKey, hostKey }),
      ]),
    );
    const anyNode = [...nodes.values()];
    const environment = new MockActivityEnvironment();
    const deps: StoreDeps = {
      store: spec.id,
      proxmox,
      nodes,
      ceph: createCephClient(createFailoverRunner(anyNode), { prefix: ['sudo', '-n'] }),
      verifier: createReleaseVerifier({ registry: openObjects(registry.url), keys: pinned }),
      state: memoryStoreState(),
      probe: probeGuest,
      timing: {
        poll: 20,
        drain: 20_000,
        upgrade: 20_000,
        reboot: 20_000,
        rejoin: 10_000,
        recovery: 20_000,
        stable: 20,
        homecoming: 10_000,
        rebootGrace: 2_000,
        maxMaintenance: 60_000,
      },
      now: () => new Date(),
      uptime: () => performance.now(),
    };
    const made = createStoreActivities(deps, createOperation(deps));
    activities = Object.fromEntries(
      Object.entries(made).map(([name, run]) => [
        name,
        (argument: never) => environment.run(run as (argument: never) => Promise<unknown>, argument),
      ]),
    ) as unknown as StoreActivities;
    closeClients = async () => {
      await proxmox.close();
      await Promise.all(anyNode.map((runner) => runner.close()));
    };
    task = {
      protocol: 1,
      store: spec.id,
      fleet: 'practice',
      train: TRAIN,
      stage: 'canary',
      operationId: `${TRAIN}/canary/${spec.id}/r0`,
      fence: 1,
      release,
    };
  });
  afterEach(async () => {
    await closeClients();
    await lab.close();
    await registry.close();
    rmSync(dir, { recursive: true, force: true });
  });

  const broken = async () => {
    const response = await fetch(`${lab.control}/check`, { method: 'POST' });
    const report = (await response.json()) as { rules: { id: string; violations: unknown[] }[] };
    return report.rules.filter(({ violations }) => violations.length > 0);
  };
  const nodeSteps = async (node: string) => [
    await activities.drainNode({ ...task, node }),
    await activities.upgradeNode({ ...task, node }),
    await activities.rebootNode({ ...task, node }),
    await activities.rejoinNode({ ...task, node }),
  ];

  it('patch a whole store, node by node, and no safety rule is broken', async () => {
    expect(await activities.openOperation(task)).toMatchObject({ kind: 'done' });
    const { facts } = await activities.readFacts(task);
    expect(facts).toMatchObject({ unreadable: [], missingPrivileges: [], cluster: { quorate: true } });
    expect(await activities.stagePackages({ ...task, nodes: ['n1', 'n2', 'n3'] })).toMatchObject({ kind: 'done' });
    for (const node of ['n1', 'n2', 'n3']) {
      expect((await nodeSteps(node)).filter(({ kind }) => kind !== 'done')).toEqual([]);
    }
    expect(await activities.applyConfig(task)).toMatchObject({ kind: 'done' });
    expect(await activities.verifyStore(task)).toEqual({ kind: 'done' });
    expect(await activities.closeOperation({ ...task, outcome: 'succeeded' })).toEqual({ undone: [], leftSet: [] });
    expect(await broken()).toEqual([]);
    const kernels = [...lab.world.store(task.store).nodes.values()].map(({ kernel }) => kernel);
    expect(kernels).toEqual(['6.14.11-4-pve', '6.14.11-4-pve', '6.14.11-4-pve']);
  });

  it('stop at a failed upgrade, keep the node out of service and say so', async () => {
    lab.world.faults.add({ store: task.store, node: 'n1', kind: 'apt-fail' });
    await activities.openOperation(task);
    await activities.readFacts(task);
    await activities.stagePackages({ ...task, nodes: ['n1'] });
    await activities.drainNode({ ...task, node: 'n1' });
    expect(await activities.upgradeNode({ ...task, node: 'n1' })).toMatchObject({
      kind: 'failed',
      stop: { reason: 'UpgradeFailed' },
    });
    await activities.closeOperation({ ...task, outcome: 'failed' });
    expect(lab.world.store(task.store).ha.inMaintenance('n1')).toBe(true);
    expect(await broken()).toEqual([]);
  });
});

function promoteIn(repo: string, release: ReleaseRef, stores: string[]): void {
  mkdirSync(join(repo, `promotions/${TRAIN}`), { recursive: true });
  writeFileSync(join(repo, `promotions/${TRAIN}/canary.json`), JSON.stringify({ release, stores }));
  const git = (...args: string[]) =>
    execFileSync('git', ['-C', repo, '-c', 'user.name=t', '-c', 'user.email=t@localhost', ...args], { stdio: 'pipe' });
  git('init', '-q', '-b', 'main');
  git('add', '-A');
  git('-c', 'commit.gpgsign=false', 'commit', '-q', '-m', 'Promote');
  git('-c', 'tag.gpgsign=false', 'tag', '-a', '-m', 'canary', promotionTag(TRAIN, 'canary'));
}
