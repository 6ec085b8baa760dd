import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { TrialTask } from '#domain/messages/restore.js';
import { judgeTrial } from '#domain/restore-trial.js';
import { CANARY_FILE, canaryPlace } from '#lab/world/pbs/content.js';
import { doneOf, failureIn, PracticeRestore } from './practice-restore.js';

let practice: PracticeRestore;
beforeEach(async () => {
  practice = await PracticeRestore.start();
});
afterEach(() => practice.close());

const NEVER = new Promise<never>(() => undefined);
const starts = () => practice.staging.journal('guest.start').length;
const booted = async (task: TrialTask): Promise<TrialTask> => {
  doneOf(await practice.worker().bootGuest(task));
  return task;
};

/** Seconds for which the nodes say that they have been up. */
const upFor = (uptime: number) => {
  const { proxmox } = practice.deps;
  return { ...proxmox, nodeStatus: async (node: string) => ({ ...(await proxmox.nodeStatus(node)), uptime }) };
};

describe('a start', () => {
  it.each([
    ['an agent that is silent', 'agent-silent' as const],
    ['services that hang', 'boot-fails' as const],
  ])('of a VM with %s is the fault of the guest', async (_, kind) => {
    const task = await practice.restored(practice.trial(101));
    practice.fault({ kind, times: 1 });
    const failed = failureIn(await practice.worker().bootGuest(task));
    expect(failed).toMatchObject({
      fault: 'guest',
      why: expect.stringMatching(/agent did not answer within/) as string,
    });
    doneOf(await practice.worker().removeGuest(task));
    expect(practice.staging.site.guests.has(task.as)).toBe(false);
  });

  /** The nodes, whose `pct exec` cannot enter a container; what else is asked of them is done. */
  const notEntered = () =>
    new Map(
      [...practice.deps.nodes].map(([name, runner]) => [
        name,
        {
          close: () => runner.close(),
          run: (...given: Parameters<typeof runner.run>) =>
            given[0].includes('exec')
              ? Promise.resolve({ code: 255, stdout: '', stderr: 'lxc-attach: 90102: Failed to get init pid' })
              : runner.run(...given),
        },
      ]),
    );

  it('of a container that cannot be entered is the fault of the guest', async () => {
    const task = await practice.restored(practice.trial(102));
    const timing = { ...practice.deps.timing, boot: 600 };
    const failed = failureIn(await practice.worker({ nodes: notEntered(), timing }).bootGuest(task));
    expect(failed).toEqual({
      kind: 'failed',
      fault: 'guest',
      why: 'It could not be entered within 1 s of its start.',
      detail: ['lxc-attach: 90102: Failed to get init pid'],
    });
    expect(practice.staging.site.guests.get(task.as)?.status).toBe('running');
    doneOf(await practice.worker().removeGuest(task));
    expect(practice.staging.site.guests.has(task.as)).toBe(false);
  });

  it.each([
    ['by itself is the fault of the guest', 3_600, { fault: 'guest', why: 'It was started and stopped by itself.' }],
    [
      'with its node, which was started anew, is the fault of the site',
      0,
      { fault: 'site', why: expect.stringMatching(/^Its node \S+ was started anew while it was tried\.$/) as string },
    ],
  ])('of a container that stops %s', async (_, uptime, failure) => {
    const task = await practice.restored(practice.trial(102));
    const nodes = notEntered();
    const timing = { ...practice.deps.timing, boot: 1_500 };
    const booting = practice.worker({ nodes, timing, proxmox: upFor(uptime) }).bootGuest(task);
    const guest = () => practice.staging.site.guests.get(task.as);
    await expect.poll(() => guest()?.status).toBe('running');
    practice.staging.site.haltGuest(guest()!, 'lab');
    expect(failureIn(await booting)).toMatchObject(failure);
  });

  it('whose answer is lost is found, and not made again', async () => {
    const task = await practice.restored(practice.trial(101));
    practice.fault({ kind: 'lost-answer', step: 'guest.start', moment: 'after', times: 1 });
    await booted(task);
    expect(starts()).toBe(1);
  });

  it('of a worker that is killed is told with the time of the first attempt', async () => {
    const task = await practice.restored(practice.trial(102));
    void practice.worker({ proxmox: { ...practice.deps.proxmox, taskStatus: () => NEVER } }).bootGuest(task);
    await expect.poll(starts).toBe(1);
    const { bootAskedAt } = practice.deps.state.trial(task.as)!;
    await practice.restart();
    const answer = doneOf(await practice.worker().bootGuest(task));
    expect(answer.startedAt).toBe(bootAskedAt);
    expect(doneOf(await practice.worker().bootGuest(task))).toEqual(answer);
    expect(starts()).toBe(1);
  });

  it.each([
    ['its card is elsewhere', { net0: 'virtio,bridge=vmbr0' }, /net0 is not on vmbr-lab alone/],
    ['it would start with its node', { onboot: '1' }, /start with its node/],
    ['a device of the node is passed to it', { hostpci0: '0000:01:00.0' }, /hostpci0 may reach beyond/],
  ])('is refused when %s', async (_, options, why) => {
    const task = await practice.restored(practice.trial(101));
    const guest = practice.staging.site.guests.get(task.as)!;
    guest.options = { ...guest.options, ...options };
    const failed = failureIn(await practice.worker().bootGuest(task));
    expect(failed).toMatchObject({ fault: 'site', detail: [expect.stringMatching(why) as string] });
    expect(starts()).toBe(0);
    expect(practice.violations().filter((each) => each.startsWith('restored-stays-apart'))).toEqual([]);
  });

  it('is refused when the bridge has been given a port since', async () => {
    const task = await practice.restored(practice.trial(101));
    practice.openBridge();
    expect(failureIn(await practice.worker().bootGuest(task))).toMatchObject({ fault: 'site' });
    expect(starts()).toBe(0);
  });

  it('of a VM without an agent is not tried: nobody could tell what came of it', async () => {
    const task = await practice.restored(practice.trial(101));
    const guest = practice.staging.site.guests.get(task.as)!;
    guest.options = { ...guest.options, agent: '0' };
    expect(failureIn(await practice.worker().bootGuest(task))).toMatchObject({ fault: 'site' });
    expect(starts()).toBe(0);
  });

  it('of a guest that is not there is the fault of the site', async () => {
    const failed = failureIn(await practice.worker().bootGuest(practice.trial(101)));
    expect(failed).toEqual({
      kind: 'failed',
      fault: 'site',
      why: 'There is no guest 90101 of this trial at the site.',
    });
  });

  it('of a container on a node that cannot be reached over SSH may be tried again', async () => {
    const task = await practice.restored(practice.trial(102));
    const cut = {
      run: () => Promise.reject(Object.assign(new Error('no route'), { kind: 'Unreachable', retryable: true })),
      close: () => Promise.resolve(),
    };
    const nodes = new Map([...practice.deps.nodes.keys()].map((name) => [name, cut]));
    const timing = { ...practice.deps.timing, boot: 50 };
    await expect(practice.worker({ nodes, timing }).bootGuest(task)).rejects.toMatchObject({ type: 'Unreachable' });
    await booted(task);
  });
});

