import { backupWorkflowId, storeWorkflowId } from '#domain/naming.js';
import { openLedgerReader } from '#systems/ledger/client.js';
import { CliFailure } from '../failure.js';
import { followRun, notSucceededLines } from '../fleet-run.js';
import type { Io } from '../io.js';
import { holds, renderReport, violationsOf } from '../render-lab.js';
import { withChild, type NightRow } from './figures.js';
import { withOwnService } from './own-service.js';
import type { MeasureOptions } from './train-side.js';

/** As many as a store of some size has: one more than the three that the service configures. */
const GUESTS_PER_STORE = 4;

/** One calm night over a fleet of its own, from nothing: each store is dumped, verified, pruned, sent and read back. */
export const measureNight = (io: Io, { stores, speed }: Pick<MeasureOptions, 'stores' | 'speed'>): Promise<NightRow> =>
  withOwnService(io, { stores, speed, guests: GUESTS_PER_STORE }, async (own) => {
    const { repo, operations, lab, service } = own;
    const run = await operations.nights.start({ fleet: repo.fleet.fleet, now: true, requestedBy: 'bench' });
    const view = await followRun({ ...io, terminal: false, out: (line) => io.err(line) }, {}, operations.nights, run);
    const processes = own.processes();
    if (view.endedAt === undefined) throw new CliFailure(`The night did not reach its end: ${view.doing}`);
    const check = await lab.check();
    for (const line of [...notSucceededLines(view), ...(holds(check) ? [] : renderReport(check))]) io.err(line);
    const ledger = openLedgerReader(service.databaseUrl, { connections: 1 });
    try {
      const proven = await ledger.nightGuests(view.night);
      const [last] = repo.stores.slice(-1);
      const store = last?.id ?? '';
      return {
        stores,
        speed,
        succeeded: view.tally.succeeded,
        guests: repo.stores.reduce((sum, { guests }) => sum + guests.length, 0),
        proven: proven.filter(({ result, offsite }) => result === 'proven' && offsite === true).length,
        seconds: (Date.parse(view.endedAt) - Date.parse(view.startedAt)) / 1_000,
        store: withChild(await own.costOf(backupWorkflowId(store)), await own.costOf(storeWorkflowId(store))),
        night: await own.runCostOf(run.workflowId),
        waves: await Promise.all((await own.childrenOf(run.workflowId)).map(own.runCostOf)),
        effects: check.effects,
        violations: violationsOf(check),
        processes,
      };
    } finally {
      await ledger.close();
    }
  });
