import { describe, expect, it } from 'vitest';
import { createCephClient } from '#systems/ceph/client.js';
import { CephRefused, CephUnreadable } from '#systems/ceph/errors.js';
import { CommandError } from '#systems/ssh/errors.js';
import { STATES, answering, json } from './real-states.js';
import type { Answers } from './real-states.js';

const clientOf = (answers: Answers) => createCephClient(answering(answers));
const factsOf = (answers: Answers) => clientOf(answers).facts({ room: true });

describe('facts', () => {
  it('tells a healthy cluster whole', async () => {
    expect(await factsOf(STATES.healthy)).toEqual({
      health: 'HEALTH_OK',
      checks: [],
      monsInQuorum: ['node1', 'node2', 'node3'],
      monsInMap: ['node1', 'node2', 'node3'],
      mgrAvailable: true,
      mgrStandbys: 1,
      osds: [
        { id: 0, host: 'node1', up: true, in: true, utilization: 19.85 },
        { id: 1, host: 'node2', up: true, in: true, utilization: 20.85 },
        { id: 2, host: 'node3', up: true, in: true, utilization: 21.85 },
      ],
      pgs: { total: 33, states: [{ state: 'active+clean', count: 33 }] },
      degradedObjects: 0,
      misplacedObjects: 0,
      unfoundObjects: 0,
      flags: ['sortbitwise', 'recovery_deletes', 'purged_snapdirs', 'pglog_hardlimit'],
      hostFlags: {},
      pools: [
        { name: 'vm', size: 3, minSize: 2 },
        { name: 'device_health_metrics', size: 3, minSize: 2 },
      ],
    });
  });

  it('tells noout on a host, with the check that comes with it', async () => {
    expect(await factsOf(STATES.nooutOnNode1)).toMatchObject({
      health: 'HEALTH_WARN',
      hostFlags: { node1: ['noout'] },
      checks: [{ code: 'OSD_FLAGS', severity: 'HEALTH_WARN', muted: false }],
    });
  });

  it('tells an OSD that is down', async () => {
    const facts = await factsOf(STATES.osd0Down);
    expect(facts.osds.map((osd) => [osd.host, osd.up])).toEqual([
      ['node1', false],
      ['node2', true],
      ['node3', true],
    ]);
    expect(facts.checks.map((check) => check.code)).toEqual(['OSD_DOWN', 'OSD_FLAGS', 'OSD_HOST_DOWN', 'PG_DEGRADED']);
    expect(facts.degradedObjects).toBe(3763);
    expect(facts.pgs.states).toContainEqual({ state: 'active+undersized', count: 1 });
  });

  it('tells a recovery', async () => {
    expect(await factsOf(STATES.recovering)).toMatchObject({
      degradedObjects: 929,
      pgs: { states: [{ state: 'peering', count: 25 }, { count: 8 }] },
    });
  });

  it('tells a monitor that is out of quorum', async () => {
    expect(await factsOf(STATES.monNode1Down)).toMatchObject({
      monsInQuorum: ['node2', 'node3'],
      monsInMap: ['node1', 'node2', 'node3'],
      checks: [{ code: 'MON_DOWN', message: '1/3 mons down, quorum node2,node3' }],
    });
  });

  it.each(['afterMonRestart', 'afterRestart'] as const)('is healthy again %s', async (state) => {
    expect(await factsOf(STATES[state])).toMatchObject({ health: 'HEALTH_OK', checks: [], degradedObjects: 0 });
  });

  it('counts a monitor only when both answers have it', async () => {
    const quorum = { quorum_names: ['node1', 'node2'], monmap: { mons: [{ name: 'node1' }, { name: 'node2' }] } };
    const facts = await factsOf({ ...STATES.monNode1Down, 'ceph quorum_status': json(quorum) });
    expect(facts.monsInQuorum).toEqual(['node2']);
  });

  it('asks with the prefix that makes it root', async () => {
    const runner = answering(
      Object.fromEntries(Object.entries(STATES.healthy).map(([line, answer]) => [`sudo -n ${line}`, answer])),
    );
    await createCephClient(runner, { prefix: ['sudo', '-n'] }).facts();
    expect(runner.asked).toContainEqual(['sudo', '-n', 'ceph', 'status', '-f', 'json']);
  });

  it('does not mind unknown keys or words on stderr', async () => {
    const quorum = JSON.parse(STATES.healthy['ceph quorum_status']?.stdout ?? '') as object;
    const answer = { ...json({ ...quorum, news: 1 }), stderr: 'dumped all\n' };
    expect((await factsOf({ ...STATES.healthy, 'ceph quorum_status': answer })).health).toBe('HEALTH_OK');
  });

  const parts = Object.keys(STATES.healthy);
  it.each(parts)('is unreadable, not healthy, when `%s` fails', async (line) => {
    const failed = { code: 1, stderr: 'Error ENOENT: mon gone\n' };
    await expect(factsOf({ ...STATES.healthy, [line]: failed })).rejects.toThrow(CephUnreadable);
  });

  it.each(parts)('is unreadable, not healthy, when `%s` says nothing', async (line) => {
    await expect(factsOf({ ...STATES.healthy, [line]: { stdout: '' } })).rejects.toThrow(CephUnreadable);
  });

  it.each(parts)('is unreadable, not healthy, when `%s` says {}', async (line) => {
    await expect(factsOf({ ...STATES.healthy, [line]: json({}) })).rejects.toThrow(CephUnreadable);
  });

  it('is unreadable when an OSD that is up has no utilization', async () => {
    const df = json({ nodes: [{ id: 0, utilization: 1 }] });
    await expect(factsOf({ ...STATES.healthy, 'ceph osd df': df })).rejects.toThrow(/osd\.1, which is up/);
  });

  it('passes on that the node could not be reached', async () => {
    const runner = answering({});
    runner.run = () => Promise.reject(new CommandError('Unreachable', 'no route'));
    await expect(createCephClient(runner).facts()).rejects.toMatchObject({ kind: 'Unreachable' });
  });
});