describe('probes', () => {
  it.each([
    ['a VM', 101, '20'],
    ['a container', 102, '20'],
  ])('find what is rotten in %s, which was encrypted so that no server could', async (_, vmid, place) => {
    practice.staging.lab.store.guests.get(vmid)!.writes = { count: 7, at: Date.now() };
    const task = practice.trial(vmid);
    practice.staging.chunksOf(practice.volidOf(task)).damage(place);
    await booted(await practice.restored(task));
    const program = vmid === 101 ? 'pos-selftest' : 'inventory-selftest';
    const { probes, canary } = doneOf(await practice.worker().probeGuest(practice.probing(task, program)));
    expect(probes).toMatchObject([{ ok: false, said: expect.stringContaining('block 20 is damaged') as string }]);
    expect(canary).toMatchObject({ sequence: 7 });
  });

  it.each([
    ['a VM', 101],
    ['a container', 102],
  ])('find the record of %s broken', async (_, vmid) => {
    practice.staging.lab.store.guests.get(vmid)!.writes = { count: 7, at: Date.now() };
    const task = practice.trial(vmid);
    practice.staging.chunksOf(practice.volidOf(task)).damage(canaryPlace(7));
    await booted(await practice.restored(task));
    const { canary } = doneOf(await practice.worker().probeGuest({ ...task, probes: [] }));
    expect(canary).toEqual({ broken: `${CANARY_FILE} is not JSON` });
  });

  it.each([
    ['a VM', 101],
    ['a container', 102],
  ])('of %s whose writer stopped long ago show it, and its trial fails though all else is well', async (_, vmid) => {
    const [sinceAMonth, allowed] = [Date.now() - 30 * 86_400_000, 26 * 3_600_000];
    const trial = {
      probes: practice.probing(practice.trial(vmid), 'true').probes,
      canary: true,
      recordWithin: allowed,
    };
    const judged = async () => {
      const task = await practice.restored(practice.trial(vmid, undefined, practice.staging.backUp(vmid)));
      const { snapshot } = task;
      const worker = practice.worker();
      const restored = await worker.restoreGuest(task);
      const booted = await worker.bootGuest(task);
      const probed = await worker.probeGuest({ ...task, probes: trial.probes });
      doneOf(await worker.removeGuest(task));
      return judgeTrial(trial, { snapshot, restored, booted, probed });
    };
    expect(await judged()).toMatchObject({ result: 'pass' });
    practice.staging.lab.store.guests.get(vmid)!.writes = { count: 7, at: sinceAMonth, stopped: true };
    expect(await judged()).toMatchObject({
      result: 'fail',
      why: expect.stringMatching(
        new RegExp(`at ${new Date(sinceAMonth).toISOString()}, 30 d before its backup of .*allows 26 h`),
      ) as string,
    });
  });

  it.each([
    ['that are not there', ['/usr/local/bin/nonsense'], /nonsense/],
    ['that say no, with their code when they say nothing', ['test', '-f', '/nonsense'], /^exit code 1$/],
  ])('%s are an answer', async (_, command, said) => {
    for (const vmid of [101, 102]) {
      const task = await booted(await practice.restored(practice.trial(vmid)));
      const { probes } = doneOf(await practice.worker().probeGuest(practice.probing(task, ...command)));
      expect(probes).toEqual([{ name: 'self-test', ok: false, said: expect.stringMatching(said) as string }]);
    }
  });

  it('that fail since their node was started anew meanwhile are the fault of the site', async () => {
    const task = await booted(await practice.restored(practice.trial(102)));
    const later = { now: () => new Date(Date.now() + 5_000), proxmox: upFor(1) };
    const failed = failureIn(
      await practice.worker(later).probeGuest(practice.probing(task, 'test', '-f', '/nonsense')),
    );
    expect(failed).toMatchObject({ fault: 'site', why: expect.stringContaining('was started anew') as string });
    doneOf(await practice.worker(later).probeGuest(practice.probing(task, 'true')));
  });

  it('are tried again within their time, also when nobody heard what they said', async () => {
    const task = await booted(await practice.restored(practice.trial(101)));
    const { proxmox } = practice.deps;
    let asked = 0;
    const agentResult = async (...given: Parameters<typeof proxmox.agentResult>) => {
      const result = await proxmox.agentResult(...given);
      // As after a connection that broke: it was told to nobody, and is told no more.
      return (asked += 1) === 1 ? proxmox.agentResult(...given) : result;
    };
    const worker = practice.worker({ proxmox: { ...proxmox, agentResult } });
    const { probes } = doneOf(await worker.probeGuest(practice.probing(task, 'pos-selftest')));
    expect(probes).toMatchObject([{ ok: true }]);
    expect(asked).toBe(4);
  });

  it('tell how long ago the first attempt began', async () => {
    const task = await booted(await practice.restored(practice.trial(101)));
    const one = doneOf(await practice.worker().probeGuest({ ...task, probes: [] }));
    await practice.restart();
    const other = doneOf(await practice.worker().probeGuest({ ...task, probes: [] }));
    expect(other.startedAt).toBe(one.startedAt);
    expect(Date.parse(other.endedAt)).toBeGreaterThanOrEqual(Date.parse(one.endedAt));
  });
});

