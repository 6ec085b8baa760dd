import { decideVerified } from '#domain/decide-store.js';
import { keptOn } from '#domain/downgrade.js';
import type { Guest } from '#domain/fleet.js';
import { decideBaseline, lacksBaseline } from '#domain/gate-baseline.js';
import { surveyTaskSchema } from '#domain/messages/survey.js';
import { surveyOf } from '#domain/survey.js';
import {
  helloTaskSchema,
  inspectTaskSchema,
  nodeTaskSchema,
  probeTaskSchema,
  PROTOCOL_RANGE,
  storeTaskSchema,
  sweepTaskSchema,
  type ProbeTask,
  type StoreActivities,
  type StoreTask,
} from '#domain/messages/store.js';
import { beating } from '../beating.js';
import { doorOf } from '../door.js';
import { translated } from '../to-failure.js';
import { pinsOf, type Opened, type StoreDeps } from './deps.js';
import { gatherFacts, gatherPreflight } from './facts.js';
import { applyConfig } from './guest-config.js';
import { createNodeSteps } from './node-steps.js';
import { ReleaseRefused, type Operation } from './operation.js';
import { stagePackages } from './packages.js';
import { probeGuests, probeStore } from './probe.js';

/**
 * What a store does when it is asked. Each task is judged at the door; each effect runs through `operation.step`,
 * which is where "once" comes from. The procedures themselves are in the files beside this one.
 */
