import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { clientKey, hostKey, startSshServers } from '#lab/ssh/server.js';
import type { SshServers } from '#lab/ssh/server.js';
import { createCephClient } from '#systems/ceph/client.js';
import type { CephClient } from '#systems/ceph/types.js';
import { createSshRunner } from '#systems/ssh/client.js';
import type { CommandRunner } from '#systems/ssh/types.js';
import { startPracticeStore } from '../../lab/pve/practice-store.js';
import type { PracticeStore } from '../../lab/pve/practice-store.js';
import { SOON } from '../../../support/soon.js';

let lab: PracticeStore;
let servers: SshServers;
let runner: CommandRunner;
let ceph: CephClient;
beforeEach(async () => {
  lab = await startPracticeStore();
  servers = await startSshServers(lab.world);
  const node = lab.store.node('n1');
  runner = createSshRunner({
    host: node.address,
    port: node.sshPort,
    user: 'edge-governor',
    privateKey: clientKey(lab.store).privateKey,
    hostKey: hostKey(node).publicBlob,
  });
  ceph = createCephClient(runner, { prefix: ['sudo', '-n'], timeoutMs: 2_000 });
});
afterEach(async () => {
  await runner.close();
  await servers.close();
  await lab.close();
});

const nooutEffects = () =>
  lab.world.journal.entries.map((entry) => entry.effect).filter((effect) => effect.startsWith('ceph.noout'));

describe('the Ceph client at a practice store, over SSH', () => {
  it('reads a healthy cluster', async () => {
    const facts = await ceph.facts({ room: true });
    expect(facts).toMatchObject({ health: 'HEALTH_OK', checks: [], mgrAvailable: true, hostFlags: {} });
    expect(facts.monsInQuorum).toEqual(['n1', 'n2', 'n3']);
    expect(facts.monsInMap).toEqual(['n1', 'n2', 'n3']);
    expect(facts.osds.map((osd) => osd.host)).toEqual(['n1', 'n1', 'n2', 'n2', 'n3', 'n3']);
    expect(facts.osds.every((osd) => osd.up && osd.in && (osd.utilization ?? 0) > 0)).toBe(true);
    expect(facts.pgs).toEqual({ total: 129, states: [{ state: 'active+clean', count: 129 }] });
  });

  it('sets noout on a host and takes it back, each once', async () => {
    await ceph.setHostNoout('n2');
    await ceph.setHostNoout('n2');
    expect((await ceph.facts()).hostFlags).toEqual({ n2: ['noout'] });
    await ceph.unsetHostNoout('n2');
    await ceph.unsetHostNoout('n2');
    expect((await ceph.facts()).hostFlags).toEqual({});
    expect(nooutEffects()).toEqual(['ceph.noout.set', 'ceph.noout.unset']);
  });

  it('asks jointly whether OSDs may stop', async () => {
    expect((await ceph.osdOkToStop([0, 1])).answer).toBe('yes');
    expect(await ceph.osdOkToStop([0, 1, 2, 3])).toMatchObject({
      answer: 'no',
      detail: expect.stringContaining('unsafe to stop') as unknown,
    });
    expect((await ceph.monOkToStop('n1')).answer).toBe('yes');
  });

  it('sees a host go and come back', async () => {
    lab.store.node('n3').powerOff('test');
    await vi.waitUntil(() => !lab.store.ceph.monsUp.has('n3'), SOON);
    const facts = await ceph.facts();
    expect(facts.monsInQuorum).toEqual(['n1', 'n2']);
    expect(facts.osds.filter((osd) => !osd.up).map((osd) => osd.host)).toEqual(['n3', 'n3']);
    expect(facts.checks.map((check) => check.code)).toEqual(
      expect.arrayContaining(['MON_DOWN', 'OSD_DOWN', 'OSD_HOST_DOWN', 'PG_DEGRADED']),
    );
    expect(facts.degradedObjects).toBeGreaterThan(0);
    expect((await ceph.monOkToStop('n2')).answer).toBe('no');
    lab.store.node('n3').powerOn('test');
    await vi.waitUntil(async () => (await ceph.facts()).health === 'HEALTH_OK', SOON);
  });

  it('does not wait for ever without a manager', async () => {
    lab.store.ceph.stopMgrs();
    await expect(ceph.osdOkToStop([0, 1])).rejects.toThrow();
  });

  it('is root for Ceph only through sudo', async () => {
    const plain = createCephClient(runner, { timeoutMs: 2_000 });
    await expect(plain.setHostNoout('n1')).rejects.toThrow();
    expect(nooutEffects()).toEqual([]);
  });
});
