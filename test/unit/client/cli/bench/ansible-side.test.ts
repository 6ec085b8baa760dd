import { describe, expect, it } from 'vitest';
import { limitOf, runStages } from '#client/cli/bench/ansible-side.js';
import type { Playbook } from '#client/cli/bench/playbook-run.js';
import type { LabReport } from '#client/cli/lab-client.js';
import { fakeIo } from '../fake-io.js';

const KILLED = { code: 137, cpuSeconds: undefined };
const DONE = { code: 0, cpuSeconds: 1 };
const report: LabReport = {
  effects: 1,
  rules: [
    { id: 'nothing-twice', title: 'x', violations: [] },
    { id: 'nothing-left-set', title: 'x', violations: [{ store: 'store-002', summary: 'noout is still set on n1' }] },
  ],
};
const lab = {
  journal: async () => [
    { seq: 1, at: '2026-11-24T10:00:00Z', store: 'store-002', node: 'n1', effect: 'ceph.noout.set', by: 'x' },
  ],
  check: async () => report,
};
const stage = (name: string) => ({ name, stores: [name], concurrency: 1 });
const stages = [stage('canary'), stage('wave-1'), stage('wave-2')];
const stores = stages.map(() => ({ nodes: [] }));

/** Each run is told by name; the one of `hangs` ends only when it is killed, as the real one does. */
function playbookThat({ hangs, after }: { hangs?: string; after?: () => void }) {
  const ran: string[] = [];
  let kills = 0;
  let die: ((killed: typeof KILLED) => void) | undefined;
  const playbook: Playbook = {
    async run({ stage: name }) {
      ran.push(String(name));
      if (name !== hangs) return DONE;
      const death = new Promise<typeof KILLED>((resolve) => (die = resolve));
      after?.();
      return death;
    },
    kill() {
      kills += 1;
      die?.(KILLED);
      return die !== undefined;
    },
  };
  return { playbook, ran, kills: () => kills };
}

describe('a playbook with a limit', () => {
  it('is killed when that is reached, starts nothing more, and says so', async () => {
    const limit = new AbortController();
    const { playbook, ran, kills } = playbookThat({ hangs: 'stage_wave_1', after: () => limit.abort() });
    const side = await runStages({
      io: fakeIo(),
      playbook,
      lab,
      stores,
      stages,
      limit: { patience: 2.5, reached: limit.signal },
    });
    expect(side.ended).toEqual({ patience: 2.5 });
    expect(kills()).toBe(1);
    expect(ran).toEqual(['stage_canary', 'stage_wave_1']);
    expect(side.outcome).toMatchObject({ broken: {}, rules: 1, leftSet: ['store-002/n1 noout'] });
    expect(side).not.toHaveProperty('cpuSeconds');
  });

  it('starts no stage after it, also when the limit was reached between two', async () => {
    const limit = new AbortController();
    const { playbook, ran } = playbookThat({});
    const io = fakeIo({ err: () => limit.abort() });
    const side = await runStages({
      io,
      playbook,
      lab,
      stores,
      stages,
      limit: { patience: 2.5, reached: limit.signal },
    });
    expect(ran).toEqual(['stage_canary']);
    expect(side.ended).toEqual({ patience: 2.5 });
  });

  it('has one whatever the train took, which is no round number', async () => {
    const { reached } = limitOf({ factor: 1.5, seconds: 0.0123456 });
    expect(reached.aborted).toBe(false);
    await new Promise((resolve) => reached.addEventListener('abort', resolve));
  });

  it('is not called ended when it was done before', async () => {
    const { playbook, ran } = playbookThat({});
    const limit = { patience: 2.5, reached: new AbortController().signal };
    const side = await runStages({ io: fakeIo(), playbook, lab, stores, stages, limit });
    expect(ran).toHaveLength(3);
    expect(side.ended).toBeUndefined();
    expect(side.outcome.broken).toEqual({ 'nothing-left-set': 1 });
  });
});
