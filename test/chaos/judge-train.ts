import type { LabEntry } from '#client/cli/lab-client.js';
import { during, found, ledgerIsWhatHappened, sumIsThePlan, type Finding } from './findings.js';
import { judgeSteering } from './judge-steering.js';
import { judgeWayBack } from './judge-way-back.js';
import { secondId, type Operation, type Seen, type TrainSeen } from './seen.js';

export function judgeTrain(seen: Seen, train: TrainSeen): Finding[] {
  // What a second centre did is in nobody's ledger.
  const own = train.operations.filter(({ workflowId, store }) => workflowId !== secondId(store));
  return [
    ...found('train-ends', train.report ? [] : [`The train did not end: ${train.doing ?? 'no view'}`]),
    ...found('sum', sumIsThePlan(train, seen.plan.stores)),
    ...found('ledger', ledgerIsWhatHappened({ ...train, operations: own })),
    ...found(
      'success',
      train.operations.flatMap((operation) => isInTheJournal(operation, seen)),
    ),
    ...found('on-record', effectsBelongToOperations(seen, train)),
    ...found('build-once', builtOnce(train, own)),
    ...judgeSteering(seen, train),
    ...(train.wayBack ? judgeWayBack(seen, train, train.wayBack) : []),
  ];
}

function isInTheJournal(operation: Operation, { journal, now }: Seen): string[] {
  const { store, operationId, outcome, nodesPatched = 0, endedAt } = operation;
  const wrong: string[] = [];
  const own = journal.filter((entry) => entry.store === store);
  const home = new Set(
    own
      .filter((entry) => entry.effect === 'ha.maintenance.disable' && during(operation, entry))
      .map(({ node }) => node),
  );
  if (nodesPatched > home.size)
    wrong.push(`${operationId} claims ${nodesPatched} nodes, the journal shows ${home.size} that came back to service`);
  if (outcome !== 'succeeded') return wrong;
  for (const { name } of now.find(({ id }) => id === store)?.nodes ?? []) {
    const before = own.filter((entry) => entry.node === name && Date.parse(entry.at) <= Date.parse(endedAt ?? ''));
    const installed = before.findLast(({ effect }) => effect === 'packages.install');
    const booted = before.findLast(({ effect }) => effect === 'node.up');
    if (!installed || !booted || booted.seq < installed.seq)
      wrong.push(`${operationId} succeeded, but the journal does not show ${name} upgraded and then booted`);
  }
  return [...wrong, ...loadedIsLinked(operation, own)];
}

/** A link that was switched and not followed by a reload names a file that its guest never read. */
function loadedIsLinked({ operationId, endedAt = '' }: Operation, own: readonly LabEntry[]): string[] {
  const before = own.filter(({ at }) => Date.parse(at) <= Date.parse(endedAt));
  const links = new Map<string, LabEntry>();
  for (const entry of before.filter(({ effect }) => effect === 'guest.config.switch'))
    links.set(`${entry.guest} ${String(entry.detail?.['path'])}`, entry);
  const isLoaded = ({ seq, guest, detail }: LabEntry): boolean =>
    before.some(
      (entry) =>
        entry.seq > seq &&
        entry.guest === guest &&
        entry.effect === 'guest.config.reload' &&
        (entry.detail?.['targets'] as unknown[]).includes(detail?.['path']),
    );
  return [...links.values()]
    .filter((link) => !isLoaded(link))
    .map(
      ({ seq, guest }) =>
        `${operationId} succeeded, and guest ${guest} did not load what it was linked to (entry ${seq})`,
    );
}

/** What disturbs a node; whoever does it has to be on record. */
export const DISTURBING = ['ha.maintenance.enable', 'packages.begin', 'node.reboot.request'];

function effectsBelongToOperations({ journal, running }: Seen, { operations }: TrainSeen): string[] {
  return journal
    .filter(({ effect, by }) => DISTURBING.includes(effect) && by !== 'lab')
    .filter((entry) => !operations.some((operation) => operation.store === entry.store && during(operation, entry)))
    .filter(({ store }) => !running.some((id) => id.includes(`/${store} `)))
    .map(({ seq, effect, store, node }) => `Nobody on record did ${effect} on ${node} of ${store} (entry ${seq})`);
}

/** However often its worker was killed, a train has one release, and that is what its stores run. */
function builtOnce({ builds, release, report }: TrainSeen, operations: readonly Operation[]): string[] {
  if (!report) return [];
  const others = operations.filter((operation) => operation.outcome === 'succeeded' && operation.release !== release);
  return [
    ...(builds.length === 1 ? [] : [`The release was built ${builds.length} times`]),
    ...others.map(({ operationId, release: its }) => `${operationId} brought ${its}, the train is of ${release}`),
  ];
}
