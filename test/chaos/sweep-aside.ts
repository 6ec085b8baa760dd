import type { JanitorReport } from '#domain/messages/janitor.js';
import { CONTROL_QUEUE, janitorWorkflowId, storeWorkflowId, trainWorkflowId } from '#domain/naming.js';
import { countByNode, givenPractice, NEXT_WEEK, type EditableFleet, type Practice } from '../support/practice.js';
import { approving, takeGoodRelease, takeRelease } from './before.js';
import { FLEET, SPEED } from './plan.js';

/** The sweeps that need a ground of their own: a release to go back from, an operation that nobody goes on with. */
export interface AsideSweep {
  given(options: { dir: string; start: NonNullable<Parameters<typeof givenPractice>[0]['start']> }): Promise<Practice>;
  /** What is done while workers are killed. Answers what is wrong with how it ended, in sentences. */
  swept(practice: Practice): Promise<string[]>;
}

const LIMIT_MS = 1_200_000;

export const ROLLBACK_SWEEP: AsideSweep = {
  async given({ dir, start }) {
    const practice = await givenPractice({ ...{ dir, start, speed: SPEED, stores: 2 }, edit: patient });
    await takeGoodRelease(practice, LIMIT_MS);
    await practice.editFleet((fleet) => void Object.assign(fleet.release, NEXT_WEEK));
    await takeRelease(practice, LIMIT_MS);
    return practice;
  },
  async swept(practice) {
    const before = (await practice.lab.journal(0)).at(-1)?.seq ?? 0;
    const handle = await practice.client.workflow.start('rollbackTrain', {
      taskQueue: CONTROL_QUEUE,
      workflowId: trainWorkflowId(FLEET),
      args: [{ fleet: FLEET, by: 'chaos', reason: 'the sweep' }],
    });
    const report = await approving(practice, handle, LIMIT_MS);
    const stores = Object.values(await practice.stages()).flat();
    const wrong: string[] = [];
    if (report?.state !== 'rolled back' || report.tally.rolledBack !== stores.length)
      wrong.push(`The rollback ended so: ${JSON.stringify(report)}`);
    for (const store of stores) {
      const since = (await practice.effects(store)).filter(({ seq }) => seq > before);
      wrong.push(...notOnce(store, since, ['node.reboot.request', 'packages.install']));
    }
    return [...wrong, ...(await practice.violations())];
  },
};

/** Slow enough that the store does not look after itself before the janitor comes. */
const JANITOR_SPEED = 20;

export const JANITOR_SWEEP: AsideSweep = {
  async given({ dir, start }) {
    const practice = await givenPractice({ ...{ dir, start, speed: JANITOR_SPEED, stores: 2 }, edit: patient });
    await practice.startTrain();
    await practice.until('to be asked', ({ hold }) => hold?.reason === 'ApprovalPending');
    await practice.approve();
    const store = await pilotOf(practice);
    await practice.storeIs('a node out of service', store, isMarked);
    await practice.client.workflow.getHandle(storeWorkflowId(store)).terminate('the sweep');
    return practice;
  },
  async swept(practice) {
    const look = () =>
      practice.client.workflow.execute<(input: object) => Promise<JanitorReport>>('janitor', {
        taskQueue: CONTROL_QUEUE,
        workflowId: janitorWorkflowId(FLEET, 'by-hand'),
        args: [{ fleet: FLEET }],
      });
    const store = await pilotOf(practice);
    const wrong: string[] = [];
    const first = await look();
    if (first.found.some(({ kind }) => kind === 'failed'))
      wrong.push(`The janitor failed at a store: ${JSON.stringify(first.found)}`);
    // Undone by an attempt that could not tell of it: then the next look finds the store clean.
    const second = await look();
    if (second.clean !== second.stores) wrong.push(`The janitor left something: ${JSON.stringify(second.found)}`);
    if (isMarked(await practice.snapshot(store))) wrong.push(`${store} has a node out of service.`);
    const effects = await practice.effects(store);
    wrong.push(
      ...['ha.maintenance', 'ceph.noout'].flatMap((mark) => {
        const [set, unset] = mark === 'ceph.noout' ? ['set', 'unset'] : ['enable', 'disable'];
        const counts = [set, unset].map((what) => JSON.stringify(countByNode(effects, `${mark}.${what}`)));
        return counts[0] === counts[1] ? [] : [`${mark} of ${store}: set ${counts[0]}, taken back ${counts[1]}`];
      }),
    );
    return [...wrong, ...(await practice.violations())];
  },
};

const pilotOf = async (practice: Practice): Promise<string> => (await practice.stages())['canary']?.[0] ?? '';

const isMarked = ({ nodes }: { nodes: { maintenance: boolean; noout: boolean }[] }): boolean =>
  nodes.some(({ maintenance, noout }) => maintenance && noout);

/** Nobody is given up for the time in which a heartbeat is missed and a worker comes back. */
function patient(fleet: EditableFleet): void {
  const patience = { offlineAfter: '60s', storeTimeout: '30m', stageTimeout: '40m' };
  fleet.stages = fleet.stages.map((stage) => ({ ...stage, soak: '0s', limits: { ...stage.limits, ...patience } }));
  Object.assign(fleet['janitor'] as object, { offlineAfter: patience.offlineAfter });
}

function notOnce(store: string, entries: Parameters<typeof countByNode>[0], effects: readonly string[]): string[] {
  return effects.flatMap((effect) => {
    const counts = Object.values(countByNode(entries, effect));
    return counts.length === 3 && counts.every((count) => count === 1)
      ? []
      : [`${store}: ${effect} on its three nodes: ${counts.join(', ') || 'never'}`];
  });
}
