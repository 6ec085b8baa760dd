import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import { gatherFacts } from '#activities/store/facts.js';
import { createNodeSteps } from '#activities/store/node-steps.js';
import { createOperation } from '#activities/store/operation.js';
import { isClean } from '#domain/ceph-health.js';
import { decideDrain, decideReady, decideRejoined, type StoreContext } from '#domain/decide-store.js';
import type { StoreFacts } from '#domain/facts.js';
import { clientKey, hostKey, startSshServers } from '#lab/ssh/server.js';
import { createCephClient } from '#systems/ceph/client.js';
import {
  osdDfSchema,
  osdDumpSchema,
  osdOkToStopSchema,
  osdTreeSchema,
  quorumSchema,
  statusSchema,
} from '#systems/ceph/schemas.js';
import type { CephClient } from '#systems/ceph/types.js';
import { createSshRunner } from '#systems/ssh/client.js';
import { createLocalRunner } from '#systems/ssh/local.js';
import type { CommandRunner } from '#systems/ssh/types.js';
import { startPracticeStore } from '../contract/lab/pve/practice-store.js';
import { aNodeTask, aTask, KERNEL, NODES, PACKAGES } from '../support/builders.js';
import { aFakeStore } from '../support/fake-store.js';
import { cephLacking, startCephCluster, type CephCluster } from './support/ceph-cluster.js';
import { shapeRead } from './support/shapes.js';
import { SOON } from '../support/soon.js';

/**
 * Everything that rests on Ceph, against real daemons: the client, the decisions on what it read, and the steps of a
 * node. All but Ceph is a healthy store in memory, so whatever stops a decision here was said by Ceph.
 */

const lacking = cephLacking();
if (lacking) console.warn(lacking);

const WANTED = {
  nodes: NODES,
  stoppable: NODES,
  packages: Object.keys(PACKAGES),
  privileges: true,
  load: true,
  managers: true,
};
const NOTHING_OURS = { maintenance: [], noout: [] };
const context = (ours: StoreContext['ours'] = NOTHING_OURS): StoreContext => ({
  expectedNodes: NODES,
  packages: PACKAGES,
  kernel: KERNEL,
  ours,
  work: NODES,
});

const READS = [
  ['status', statusSchema],
  ['osd dump', osdDumpSchema],
  ['osd tree', osdTreeSchema],
  ['osd df', osdDfSchema],
  ['quorum_status', quorumSchema],
] as const;
/** What to ask the real one, and what the practice fleet, whose hosts have two OSDs each. */
const QUESTIONS = [
  ['may the OSDs of one host stop', 'osd ok-to-stop 0', 'osd ok-to-stop 0 1'],
  ['may the OSDs of two hosts stop', 'osd ok-to-stop 0 1', 'osd ok-to-stop 0 1 2 3'],
  ['may an OSD stop that does not exist', 'osd ok-to-stop 99', 'osd ok-to-stop 99'],
  ['may a monitor stop', 'mon ok-to-stop n1', 'mon ok-to-stop n1'],
  ['may two monitors stop', 'mon ok-to-stop n1 n2', 'mon ok-to-stop n1 n2'],
  ['may a monitor stop that does not exist', 'mon ok-to-stop n99', 'mon ok-to-stop n99'],
  ['noout for a host that does not exist', 'osd set-group noout n99', 'osd set-group noout n99'],
] as const;

let cluster: CephCluster;
let runner: CommandRunner;
let ceph: CephClient;
let lab: LabCeph;
const gather = (client = ceph): Promise<StoreFacts> => gatherFacts({ ...aFakeStore().deps, ceph: client }, WANTED);
const codes = ({ ceph: { checks } }: StoreFacts) => checks.map(({ code }) => code);