describe('the record of a guest', () => {
  const canaryIn = async (content: string | undefined) => {
    const task = await booted(await practice.restored(practice.trial(101)));
    const { proxmox } = practice.deps;
    const said = new Map<number, string | undefined>();
    let pid = 0;
    const agentExec = (_node: string, _vmid: number, [program]: readonly string[]) => {
      said.set((pid += 1), program === 'cat' ? content : undefined);
      return Promise.resolve(pid);
    };
    const agentResult = (_node: string, _vmid: number, of: number) =>
      Promise.resolve({ code: content === undefined ? 1 : 0, stdout: said.get(of) ?? '', stderr: '' });
    const worker = practice.worker({ proxmox: { ...proxmox, agentExec, agentResult } });
    return doneOf(await worker.probeGuest({ ...task, probes: [] })).canary;
  };

  it('is none when the guest keeps none', async () => {
    expect(await canaryIn(undefined)).toBeUndefined();
  });

  it.each([
    ['its checksum is of another', JSON.stringify({ at: '2026-11-26T01:00:00.000Z', sequence: 2, sha256: 'ab' })],
    ['something is missing', JSON.stringify({ sequence: 2 })],
    ['it is cut off', '{"at":"2026-'],
  ])('is broken when %s', async (_, content) => {
    expect(await canaryIn(content)).toHaveProperty('broken');
  });
});
