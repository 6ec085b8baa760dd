import type { LabEntry } from '#client/cli/lab-client.js';
import type { GuestBackupRow, NightGuestRow } from '#domain/messages/ledger.js';
import type { PbsSnapshot } from '#lab/control/snapshot.js';
import { during, endOf, found, ledgerIsWhatHappened, startOf, sumIsThePlan, type Finding } from './findings.js';
import { DISTURBING } from './judge-train.js';
import type { NightSeen, Operation, Seen } from './seen.js';

export function judgeNight(seen: Seen, night: NightSeen): Finding[] {
  const { operations, report, doing } = night;
  return [
    ...found('night-ends', report ? [] : [`The night did not end: ${doing ?? 'no view'}`]),
    ...found('sum', sumIsThePlan(night, seen.plan.stores)),
    ...found('ledger', ledgerIsWhatHappened(night)),
    ...found(
      'dumped-twice',
      seen.stores.flatMap((store) => dumpedTwice(store, night, seen)),
    ),
    ...found('in-window', nothingBeginsAfterIt(seen, night)),
    ...found('missed', whoIsMissedWasNotReached(seen, night)),
    ...found('on-record', dumpsBelongToNights(seen, night)),
    ...found('dumped-in-peace', dumpedInPeace(seen)),
    ...found(
      'one-outcome',
      operations.flatMap((operation) => eachGuestOnce(operation, seen, night)),
    ),
    ...found('claimed', claimsAreOnTheServers(seen, night)),
    ...found(
      'unclaimed',
      operations.flatMap((operation) => whatIsProvenIsClaimed(operation, seen, night)),
    ),
  ];
}

/** One vzdump, as the journal has it. */
interface Dump {
  begun: LabEntry;
  ended: LabEntry | undefined;
  vmids: number[];
  /** Guests of which it made a snapshot. */
  done: number[];
}

const numbers = (value: unknown): number[] => (Array.isArray(value) ? value.map(Number) : []);

export function dumpsOf(journal: readonly LabEntry[], store: string): Dump[] {
  const own = journal.filter((entry) => entry.store === store);
  return own
    .filter(({ effect }) => effect === 'backup.start')
    .map((begun) => {
      const ended = own.find(
        ({ effect, detail }) => effect === 'backup.done' && detail?.['upid'] === begun.detail?.['upid'],
      );
      return {
        begun,
        ended,
        vmids: numbers(begun.detail?.['vmids']),
        done: numbers(ended?.detail?.['done']),
      };
    });
}

/**
 * In one night, whatever its rounds, a guest is dumped again only when the dump before has ended without a snapshot of
 * it: so far its retries go, whatever it failed for. Of a dump whose node was lost nobody can tell how it ended.
 */
function dumpedTwice(store: string, { operations }: NightSeen, { journal }: Seen): string[] {
  const own = operations.filter((one) => one.store === store);
  const dumps = dumpsOf(journal, store).filter(({ begun }) => own.some((operation) => during(operation, begun)));
  return dumps.flatMap((dump, at) =>
    dump.vmids.flatMap((vmid) => {
      const before = dumps.slice(0, at).findLast(({ vmids }) => vmids.includes(vmid));
      if (!before) return [];
      const hasEnded = before.ended !== undefined && before.ended.seq < dump.begun.seq;
      const isThere = hasEnded && before.done.includes(vmid);
      if (!isThere && (hasEnded || wasLost(journal, before.begun, dump.begun))) return [];
      const why = hasEnded ? 'though the one before has made a snapshot of it' : 'while the one before runs';
      return [`${store}: a second vzdump of guest ${vmid} was started ${why} (entry ${dump.begun.seq})`];
    }),
  );
}

/** What was asked for in time may be carried out a moment later. */
const ASKED_MS = 5_000;

