import { execFileSync } from 'node:child_process';
import { generateKeyPairSync } from 'node:crypto';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { MockActivityEnvironment } from '@temporalio/testing';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import type { StoreDeps } from '#activities/store/deps.js';
import { createStoreActivities } from '#activities/store/index.js';
import { createOperation, type Operation } from '#activities/store/operation.js';
import { decideManifest, planNodes } from '#domain/decide-store.js';
import { errorThresholdSchema, gateLimitsSchema, storeSchema } from '#domain/fleet.js';
import { decideGate } from '#domain/gate.js';
import type { StoreActivities, StoreTask } from '#domain/messages/store.js';
import { promotionTag } from '#domain/naming.js';
import { desiredPointer, type DesiredRecord, type PermitRef, type ReleaseRef } from '#domain/release.js';
import { startLab, type Lab } from '#lab/lab.js';
import { builtinMirror, NEXT_SNAPSHOT, WEEKLY_SNAPSHOT } from '#lab/world/mirror.js';
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
const FLEET = 'practice';
const COMMIT = 'a'.repeat(40);
const inADay = () => new Date(Date.now() + 86_400_000).toISOString();
const VCL = 'vcl 4.1;\nbackend default { .host = "127.0.0.1"; .port = "8080"; }\n';
/** Keeps nothing, and says so nowhere. */
const KEEPING_NOTHING = `${VCL}sub vcl_backend_response {\n  set beresp.ttl = 0s;\n}\n`;
const INVENTORY = 'listen: 0.0.0.0:8080\nworkers: 4\n';

interface Enrolment {
  proxmox: { nodes: { name: string; address: string; port: number }[]; tokenFile: string; caFile: string };
  ssh: { user: string; keyFile: string; nodes: Record<string, { address: string; port: number; hostKey: string }> };
}

/** What a release of these tests is made of. */
interface Recipe {
  sequence: number;
  snapshot: string;
  kernel: string;
  /** Of its caches. */
  vcl?: string;
}
const WEEKLY: Recipe = { sequence: 1, snapshot: WEEKLY_SNAPSHOT, kernel: '6.14.11-4-pve' };
const NEXT: Recipe = { sequence: 2, snapshot: NEXT_SNAPSHOT, kernel: '6.14.11-5-pve' };

