import { storeWorkflowId } from '#domain/naming.js';
import { followTrain } from '../demo-run.js';
import type { Io } from '../io.js';
import { violationsOf } from '../render-lab.js';
import { journalFigures } from './effects.js';
import type { BenchRow } from './figures.js';
import { withOwnService } from './own-service.js';
import { outcomeOf, type Side } from './side.js';
import { strikeOnce } from './strike.js';

export interface MeasureOptions {
  stores: number;
  speed: number;
  /** Kill the centre when so large a share of all nodes was asked to reboot. */
  killAt?: number;
}

/** One train over a fleet of its own, from nothing; calm but for the death of the control worker, if that is asked for. */
export const measureTrain = (
  io: Io,
  { stores, speed, killAt }: MeasureOptions,
): Promise<{ row: BenchRow; side: Side }> =>
  withOwnService(io, { stores, speed }, async (own) => {
    const { repo, operations, lab, service } = own;
    const nodes = repo.stores.reduce((sum, store) => sum + store.nodes.length, 0);
    const over = new AbortController();
    const striking =
      killAt === undefined
        ? undefined
        : strikeOnce(lab, { nodes, at: killAt, kill: () => service.kill('control', 'SIGKILL') }, over.signal);
    await operations.startTrain({ fleet: repo.fleet.fleet, requestedBy: 'bench' });
    const { view, took } = await followTrain({
      io: { ...io, terminal: false },
      operations,
      lab,
      fleet: repo.fleet.fleet,
      speed,
      calm: true,
      killControlWorker: () => false,
      say: (line) => io.err(line),
    }).finally(() => over.abort());
    const struck = await striking;
    const [last] = repo.stores.slice(-1);
    const waves = view.stages.flatMap(({ wave }) => wave ?? []);
    const check = await lab.check();
    const entries = await lab.journal(0);
    const processes = own.processes();
    const row = {
      stores,
      speed,
      succeeded: view.stages.reduce((sum, { tally }) => sum + tally.succeeded, 0),
      seconds: took / 1_000,
      store: await own.costOf(storeWorkflowId(last?.id ?? '')),
      waves: await Promise.all(waves.map(own.runCostOf)),
      effects: check.effects,
      violations: violationsOf(check),
      processes,
    };
    const ownSeconds = processes.filter(({ name }) => name !== 'lab').map(({ cpuSeconds }) => cpuSeconds ?? NaN);
    const side: Side = {
      name: 'Edge Governor',
      stores,
      nodes,
      seconds: row.seconds,
      // What a killed process had used is not told any more.
      ...(killAt === undefined ? { cpuSeconds: ownSeconds.reduce((sum, seconds) => sum + seconds, 0) } : {}),
      outcome: outcomeOf(entries, check, { nodesPerStore: nodes / stores }),
      journal: journalFigures(entries),
      ...(struck ? { kill: struck } : {}),
    };
    return { row, side };
  });