// Each part says in which state it wants the cluster; in this order they change it least.
describe.skipIf(lacking)('with real Ceph', () => {
  beforeAll(async () => {
    cluster = await startCephCluster();
    runner = createLocalRunner({ env: cluster.env });
    ceph = createCephClient(runner);
    lab = await startLabCeph();
  });
  afterAll(async () => {
    await lab?.close();
    await runner?.close();
    await cluster?.close();
  });

  describe('a whole cluster', () => {
    beforeAll(() => cluster.heal());

    it('is ready for work, and lets each host stop', async () => {
      const facts = await gather();
      expect(facts.unreadable).toEqual([]);
      expect(facts.ceph).toMatchObject({
        health: 'HEALTH_OK',
        monsInQuorum: NODES,
        mgrAvailable: true,
        mgrStandbys: 1,
        hostFlags: {},
        osds: NODES.map((host, id) => ({ id, host, up: true, in: true })),
      });
      expect(decideReady(facts, context())).toEqual({ kind: 'proceed' });
      expect(await ceph.looksSettled()).toBe(true);
    });

    it('does not let two hosts stop together', async () => {
      expect(await ceph.osdOkToStop([0])).toMatchObject({ answer: 'yes' });
      expect(await ceph.osdOkToStop([0, 1])).toMatchObject({
        answer: 'no',
        detail: expect.stringContaining('unsafe to stop') as string,
      });
    });

    it('lets stop what does not exist, so that names and ids are taken from what was read and from nowhere else', async () => {
      expect(await ceph.osdOkToStop([99])).toMatchObject({ answer: 'yes' });
      expect(await ceph.monOkToStop('n99')).toMatchObject({ answer: 'yes' });
    });

    theLabAgrees();
  });

  describe('noout', () => {
    beforeAll(() => cluster.heal());

    it('on a host stops the work of everyone but its owner', async () => {
      await ceph.setHostNoout('n1');
      const facts = await gather();
      expect(facts.ceph.hostFlags).toEqual({ n1: ['noout'] });
      expect(codes(facts)).toEqual(['OSD_FLAGS']);
      expect(decideReady(facts, context())).toMatchObject({ kind: 'stop', stop: { reason: 'ForeignFlags' } });
      expect(decideReady(facts, context({ maintenance: [], noout: ['n1'] }))).toEqual({ kind: 'proceed' });
    });

    describe('as the practice fleet shows it', () => {
      beforeAll(async () => {
        await ceph.setHostNoout('n1');
        await lab.client.setHostNoout('n1');
      });
      afterAll(() => lab.client.unsetHostNoout('n1'));

      theLabAgrees();
    });

    it('may be set and taken back twice', async () => {
      await ceph.setHostNoout('n1');
      await ceph.setHostNoout('n1');
      expect(await ceph.hostFlags()).toEqual({ n1: ['noout'] });
      await ceph.unsetHostNoout('n1');
      await ceph.unsetHostNoout('n1');
      expect(await ceph.hostFlags()).toEqual({});
    });

    it('on the whole cluster is never ours', async () => {
      await cluster.admin('osd', 'set', 'noout');
      const facts = await gather().finally(() => cluster.admin('osd', 'unset', 'noout'));
      expect(facts.ceph.flags).toContain('noout');
      expect(decideReady(facts, context({ maintenance: NODES, noout: NODES }))).toMatchObject({
        kind: 'stop',
        stop: { reason: 'ForeignFlags' },
      });
    });

    it('cannot be set on a host that Ceph does not know', async () => {
      await expect(ceph.setHostNoout('n99')).rejects.toMatchObject({ kind: 'CephRefused' });
    });
  });

  describe('the steps of a node', () => {
    beforeAll(() => cluster.heal());

    it('set noout, wait for the recovery after the reboot, and take noout back only then', async () => {
      let cleanWhenTakenBack: boolean | undefined;
      const store = aFakeStore({ timing: { reboot: 120_000, recovery: 120_000, poll: 500 } });
      const deps = {
        ...store.deps,
        ceph: {
          ...ceph,
          unsetHostNoout: async (host: string) => {
            cleanWhenTakenBack = isClean(await ceph.facts());
            await ceph.unsetHostNoout(host);
          },
        },
      };
      const operation = createOperation(deps);
      const steps = createNodeSteps(deps, operation);
      const task = aNodeTask('n3');
      await operation.open(aTask());
      expect(await steps.drain(task, 'drain')).toMatchObject({ kind: 'done' });
      expect(await ceph.hostFlags()).toEqual({ n3: ['noout'] });
      expect(await steps.upgrade(task, 'upgrade')).toMatchObject({ kind: 'done' });
      store.before('reboot n3', loseHost);
      expect(await steps.reboot(task, 'reboot')).toMatchObject({ kind: 'done' });
      await cluster.fill();

      const rejoined = steps.rejoin(task);
      cluster.start('mon.n3');
      cluster.start('osd.2');
      expect(await rejoined).toMatchObject({ kind: 'done' });
      expect(cleanWhenTakenBack).toBe(true);
      expect(await ceph.hostFlags()).toEqual({});
    });
  });

  describe('an OSD that is down', () => {
    beforeAll(async () => {
      await cluster.heal();
      await loseOsd();
    });

    it('stops all work, and no other host may stop', async () => {
      const facts = await gather();
      expect(codes(facts)).toEqual(expect.arrayContaining(['OSD_DOWN', 'OSD_HOST_DOWN', 'PG_DEGRADED']));
      expect(facts.ceph.osds.filter(({ up }) => !up)).toMatchObject([{ id: 2, host: 'n3', in: true }]);
      expect(facts.ceph.degradedObjects).toBeGreaterThan(0);
      expect(facts.okToStop).toMatchObject({ n1: { osds: false, mon: true }, n2: { osds: false, mon: true } });
      expect(decideReady(facts, context())).toMatchObject({ kind: 'stop', stop: { reason: 'CephBlocked' } });
      expect(await ceph.looksSettled()).toBe(false);
      // Its own host may stop for all that Ceph cares: it already has. That is no reason to work there.
      expect(facts.okToStop['n3']).toMatchObject({ osds: true, mon: true });
      for (const node of NODES) expect(decideDrain(facts, context(), node)).toMatchObject({ kind: 'stop' });
    });
  });

  describe('a host that is gone', () => {
    beforeAll(async () => {
      await loseHost();
      await lab.loseHost();
    });

    it('is missed in quorum, and no other monitor may stop', async () => {
      const facts = await gather();
      expect(facts.unreadable).toEqual([]);
      expect(facts.ceph.monsInQuorum).toEqual(['n1', 'n2']);
      expect(codes(facts)).toEqual(expect.arrayContaining(['MON_DOWN', 'OSD_DOWN', 'OSD_HOST_DOWN', 'PG_DEGRADED']));
      expect(facts.okToStop).toMatchObject({
        n1: { osds: false, mon: false, detail: expect.stringContaining('not enough monitors') as string },
        n2: { osds: false, mon: false },
      });
      expect(decideReady(facts, context())).toMatchObject({ kind: 'stop' });
    });

    theLabAgrees();
  });

  describe('a cluster that recovers', () => {
    beforeAll(async () => {
      await loseHost();
      await cluster.fill();
      await cluster.throttleRecovery(true);
      cluster.start('mon.n3');
      cluster.start('osd.2');
      await cluster.until(
        'all daemons',
        ({ osdmap, quorum_names: quorum }) => osdmap.num_up_osds === 3 && quorum.length === 3,
      );
    });

    it('is not clean though everything is up, and later it is', async () => {
      const facts = await gather();
      expect(facts.ceph.osds.every(({ up }) => up)).toBe(true);
      expect(isClean(facts.ceph)).toBe(false);
      expect(decideRejoined(facts, context(), 'n3')).toMatchObject({ kind: 'stop' });
      expect(decideReady(facts, context())).toMatchObject({ kind: 'stop' });
      expect(await ceph.looksSettled()).toBe(false);

      await cluster.heal();
      expect(await ceph.looksSettled()).toBe(true);
      const later = await gather();
      expect(decideRejoined(later, context(), 'n3')).toEqual({ kind: 'proceed' });
      expect(decideReady(later, context())).toEqual({ kind: 'proceed' });
    });
  });

  describe('a cluster without managers', () => {
    beforeAll(async () => {
      await cluster.heal();
      await Promise.all([cluster.stop('mgr.x', 'SIGKILL'), cluster.stop('mgr.y', 'SIGKILL')]);
    });

    it('never says whether an OSD may stop, which is a failed check though Ceph calls itself healthy', async () => {
      expect(await cluster.admin('health')).toBe('HEALTH_OK');
      const facts = await gather(createCephClient(runner, { timeoutMs: 3_000 }));
      expect(facts.unreadable).toEqual([expect.stringMatching(/^ceph: .*no end within/)]);
      expect(facts.okToStop['n1']).toMatchObject({ osds: false, mon: false });
      expect(decideReady(facts, context())).toMatchObject({ kind: 'stop', stop: { reason: 'FactsUnreadable' } });
    });

    it('does not say yes to what is unsafe while its new manager still learns', async () => {
      cluster.start('mgr.x');
      const answers: string[] = [];
      const answered = async () => {
        const { answer } = await ceph.osdOkToStop([0, 1]).catch(() => ({ answer: 'none' }));
        answers.push(answer);
        return answer === 'no';
      };
      await vi.waitUntil(answered, { timeout: 90_000, interval: 200 });
      expect(answers).not.toContain('yes');
    });
  });

  describe('a cluster without quorum', () => {
    beforeAll(async () => {
      await Promise.all([cluster.stop('mon.n2', 'SIGKILL'), cluster.stop('mon.n3', 'SIGKILL')]);
      // The one that is left goes on answering for some seconds, as if nothing had happened.
      const silent = () =>
        cluster.admin('status', '--connect-timeout', '3').then(
          () => false,
          () => true,
        );
      await vi.waitUntil(silent, { timeout: 60_000, interval: 1_000 });
    });

    it('says nothing, and nothing is made of that', async () => {
      const facts = await gather(createCephClient(runner, { timeoutMs: 3_000 }));
      expect(facts.unreadable).toEqual([expect.stringMatching(/^ceph: /)]);
      expect(decideReady(facts, context())).toMatchObject({ kind: 'stop', stop: { reason: 'FactsUnreadable' } });
    });
  });
});