function nothingBeginsAfterIt({ journal, stores }: Seen, { closes }: NightSeen): string[] {
  if (closes === undefined) return [];
  return stores
    .flatMap((store) => dumpsOf(journal, store))
    .filter(({ begun }) => Date.parse(begun.at) > Date.parse(closes) + ASKED_MS)
    .map(({ begun: { seq, store, at } }) => `${store}: a vzdump was started at ${at}, after ${closes} (entry ${seq})`);
}

/** A store whose turn did not come is missed, and nothing else is. */
function whoIsMissedWasNotReached(
  { journal, stores }: Seen,
  { closes, rows, operations, report }: NightSeen,
): string[] {
  if (!report) return [];
  return stores.flatMap((store) => {
    const [newest] = rows.filter((row) => row.store === store).toSorted((a, b) => b.round - a.round);
    const isMissed = newest?.outcome === 'missed';
    const wasBegun = operations.some((one) => one.store === store);
    if (isMissed && closes === undefined) return [`${store} is missed in a night without a window`];
    if (isMissed && newest.round === 0 && dumpsOf(journal, store).length > 0)
      return [`${store} is missed, and was dumped`];
    if (closes !== undefined && report.state === 'done' && !wasBegun && newest?.outcome !== 'missed')
      return [`${store} was not begun, and the ledger says ${newest?.outcome ?? 'nothing'}`];
    return [];
  });
}

const wasLost = (journal: readonly LabEntry[], from: LabEntry, to: LabEntry): boolean =>
  journal.some(
    ({ seq, effect, store, node }) =>
      effect === 'node.down' && store === from.store && node === from.node && seq > from.seq && seq < to.seq,
  );

function dumpsBelongToNights({ journal, stores, running }: Seen, { operations }: NightSeen): string[] {
  return stores
    .flatMap((store) => dumpsOf(journal, store))
    .filter(({ begun }) => !operations.some((one) => one.store === begun.store && during(one, begun)))
    .filter(({ begun }) => !running.some((id) => id.includes(`/${begun.store} `)))
    .map(({ begun: { seq, store, node } }) => `Nobody on record dumped guests on ${node} of ${store} (entry ${seq})`);
}

/** While a guest is dumped nobody takes a node of its store out of service. */
function dumpedInPeace({ journal, stores }: Seen): string[] {
  return stores.flatMap((store) =>
    dumpsOf(journal, store).flatMap(({ begun, ended }) =>
      journal
        .filter((entry) => entry.store === store && entry.by !== 'lab' && DISTURBING.includes(entry.effect))
        .filter(({ seq }) => seq > begun.seq && seq < (ended?.seq ?? Infinity))
        .map(({ seq, effect, node }) => `${effect} on ${node} of ${store} while guests were dumped (entry ${seq})`),
    ),
  );
}

/** A store that succeeded has each of its guests proven; of any other store, each guest has its own word, or none has. */
function eachGuestOnce(
  { store, operationId, outcome }: Operation,
  { now }: Seen,
  { guests, report }: NightSeen,
): string[] {
  if (!report) return [];
  const rows = guests.filter((row) => row.store === store);
  const there = (now.find(({ id }) => id === store)?.guests ?? []).map(({ vmid }) => vmid).toSorted();
  const told = rows.map(({ vmid }) => vmid).toSorted();
  const isWhole = told.join() === there.join();
  if (outcome !== 'succeeded' && told.length === 0) return [];
  if (!isWhole)
    return [`${operationId} ended ${outcome}; it told of guests ${told.join(', ')}, there are ${there.join(', ')}`];
  const unproven = rows.filter(({ result }) => result !== 'proven');
  return outcome === 'succeeded'
    ? unproven.map(({ vmid, result }) => `${operationId} succeeded, and guest ${vmid} is not proven: ${result}`)
    : [];
}

const instant = (snapshot: string): number => Date.parse(snapshot.split('/')[2] ?? '');

