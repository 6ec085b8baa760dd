import type { LabEntry } from '#client/cli/lab-client.js';
import { TEST_IDS } from '#domain/messages/restore.js';
import type { RestoreTestRow } from '#domain/messages/ledger.js';
import { during, found, ledgerIsWhatHappened, sumIsThePlan, type Finding } from './findings.js';
import type { Operation, RestoresSeen, Seen } from './seen.js';

export function judgeRestores(seen: Seen, restores: RestoresSeen): Finding[] {
  const { report, doing, operations, tests } = restores;
  return [
    ...found('restores-end', report ? [] : [`The restore tests did not end: ${doing ?? 'no view'}`]),
    ...found('sum', sumIsThePlan(restores, seen.stores.filter((store) => wantedOf(store, seen).length > 0).length)),
    ...found('ledger', ledgerIsWhatHappened(restores)),
    ...found('nothing-restored-left', nothingLeft(seen)),
    ...found('restored-once', restoredOnce(seen, restores)),
    ...found(
      'one-outcome',
      operations.flatMap((operation) => eachTrialOnce(operation, seen, restores)),
    ),
    ...found(
      'claimed',
      tests.flatMap((test) => passIsInTheJournal(test, seen, restores)),
    ),
    ...found(
      'blamed',
      tests.flatMap((test) => failureHasACause(test, seen)),
    ),
  ];
}

/** By number as well as by what the practice fleet itself knows of a guest's origin. */
const nothingLeft = ({ site }: Seen): string[] =>
  site.guests
    .filter(({ vmid, restored }) => restored === true || (vmid >= TEST_IDS.from && vmid <= TEST_IDS.to))
    .map(({ vmid, name, status }) => `Guest ${vmid} (${name}) is still at the staging site, ${status}`);

const atSite = ({ journal }: Seen, effect: string): LabEntry[] =>
  journal.filter((entry) => entry.store === 'staging' && entry.effect === effect);

/** Guest of the store that a restore was of: its archive names the storage of the store's copy. */
const isOf = ({ detail }: LabEntry, store: string, vmid: number): boolean => {
  const [storage = '', path = ''] = String(detail?.['archive']).split(':');
  return storage.endsWith(store) && path.split('/')[2] === String(vmid);
};

function restoredOnce(seen: Seen, { operations }: RestoresSeen): string[] {
  const restored = atSite(seen, 'guest.restore');
  const strangers = restored.filter(
    (entry) => !operations.some((operation) => isOfStore(entry, operation.store) && during(operation, entry)),
  );
  const counts = new Map<string, number>();
  for (const { detail } of restored) {
    const archive = String(detail?.['archive']);
    counts.set(archive, (counts.get(archive) ?? 0) + 1);
  }
  return [
    ...strangers.map(({ seq, guest }) => `Nobody on record restored guest ${guest} (entry ${seq})`),
    ...[...counts].filter(([, times]) => times > 1).map(([archive, times]) => `${archive} was restored ${times} times`),
  ];
}

const isOfStore = ({ detail }: LabEntry, store: string): boolean =>
  String(detail?.['archive']).split(':')[0]?.endsWith(store) === true;

/** Guests of which the night has proven no copy are not tried; when one of them was named, all others are asked for. */
function wantedOf(store: string, { plan, stores, now, night }: Seen): number[] {
  const guestsOf = (id: string) => (now.find((one) => one.id === id)?.guests ?? []).map(({ vmid }) => vmid);
  const isThere = (id: string, vmid: number) =>
    !night?.known.some((row) => row.store === id && row.vmid === vmid && row.offsite?.provenAt === undefined);
  const { vmids } = plan.restores;
  const isRefused = vmids !== undefined && stores.some((id) => vmids.some((vmid) => !isThere(id, vmid)));
  const asked = vmids === undefined || isRefused ? guestsOf(store) : vmids;
  return asked.filter((vmid) => isThere(store, vmid)).toSorted();
}

/** A store that succeeded has all its trials passed; each guest that was asked for has one word, unless people ended it. */
function eachTrialOnce(
  { store, operationId, outcome }: Operation,
  seen: Seen,
  { tests, report }: RestoresSeen,
): string[] {
  if (!report) return [];
  const rows = tests.filter((test) => test.store === store);
  const wanted = wantedOf(store, seen);
  const told = rows.map(({ vmid }) => vmid).toSorted();
  const isAborted = outcome === 'aborted' || outcome === 'timedOut';
  const isWhole = isAborted ? told.every((vmid) => wanted.includes(vmid)) : told.join() === wanted.join();
  if (!isWhole)
    return [`${operationId} ended ${outcome}; it told of guests ${told.join(', ')} of ${wanted.join(', ')}`];
  return outcome === 'succeeded'
    ? rows
        .filter(({ result }) => result !== 'pass')
        .map(({ vmid, result }) => `${operationId} succeeded, and guest ${vmid} has not passed: ${result}`)
    : [];
}

/** Who passed was restored from that snapshot, started, and taken away. */
function passIsInTheJournal(test: RestoreTestRow, seen: Seen, { operations }: RestoresSeen): string[] {
  const { store, vmid, result, snapshotAt } = test;
  if (result !== 'pass') return [];
  const who = `Guest ${vmid} of ${store} has passed`;
  if (!operations.some((operation) => operation.store === store)) return [`${who}, and no operation on it is known`];
  const restored = atSite(seen, 'guest.restore').find(
    (entry) =>
      isOf(entry, store, vmid) &&
      Date.parse(String(entry.detail?.['archive']).split('/')[3] ?? '') === Date.parse(snapshotAt ?? ''),
  );
  if (!restored) return [`${who}, and the journal shows no restore of ${snapshotAt}`];
  const after = (effect: string): boolean =>
    atSite(seen, effect).some(({ seq, guest }) => seq > restored.seq && guest === restored.guest);
  return [
    ...(after('guest.start') ? [] : [`${who}, and was never started`]),
    ...(after('guest.destroy') ? [] : [`${who}, and was never taken away`]),
  ];
}

/** What may make a guest fail: it, or its copy, was really bad, or had no proven copy. */
const BAD = ['chunk-corrupt', 'restore-fails', 'agent-silent', 'boot-fails'];

function failureHasACause({ store, vmid, result, text }: RestoreTestRow, { journal, servers }: Seen): string[] {
  if (result !== 'fail') return [];
  const isBad = journal.some(
    ({ effect, detail }) => effect === 'fault.active' && BAD.includes(String(detail?.['kind'])),
  );
  const held = servers.find(({ id }) => id === 'central')?.datastores.flatMap(({ snapshots }) => snapshots) ?? [];
  const isProven = held.some(
    ({ ns, name, verified, verifiedBy }) =>
      ns === store && name.split('/')[1] === String(vmid) && verified === 'ok' && verifiedBy === 'pbs-central',
  );
  return isBad || !isProven ? [] : [`Guest ${vmid} of ${store} is said to have failed (${text}), and nothing ailed it`];
}