/** What is practised on has to look as the real thing does, in the state both are in. */
function theLabAgrees(): void {
  // What changes something has no answer, and sudo takes it without a format only.
  const asJson = (line: string) => (line.includes('noout') ? [] : ['-f', 'json']);
  const real = (line: string) => runner.run(['ceph', ...line.split(' '), ...asJson(line)]);
  const practised = (line: string) => lab.runner.run(['sudo', '-n', 'ceph', ...line.split(' '), ...asJson(line)]);

  it.each(READS)('and `ceph %s` of the practice fleet has its shape', async (line, schema) => {
    const [theirs, ours] = await Promise.all([real(line), practised(line)]);
    expect(ours.code).toBe(theirs.code);
    expect(shapeRead(schema, JSON.parse(ours.stdout))).toEqual(shapeRead(schema, JSON.parse(theirs.stdout)));
  });

  it.each(QUESTIONS)('and the practice fleet answers alike: %s', async (_, atReal, atLab) => {
    const [theirs, ours] = await Promise.all([real(atReal), practised(atLab)]);
    expect(answered(ours)).toEqual(answered(theirs));
  });
}

/** What a program can tell an answer by: the exit code, what is on which stream, and the verdict in it. */
function answered({ code, stdout, stderr }: { code: number; stdout: string; stderr: string }) {
  const json = stdout.trim() === '' ? undefined : (JSON.parse(stdout) as unknown);
  return {
    code,
    stdout: json === undefined ? 'empty' : shapeRead(osdOkToStopSchema, json),
    ok: (json as { ok_to_stop?: boolean } | undefined)?.ok_to_stop,
    stderr: stderr.split(/[:(]/, 1)[0]?.trim(),
  };
}

/** As after a crash of the OSD alone. */
async function loseOsd(): Promise<void> {
  await cluster.stop('osd.2', 'SIGKILL');
  await cluster.until(
    'osd.2 to be missed',
    ({ osdmap, health }) => osdmap.num_up_osds === 2 && 'PG_DEGRADED' in health.checks,
  );
}

/** As after a power cut of n3. */
async function loseHost(): Promise<void> {
  await Promise.all([loseOsd(), cluster.stop('mon.n3', 'SIGKILL')]);
  await cluster.until('mon.n3 to be missed', ({ health }) => 'MON_DOWN' in health.checks);
}

interface LabCeph {
  runner: CommandRunner;
  client: CephClient;
  loseHost(): Promise<void>;
  close(): Promise<void>;
}

/** A store of the practice fleet, which speaks over SSH. */
async function startLabCeph(): Promise<LabCeph> {
  const practice = await startPracticeStore();
  const servers = await startSshServers(practice.world);
  const node = practice.store.node('n1');
  const overSsh = createSshRunner({
    host: node.address,
    port: node.sshPort,
    user: 'edge-governor',
    privateKey: clientKey(practice.store).privateKey,
    hostKey: hostKey(node).publicBlob,
  });
  return {
    runner: overSsh,
    client: createCephClient(overSsh, { prefix: ['sudo', '-n'] }),
    async loseHost() {
      practice.store.node('n3').powerOff('test');
      const { ceph: sim } = practice.store;
      await vi.waitUntil(
        () => ['MON_DOWN', 'OSD_HOST_DOWN', 'PG_DEGRADED'].every((code) => sim.health().has(code)),
        SOON,
      );
    },
    async close() {
      await overSsh.close();
      await servers.close();
      await practice.close();
    },
  };
}