export function createStoreActivities(deps: StoreDeps, operation: Operation): StoreActivities {
  const steps = createNodeSteps(deps, operation);
  const { state } = deps;

  const mine = doorOf(deps.store);

  return translated<StoreActivities>({
    hello: async (raw) => {
      mine(helloTaskSchema, raw);
      const held = state.operation();
      const { current } = state.trust();
      const selfUndo = operation.selfUndo();
      return {
        store: deps.store,
        protocol: PROTOCOL_RANGE,
        ...(held?.open ? { operation: held.operationId } : {}),
        ...(selfUndo ? { selfUndo } : {}),
        ...(current
          ? { release: { version: current.version, sequence: current.sequence, manifest: current.manifest } }
          : {}),
        clock: deps.now().toISOString(),
      };
    },

    /** Retry-safe: an operation that is open already is found open. */
    openOperation: (raw) =>
      beating(async () => {
        const answer = await operation.open(mine(storeTaskSchema, raw));
        return answer.kind === 'done' ? { ...answer, maxMaintenance: deps.timing.maxMaintenance } : answer;
      }),

    /** Retry-safe: only looks, and the baseline is a step. */
    readFacts: (raw) =>
      beating(async () => {
        const task = mine(storeTaskSchema, raw);
        const opened = await operation.release(task);
        const { guests, nodes: expected } = opened.artifact.store;
        const nodes = expected.map(({ name }) => name);
        const pins = pinsOf(opened, task.permit !== undefined);
        const facts = await gatherPreflight(deps, nodes, Object.keys(pins.packages));
        // A store that goes back is ill: what it was like before that is what it is to be compared with.
        const notes = pins.back ? facts.nodes.flatMap((node) => keptOn(node, pins)) : await keepBaseline(task, guests);
        return { facts, nodes, ...pins, ours: operation.ours(), ...(notes.length > 0 ? { notes } : {}) };
      }),

    stagePackages: (raw) =>
      beating(async () => {
        const { nodes, ...rest } = raw;
        const task = mine(storeTaskSchema, rest);
        return operation.step(task, 'stage packages', async () =>
          stagePackages(deps, { ...task, nodes }, await operation.release(task)),
        );
      }),

    drainNode: (raw) => nodeStep(raw, 'drain', steps.drain),
    upgradeNode: (raw) => nodeStep(raw, 'upgrade', steps.upgrade),
    rebootNode: (raw) => nodeStep(raw, 'reboot', steps.reboot),
    rejoinNode: (raw) => nodeStep(raw, 'rejoin', steps.rejoin),

    applyConfig: (raw) =>
      beating(async () => {
        const task = mine(storeTaskSchema, raw);
        return operation.step(task, 'apply config', async () => {
          await begin(task);
          return applyConfig(deps, await operation.release(task));
        });
      }),

    /** Only looks. Its asking is a sign of life of the operation, as of every step. */
    verifyStore: (raw) =>
      beating(async () => {
        const task = mine(storeTaskSchema, raw);
        const opened = await operation.release(task);
        const nodes = opened.artifact.store.nodes.map(({ name }) => name);
        const pins = pinsOf(opened, task.permit !== undefined);
        const facts = await gatherFacts(deps, {
          nodes,
          stoppable: [],
          packages: Object.keys(pins.packages),
          managers: true,
        });
        const decision = decideVerified(facts, { ...pins, expectedNodes: nodes, ours: operation.ours(), work: [] });
        return decision.kind === 'proceed' ? { kind: 'done' } : { kind: 'failed', stop: decision.stop };
      }),

    /** Retry-safe: what is taken back already is not marked any more, and closing twice changes nothing. */
    closeOperation: (raw) =>
      beating(async () => {
        const { outcome, ...rest } = raw;
        return operation.close(mine(storeTaskSchema, rest), outcome);
      }),

    probeStore: (raw) =>
      beating(async () => {
        const task = mine(probeTaskSchema, raw);
        await operation.learnLastGood();
        return probeStore(deps, await releaseToProbe(task));
      }),

    /** Only looks. */
    surveyStore: (raw) =>
      beating(async () => {
        const { nodes, wanted } = mine(surveyTaskSchema, raw);
        const facts = await gatherPreflight(deps, nodes, Object.keys(wanted.packages));
        const { current } = state.trust();
        const held = state.operation();
        return {
          ...(current ? { release: current.version } : {}),
          ...(held?.open ? { busy: held.operationId } : {}),
          ...surveyOf(facts, { ...wanted, expectedNodes: nodes, ours: operation.ours() }),
        };
      }),

    /** Only looks. */
    inspectStore: (raw) =>
      beating(() => {
        mine(inspectTaskSchema, raw);
        return operation.inspect();
      }),

    /** Retry-safe: what is taken back is not marked any more, and the answer names it all the same. */
    sweepStore: (raw) => beating(() => operation.sweep(mine(sweepTaskSchema, raw))),
  });

  /** Says what the gate will lack. */
  async function keepBaseline(task: StoreTask, guests: readonly Guest[]): Promise<string[]> {
    const { release } = task;
    const answer = await operation.step<{ notes: string[] }>(task, 'baseline', async () => {
      const decision = decideBaseline(release, state.trust());
      if (decision === 'take')
        await state.saveTrust({ baseline: await probeGuests(deps, guests), baselineOf: release.sequence });
      if (decision === 'none') await state.saveTrust({ baseline: [] });
      return { kind: 'done', notes: decision === 'none' ? [lacksBaseline(release)] : [] };
    });
    return answer.kind === 'done' ? answer.notes : [];
  }

  /** On disk before the first effect: from then on what is measured here may be of the release. */
  async function begin({ release, permit }: StoreTask): Promise<void> {
    if (!permit && state.trust().begun !== release.sequence) await state.saveTrust({ begun: release.sequence });
  }

  /** The release that the store runs, or why it cannot be compared with one; the rest of a probe is told all the same. */
  async function releaseToProbe(task: ProbeTask): Promise<Opened | string> {
    const { current } = state.trust();
    if (!current) return 'the release of this store is not known to its worker';
    if (task.manifest !== undefined && task.manifest !== current.manifest)
      return `the store was given release ${current.version}, not the one that is asked about`;
    try {
      return await operation.release(probeAsTask(task, current));
    } catch (error) {
      if (!(error instanceof ReleaseRefused)) throw error;
      return `release ${current.version} is refused by now (${error.kind}): ${error.message}`;
    }
  }

  async function nodeStep<T extends Parameters<StoreActivities['drainNode']>[0], Answer>(
    raw: T,
    name: string,
    run: (task: T, key: string) => Promise<Answer>,
  ): Promise<Answer> {
    return beating(() => {
      const task = mine(nodeTaskSchema, raw) as T;
      return operation.step(task, `${name} ${task.node}`, async (key) => {
        await begin(task);
        return run(task, key) as never;
      }) as Promise<Answer>;
    });
  }
}

/** A probe asks about a release outside of any operation; only these fields of a task are looked at to verify one. */
const probeAsTask = (
  { store, fleet, protocol }: { store: string; fleet: string; protocol: number },
  release: StoreTask['release'],
): StoreTask => ({
  protocol,
  store,
  fleet,
  release,
  train: 'probe',
  stage: 'probe',
  operationId: 'probe',
  fence: 0,
});