/** The snapshot of that guest and moment, when the server has it whole and has itself verified it. */
function proven(
  { servers }: Seen,
  { id, ns, vmid, at }: { id: string; ns: string; vmid: number; at: string },
): PbsSnapshot['datastores'][number]['snapshots'][number] | undefined {
  const held = servers.find((server) => server.id === id)?.datastores.flatMap(({ snapshots }) => snapshots) ?? [];
  return held.find(
    (one) =>
      one.ns === ns &&
      one.name.split('/')[1] === String(vmid) &&
      instant(one.name) === Date.parse(at) &&
      one.finished &&
      one.verified === 'ok' &&
      one.verifiedBy === `pbs-${id}`,
  );
}

/** Every guest that the ledger calls backed up has that snapshot, from this night, where the ledger says. */
function claimsAreOnTheServers(seen: Seen, { guests, known, operations }: NightSeen): string[] {
  const here = (store: string) => ({ id: store, ns: '' });
  const there = (store: string) => ({ id: 'central', ns: store });
  const ofNight = ({ store, vmid, result, snapshotAt, offsite }: NightGuestRow): string[] => {
    if (result !== 'proven') return [];
    const who = `The night calls guest ${vmid} of ${store} backed up`;
    if (snapshotAt === undefined) return [`${who}, and names no snapshot`];
    const made = seen.journal.some(
      ({ store: at, effect, guest, detail }) =>
        at === store &&
        effect === 'snapshot.create' &&
        guest === vmid &&
        instant(String(detail?.['snapshot'])) === Date.parse(snapshotAt),
    );
    return [
      ...(made ? [] : [`${who} at ${snapshotAt}, and the journal shows no such snapshot`]),
      ...(proven(seen, { ...here(store), vmid, at: snapshotAt })
        ? []
        : [`${who} at ${snapshotAt}, its server does not`]),
      ...(offsite && !proven(seen, { ...there(store), vmid, at: snapshotAt })
        ? [`${who} in the second place at ${snapshotAt}, the server there does not`]
        : []),
      ...(operations.some((one) => one.store === store) ? [] : [`${who}, and no operation on that store is known`]),
    ];
  };
  const ofGuest = ({ store, vmid, local, offsite }: GuestBackupRow): string[] =>
    [
      { copy: local, where: here(store) },
      { copy: offsite, where: there(store) },
    ].flatMap(({ copy, where }) =>
      copy?.provenAt === undefined || proven(seen, { ...where, vmid, at: copy.provenAt })
        ? []
        : [
            `The ledger has a proven backup of guest ${vmid} of ${store} at ${where.id} from ${copy.provenAt}; it has not`,
          ],
    );
  return [...guests.flatMap(ofNight), ...known.flatMap(ofGuest)];
}

/** A reading that was begun before something was verified does not know of it. */
const READING_MS = 2_000;

/** What the journal shows dumped and verified in this operation, before it read the server, it knows of. */
function whatIsProvenIsClaimed(
  operation: Operation,
  { journal }: Seen,
  { guests, known, report }: NightSeen,
): string[] {
  if (!report) return [];
  const { store, operationId } = operation;
  const own = journal.filter((entry) => entry.store === store && Date.parse(entry.at) >= startOf(operation));
  const made = own.filter(({ effect, at }) => effect === 'snapshot.create' && Date.parse(at) <= endOf(operation));
  return made.flatMap(({ guest, detail }) => {
    const name = detail?.['snapshot'];
    const row = guests.find((one) => one.store === store && one.vmid === guest);
    if (!row) return [`${operationId} made a snapshot of guest ${guest}, and no night tells of that guest`];
    const readAt = known.find((one) => one.store === store && one.vmid === guest)?.local?.readAt;
    const verified = own.findLast(
      ({ effect, detail: said }) => effect === 'snapshot.verify' && said?.['snapshot'] === name,
    );
    const isProven = verified?.detail?.['state'] === 'ok';
    const wasRead = readAt !== undefined && verified && Date.parse(verified.at) < Date.parse(readAt) - READING_MS;
    if (!isProven || !wasRead || row.result === 'proven') return [];
    return [`${operationId}: guest ${guest} was backed up and verified, and the night says "${row.result}"`];
  });
}