describe('the activities of a store on the practice fleet', () => {
  let dir: string;
  let lab: Lab;
  let registry: Registry;
  let repo: string;
  let deps: StoreDeps;
  let operation: Operation;
  let activities: StoreActivities;
  let task: StoreTask;
  let sign: (value: unknown) => Promise<{ object: string; bundle: string }>;
  let publish: (recipe: Recipe) => Promise<ReleaseRef>;
  let desire: (record: Partial<DesiredRecord>) => Promise<void>;
  /** Milliseconds by which both clocks of the store worker are ahead. */
  let ahead: number;
  let closeClients: () => Promise<void>;

  beforeEach(async () => {
    dir = mkdtempSync(join(tmpdir(), 'edge-lab-'));
    const base = aStoreSpec();
    const spec = {
      ...base,
      nodes: base.nodes.map((node, i) => ({ ...node, address: `${NET}.${i + 1}` })),
      guests: (base.guests ?? []).map((guest, i) => ({
        ...guest,
        health: `http://${NET}.${i + 101}:8080/health`,
        metrics: `http://${NET}.${i + 101}:8080/metrics`,
      })),
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

    const sbom = await objects.put(Buffer.from('{}'));
    sign = async (value) => {
      const bytes = Buffer.from(JSON.stringify(value));
      return {
        object: await objects.put(bytes),
        bundle: await objects.put(Buffer.from(createBundle(key, bytes))),
      };
    };
    publish = async ({ sequence, snapshot, kernel, vcl = VCL }) => {
      const artifact = Buffer.from(
        JSON.stringify({
          schema: 'edge.store-config/v1',
          store: storeSchema.parse(spec),
          files: { 'inventory-api.yaml': INVENTORY, 'varnish-vcl.vcl': vcl },
        }),
      );
      const digest = await objects.put(artifact);
      const version = `2026.${sequence}.0`;
      const isOther = (name: string) => name.startsWith('proxmox-kernel-6.14.') && !name.includes(kernel);
      const signed = await sign({
        schema: 'edge.release/v1',
        fleet: FLEET,
        version,
        sequence,
        created: new Date().toISOString(),
        expires: inADay(),
        source: { commit: COMMIT, builder: 'test' },
        compat: { pve: '>=8.2 <10', minSequence: 0 },
        packages: {
          snapshot,
          sources: ['deb http://mirror.example/{snapshot} trixie main'],
          pinned: [...(builtinMirror.get(snapshot) ?? [])]
            .filter(([name]) => !isOther(name))
            .map(([name, version_]) => ({ name, version: version_ })),
          kernel,
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
      });
      return { version, sequence, manifest: signed.object, bundle: signed.bundle };
    };
    desire = (record) =>
      objects.setPointer(
        desiredPointer(spec.id),
        Buffer.from(
          JSON.stringify({
            schema: 'edge.desired/v1',
            store: spec.id,
            train: TRAIN,
            stage: 'canary',
            commit: COMMIT,
            expires: inADay(),
            ...record,
          }),
        ),
      );
    repo = join(dir, 'repo');
    const release = await publish(WEEKLY);
    promoteIn(repo, TRAIN, release, [spec.id]);
    await desire({ release });

    lab = await startLab({
      stores: [spec],
      repo,
      stateDir: join(dir, 'lab'),
      speed: 2_000,
      registry: registry.url.replace('http://', ''),
      releaseKeys,
      fleet: FLEET,
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
    deps = {
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
        learn: 60_000,
      },
      now: () => new Date(Date.now() + ahead),
      uptime: () => performance.now() + ahead,
    };
    ahead = 0;
    startWorker();
    closeClients = async () => {
      await proxmox.close();
      await Promise.all(anyNode.map((runner) => runner.close()));
    };
    task = {
      protocol: 1,
      store: spec.id,
      fleet: FLEET,
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

  /** Another process of the store worker, with the same memory. */
  function startWorker(): void {
    operation = createOperation(deps);
    const environment = new MockActivityEnvironment();
    activities = Object.fromEntries(
      Object.entries(createStoreActivities(deps, operation)).map(([name, run]) => [
        name,
        (argument: never) => environment.run(run as (argument: never) => Promise<unknown>, argument),
      ]),
    ) as unknown as StoreActivities;
  }

  const broken = async () => {
    const response = await fetch(`${lab.control}/check`, { method: 'POST' });
    const report = (await response.json()) as { rules: { id: string; violations: unknown[] }[] };
    return report.rules.filter(({ violations }) => violations.length > 0);
  };
  const operate = async (given: StoreTask) => {
    expect(await activities.openOperation(given)).toMatchObject({ kind: 'done' });
    const seen = await activities.readFacts(given);
    expect(seen.facts).toMatchObject({ unreadable: [], missingPrivileges: [], cluster: { quorate: true } });
    const work = planNodes(seen.facts, seen).filter(({ packages, reboot, out }) => packages || reboot || out);
    const staged = await activities.stagePackages({ ...given, nodes: work.map(({ node }) => node) });
    expect(staged.kind === 'done' && staged.nodes.map((node) => decideManifest(node, seen).kind)).toEqual(
      work.map(() => 'proceed'),
    );
    for (const { node, packages, reboot } of work) {
      const nodeTask = { ...given, node };
      if (packages || reboot) expect(await activities.drainNode(nodeTask)).toMatchObject({ kind: 'done' });
      if (packages) expect(await activities.upgradeNode(nodeTask)).toMatchObject({ kind: 'done' });
      if (reboot) expect(await activities.rebootNode(nodeTask)).toMatchObject({ kind: 'done' });
      expect(await activities.rejoinNode(nodeTask)).toMatchObject({ kind: 'done' });
    }
    expect(await activities.applyConfig(given)).toMatchObject({ kind: 'done' });
    expect(await activities.verifyStore(given)).toEqual({ kind: 'done' });
    expect(await activities.closeOperation({ ...given, outcome: 'succeeded' })).toEqual({ undone: [], leftSet: [] });
    return seen;
  };
  const permitBack = async ({ version, sequence, manifest }: ReleaseRef): Promise<PermitRef> => {
    const { object, bundle } = await sign({
      schema: 'edge.rollback-permit/v1',
      fleet: FLEET,
      stores: [task.store],
      from: { version, sequence, manifest },
      to: task.release,
      approval: { id: 'a', by: 'operator', at: new Date().toISOString(), planHash: manifest },
      created: new Date().toISOString(),
      expires: inADay(),
    });
    return { permit: object, bundle };
  };
  const kernels = () => [...lab.world.store(task.store).nodes.values()].map(({ kernel }) => kernel);
  const isSet = (node: string) => ({
    maintenance: lab.world.store(task.store).ha.inMaintenance(node),
    noout: lab.world.store(task.store).ceph.hostFlags.get(node)?.has('noout') ?? false,
  });

  it('patch a whole store, node by node, and no safety rule is broken', async () => {
    await operate(task);
    expect(await broken()).toEqual([]);
    expect(kernels()).toEqual(['6.14.11-4-pve', '6.14.11-4-pve', '6.14.11-4-pve']);
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

  it('bring a whole store back to its last good release, and leave Ceph as it is', async () => {
    await operate(task);
    await desire({ release: task.release, soaked: { release: task.release, at: new Date().toISOString() } });
    await operation.learnLastGood();

    const newer = await publish(NEXT);
    promoteIn(repo, '2026-w49', newer, [task.store]);
    await desire({ release: newer, train: '2026-w49' });
    await operate({ ...task, operationId: `2026-w49/canary/${task.store}/r0`, fence: 2, release: newer });
    expect(deps.state.trust()).toMatchObject({ current: newer, lastGood: task.release, highestSequence: 2 });

    const permit = await permitBack(newer);
    await desire({ release: task.release, train: '2026-w49', permit });
    const back = { ...task, operationId: `2026-w49/rollback/${task.store}/r0`, fence: 3 };
    const refused = await activities.openOperation(back);
    expect(refused).toMatchObject({ kind: 'refused', stop: { reason: 'SequenceRollback' } });
    expect(await activities.openOperation({ ...back, permit })).toMatchObject({ lastGood: task.release.version });

    const { notes } = await operate({ ...back, permit });
    expect(notes).toHaveLength(3);
    expect(notes?.[0]).toMatch(/^n1: Ceph does not go back; these stay: .*ceph-osd 19\.2\.4-pve1/);
    expect(kernels()).toEqual([WEEKLY.kernel, WEEKLY.kernel, WEEKLY.kernel]);
    const [n1] = lab.world.store(task.store).nodes.values();
    expect(n1?.packages.installed.get('pve-manager')).toBe('9.1.5');
    expect(n1?.packages.installed.get('ceph-osd')).toBe('19.2.4-pve1');
    expect(deps.state.trust()).toMatchObject({ current: task.release, lastGood: task.release, highestSequence: 1 });
    expect(await broken()).toEqual([]);
  });

  it('bring back a store on which apt failed half-way: the node that was left out of service goes first', async () => {
    await operate(task);
    const newer = await publish(NEXT);
    promoteIn(repo, '2026-w49', newer, [task.store]);
    await desire({ release: newer, train: '2026-w49' });
    const forward = { ...task, operationId: `2026-w49/canary/${task.store}/r0`, fence: 2, release: newer };
    lab.world.faults.add({ store: task.store, node: 'n2', kind: 'apt-fail' });
    await activities.openOperation(forward);
    await activities.readFacts(forward);
    await activities.stagePackages({ ...forward, nodes: ['n2'] });
    await activities.drainNode({ ...forward, node: 'n2' });
    expect(await activities.upgradeNode({ ...forward, node: 'n2' })).toMatchObject({ kind: 'failed' });
    expect(await activities.closeOperation({ ...forward, outcome: 'failed' })).toMatchObject({
      leftSet: [expect.stringMatching(/^maintenance of n2 \(dpkg is not clean/)],
    });

    const permit = await permitBack(newer);
    await desire({ release: task.release, train: '2026-w49', permit });
    startWorker();
    const { ours } = await operate({
      ...task,
      operationId: `2026-w49/rollback/${task.store}/r0`,
      fence: 3,
      permit,
    });
    expect(ours).toMatchObject({ maintenance: ['n2'], noout: [] });
    expect(isSet('n2')).toEqual({ maintenance: false, noout: false });
    const versions = [...lab.world.store(task.store).nodes.values()].map(({ packages }) =>
      packages.installed.get('pve-manager'),
    );
    expect(versions).toEqual(['9.1.5', '9.1.5', '9.1.5']);
    expect(kernels()).toEqual([WEEKLY.kernel, WEEKLY.kernel, WEEKLY.kernel]);
    expect(await broken()).toEqual([]);
  });

  describe('of which a release makes the caches useless', () => {
    let bad: StoreTask;
    beforeEach(async () => {
      const release = await publish({ ...WEEKLY, sequence: 2, vcl: KEEPING_NOTHING });
      promoteIn(repo, '2026-w49', release, [task.store]);
      await desire({ release, train: '2026-w49' });
      bad = { ...task, operationId: `2026-w49/canary/${task.store}/r0`, release };
    });
    const gate = async () =>
      decideGate({
        probes: [await activities.probeStore({ protocol: 1, store: task.store, fleet: FLEET })],
        expected: [task.store],
        limits: gateLimitsSchema.parse({}),
        offlineThreshold: errorThresholdSchema.parse({ percent: 20 }),
      });
    const fell = {
      kind: 'fail',
      checks: expect.arrayContaining([
        expect.objectContaining({ name: 'cache hit against the own baseline', verdict: 'fail' }),
      ]) as unknown,
    };

    it('fail the gate again when another train brings it again', async () => {
      await operate(bad);
      expect(await gate()).toMatchObject(fell);
      startWorker();
      await operate({ ...bad, operationId: `2026-w49-2/canary/${task.store}/r0`, fence: 2 });
      expect(await gate()).toMatchObject(fell);
    });

    it('fail the gate when the operation that began it is cut off, and the next round finds nothing to do', async () => {
      await activities.openOperation(bad);
      const seen = await activities.readFacts(bad);
      await activities.stagePackages({ ...bad, nodes: seen.nodes });
      for (const { node, packages, reboot } of planNodes(seen.facts, seen)) {
        if (!packages && !reboot) continue;
        await activities.drainNode({ ...bad, node });
        await activities.upgradeNode({ ...bad, node });
        await activities.rebootNode({ ...bad, node });
        await activities.rejoinNode({ ...bad, node });
      }
      await activities.applyConfig(bad);

      startWorker();
      const late = { ...bad, operationId: `2026-w49/canary/${task.store}/r1`, fence: 2 };
      expect((await operate(late)).notes).toBeUndefined();
      expect(await gate()).toMatchObject(fell);
    });
  });

  it('take back what they set when nobody goes on, and tell it when they are asked again', async () => {
    await activities.openOperation(task);
    await activities.readFacts(task);
    await activities.drainNode({ ...task, node: 'n1' });
    expect(isSet('n1')).toEqual({ maintenance: true, noout: true });
    expect(await operation.lookAfter()).toEqual([]);

    startWorker();
    ahead = deps.timing.maxMaintenance;
    expect(await operation.lookAfter()).toHaveLength(2);
    expect(isSet('n1')).toEqual({ maintenance: false, noout: false });
    const { selfUndo } = await activities.hello({ protocol: 1, store: task.store });
    expect(selfUndo).toMatchObject({ undone: ['noout of n1', 'maintenance of n1'], leftSet: [] });

    expect(await activities.upgradeNode({ ...task, node: 'n1' })).toMatchObject({
      kind: 'refused',
      stop: { reason: 'StoreCutOff', summary: expect.stringContaining('took back noout of n1') as string },
    });
    const closed = await activities.closeOperation({ ...task, outcome: 'failed' });
    expect(closed.undone[0]).toMatch(/^noout of n1 \(by the store itself/);
    expect(await broken()).toEqual([]);
  });

  it('sweep what a dead operation left, and never touch what someone else has set', async () => {
    await activities.openOperation(task);
    await activities.readFacts(task);
    await activities.drainNode({ ...task, node: 'n1' });
    const store = lab.world.store(task.store);
    store.ha.enableMaintenance('n3', 'root@pam');
    store.ceph.setHostFlag('n3', 'noout', 'root@pam');

    startWorker();
    const asked = { protocol: 1, store: task.store, fleet: FLEET };
    // A manager shows a node in maintenance only after its next round.
    const { leftBy } = await vi.waitFor(async () => {
      const seen = await activities.inspectStore(asked);
      expect(seen.foreign).toEqual(['noout of n3', 'maintenance of n3']);
      return seen;
    }, 10_000);
    expect(leftBy).toMatchObject({ operationId: task.operationId, locked: true });
    expect(
      await activities.sweepStore({ ...asked, over: { operationId: task.operationId, fence: leftBy?.fence ?? 0 } }),
    ).toEqual({ kind: 'swept', undone: ['noout of n1', 'maintenance of n1'], left: [] });
    expect(isSet('n1')).toEqual({ maintenance: false, noout: false });
    expect(isSet('n3')).toEqual({ maintenance: true, noout: true });
  });
});

function promoteIn(repo: string, train: string, release: ReleaseRef, stores: string[]): void {
  mkdirSync(join(repo, `promotions/${train}`), { recursive: true });
  writeFileSync(join(repo, `promotions/${train}/canary.json`), JSON.stringify({ release, stores }));
  const git = (...args: string[]) =>
    execFileSync('git', ['-C', repo, '-c', 'user.name=t', '-c', 'user.email=t@localhost', ...args], { stdio: 'pipe' });
  git('init', '-q', '-b', 'main');
  git('add', '-A');
  git('-c', 'commit.gpgsign=false', 'commit', '-q', '-m', 'Promote');
  git('-c', 'tag.gpgsign=false', 'tag', '-a', '-m', 'canary', promotionTag(train, 'canary'));
}