describe('osdOkToStop', () => {
  const ask = (answer: Answers[string]) => clientOf({ 'ceph osd ok-to-stop 0 1': answer }).osdOkToStop([0, 1]);
  const EBUSY = 'Error EBUSY: unsafe to stop osd(s) at this time (33 PGs are or would become offline)\n';
  const EAGAIN = 'Error EAGAIN: 33 pgs have unknown state; cannot draw any conclusions\n';

  it('is yes', async () => {
    const answer = json({ ok_to_stop: true, osds: [0, 1], num_ok_pgs: 33, num_not_ok_pgs: 0 });
    expect((await ask(answer)).answer).toBe('yes');
  });

  it('is no, with the reason, although the program ends with an error', async () => {
    const no = json({
      ok_to_stop: false,
      osds: [0, 1],
      num_ok_pgs: 0,
      num_not_ok_pgs: 33,
      bad_become_inactive: ['1.0'],
    });
    expect(await ask({ ...no, code: 16, stderr: EBUSY })).toEqual({ answer: 'no', detail: EBUSY.trim() });
  });

  it('is unknown while placement groups have no state', async () => {
    const unknown = json({ ok_to_stop: false, osds: [0, 1], num_ok_pgs: 0, num_not_ok_pgs: 0, unknown_pgs: ['1.0'] });
    expect(await ask({ ...unknown, code: 11, stderr: EAGAIN })).toEqual({ answer: 'unknown', detail: EAGAIN.trim() });
  });

  it('is no when some are unknown and others would go offline', async () => {
    const both = json({ ok_to_stop: false, osds: [0, 1], num_not_ok_pgs: 3, unknown_pgs: ['1.0'] });
    expect((await ask({ ...both, code: 16 })).answer).toBe('no');
  });

  it('is not yes when text and exit code disagree', async () => {
    expect((await ask({ ...json({ ok_to_stop: true, osds: [0, 1] }), code: 16 })).answer).toBe('no');
  });

  it('is unreadable when it is only text', async () => {
    await expect(ask({ code: 22, stderr: 'Error EINVAL: unknown osd\n' })).rejects.toThrow(/unknown osd/);
  });

  it('is not asked about no OSDs', async () => {
    await expect(clientOf({}).osdOkToStop([])).rejects.toThrow(CephUnreadable);
  });
});

describe('monOkToStop', () => {
  const ask = (answer: Answers[string]) => clientOf({ 'ceph mon ok-to-stop node1': answer }).monOkToStop('node1');

  it('is yes by the exit code', async () => {
    const detail = 'quorum should be preserved (node2,node3) after stopping [node1]';
    expect(await ask({ stdout: '\n', stderr: `${detail}\n` })).toEqual({ answer: 'yes', detail });
  });

  it('is no', async () => {
    const detail = 'Error EBUSY: not enough monitors would be available (node3) after stopping mons [node1]';
    expect(await ask({ code: 16, stderr: `${detail}\n` })).toEqual({ answer: 'no', detail });
  });

  it('is unreadable for any other end', async () => {
    await expect(ask({ code: 1, stderr: 'timed out\n' })).rejects.toThrow(CephUnreadable);
  });
});

describe('noout', () => {
  it('is set and unset on the host', async () => {
    const runner = answering({ 'ceph osd set-group noout n1': {}, 'ceph osd unset-group noout n1': {} });
    const client = createCephClient(runner);
    await client.setHostNoout('n1');
    await client.unsetHostNoout('n1');
    expect(runner.asked).toEqual([
      ['ceph', 'osd', 'set-group', 'noout', 'n1'],
      ['ceph', 'osd', 'unset-group', 'noout', 'n1'],
    ]);
  });

  it('says when Ceph refuses', async () => {
    const refused = { code: 2, stderr: 'Error ENOENT: unable to find crush node nX\n' };
    await expect(clientOf({ 'ceph osd set-group noout nX': refused }).setHostNoout('nX')).rejects.toThrow(CephRefused);
  });
});
