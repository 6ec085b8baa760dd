import { backupStatus, type BackupStatus, type GuestStatus } from '#domain/backup-status.js';
import { plural } from '#domain/counted.js';
import { formatDuration } from '#domain/durations.js';
import type { NightView } from '#domain/messages/backup.js';
import type { RestoreTestRow } from '#domain/messages/ledger.js';
import type { RestoreView } from '#domain/messages/restore.js';
import type { Reason } from '#domain/reasons.js';
import { openLedgerReader } from '#systems/ledger/client.js';
import { OPERATOR, type Following } from './demo-run.js';
import { followRun, wentWell } from './fleet-run.js';
import type { LabReport } from './lab-client.js';
import { holds, verdictLine } from './render-lab.js';
import type { LoadedRepo } from './repo.js';
import { columns, fit, printable } from './text.js';

/**
 * The demo of a night: all stores are backed up while four of them are in trouble, then guests that are due are restored
 * for a test. Only the trouble is made here, in the practice fleet. What is said at the end is what the night, the ledger
 * and the restore tests say; the demo is good when that is the truth about each of the four and about all the others.
 */
export interface NightDemo extends Following {
  repo: LoadedRepo;
  databaseUrl: string;
}

export interface NightDemoResult {
  troubles: Trouble[];
  night: NightView;
  restores: RestoreView;
  tests: RestoreTestRow[];
  status: BackupStatus;
  report: LabReport;
  /** Milliseconds. */
  took: number;
}

/** What is wrong with a store, and what the service has to say of it. */
interface Trouble {
  store: string;
  what: string;
  /** Of the store's night. */
  reasons: readonly Reason[];
  /** The guest that has no proven backup at the store; absent: none of them has. */
  vmid?: number | undefined;
}

const GUEST = 101;

/** Undefined when a person interrupts. */
export async function runNight(demo: NightDemo): Promise<NightDemoResult | undefined> {
  const { io, operations, lab, fleet, repo, say } = demo;
  const since = io.now();
  const interrupted = io.interrupted();
  const troubles = troublesOf(repo);
  for (const line of [
    'Trouble is made in the practice fleet:',
    ...columns(troubles.map((one) => [one.store, one.what])),
  ])
    say(line);
  await makeTrouble(demo, troubles);

  say('Then the night, all stores at once and so many at a time:');
  const spoken = { ...io, out: say };
  const night = await followRun(
    spoken,
    {},
    operations.nights,
    await operations.nights.start({ fleet, now: true, requestedBy: OPERATOR }),
  );
  if (interrupted.aborted) return undefined;
  say(`${printable(night.doing)} Next, guests that are due are restored from the second place:`);
  const restores = await followRun(
    spoken,
    {},
    operations.restores,
    await operations.restores.start({ fleet, requestedBy: OPERATOR }),
  );
  if (interrupted.aborted) return undefined;

  await endTrouble(demo, troubles);
  const ledger = openLedgerReader(demo.databaseUrl, { connections: 1 });
  try {
    const rows = await ledger.guestBackups();
    return {
      troubles,
      night,
      restores,
      tests: await ledger.restoreTests(restores.run),
      status: backupStatus({ fleet: repo.fleet, stores: repo.stores, rows, now: io.now() }),
      report: await lab.check(),
      took: io.now().getTime() - since.getTime(),
    };
  } finally {
    await ledger.close();
  }
}

/** Four stores, spread over the fleet. */
function troublesOf({ stores }: LoadedRepo): Trouble[] {
  const at = (part: number): string => stores[Math.floor(part * stores.length)]?.id ?? '';
  return [
    { store: at(0.1), what: `guest ${GUEST} is locked by somebody else`, reasons: ['BackupIncomplete'], vmid: GUEST },
    { store: at(0.35), what: 'the disk of its backup server is full', reasons: ['DatastoreFull'] },
    {
      store: at(0.6),
      what: `a new backup of guest ${GUEST} rots before it is verified`,
      reasons: ['BackupIncomplete', 'BackupVerifyFailed'],
      vmid: GUEST,
    },
    { store: at(0.85), what: 'its link is cut', reasons: ['StoreOffline'] },
  ];
}
/** So that each trouble has a store of its own. */
export const FEWEST_STORES = 4;

async function makeTrouble({ lab }: NightDemo, [locked, full, rotten, away]: Trouble[]): Promise<void> {
  const params = { vmid: GUEST };
  await lab.addFault({ id: LOCK, kind: 'guest-locked', store: locked?.store, params });
  await lab.addFault({ kind: 'datastore-full', store: full?.store });
  await lab.addFault({
    kind: 'chunk-corrupt',
    store: rotten?.store,
    step: 'snapshot.verify',
    moment: 'before',
    params,
  });
  await lab.setWan(away?.store ?? '', false);
}

const LOCK = 'demo-lock';

/** What the demo has set is not the service's to leave. */
async function endTrouble({ lab }: NightDemo, troubles: Trouble[]): Promise<void> {
  await lab.removeFault(LOCK);
  await lab.setWan(troubles.at(-1)?.store ?? '', true);
}

/** Each of the four is told as it is, all others are well, what was proven was had back, and the journal holds. */
export function isTrue(result: NightDemoResult): boolean {
  const { troubles, night, restores, status, report } = result;
  const inTrouble = new Set(troubles.map(({ store }) => store));
  const others = status.stores.filter(({ store }) => !inTrouble.has(store));
  return (
    night.state === 'done' &&
    restores.state === 'done' &&
    night.notSucceeded.length === troubles.length &&
    troubles.every((trouble) => isTold(result, trouble)) &&
    others.every(({ state }) => state === 'ok') &&
    result.tests.length > 0 &&
    result.tests.every((test) => (test.result === 'pass') === isProvenThere(status, test)) &&
    holds(report)
  );
}

function isTold({ night, status }: NightDemoResult, { store, reasons, vmid }: Trouble): boolean {
  const told = night.notSucceeded.find((result) => result.store === store);
  const guests = status.stores.find((one) => one.store === store)?.guests ?? [];
  const isWell = ({ local }: GuestStatus): boolean => local.state === 'ok';
  const reason = told?.reason;
  if (reason === undefined || !reasons.includes(reason)) return false;
  if (vmid === undefined) return guests.every((guest) => !isWell(guest));
  return guests.length > 0 && guests.every((guest) => isWell(guest) === (guest.vmid !== vmid));
}

const isProvenThere = ({ stores }: BackupStatus, { store, vmid }: RestoreTestRow): boolean =>
  stores
    .find((one) => one.store === store)
    ?.guests.some((guest) => guest.vmid === vmid && guest.row?.offsite?.provenAt !== undefined) === true;

export function renderNightDemo(result: NightDemoResult): string[] {
  const { troubles, night, restores, tests, status, report, took } = result;
  const passed = tests.filter((test) => test.result === 'pass').length;
  const well = status.stores.filter(({ state }) => state === 'ok').length;
  return [
    `${isTrue(result) ? 'Told as it was' : 'NOT TOLD AS IT WAS'}, in ${formatDuration(Math.round(took / 1_000) * 1_000)}. ${printable(night.doing)}`,
    ...columns([
      ['store', 'what was wrong', 'the night says', 'its guests, here/second place', 'restored'],
      ...troubles.map((trouble) => rowOf(result, trouble)),
    ]).map((line) => fit(line, 160)),
    `  all other stores: ${well} of ${plural(status.stores.length - troubles.length, 'store')} ok, here and in the second place`,
    `Restore tests: ${passed} of ${plural(tests.length, 'guest')} had back from the second place. ${printable(restores.doing)}`,
    ...(wentWell(restores)
      ? []
      : tests
          .filter((test) => test.result !== 'pass')
          .slice(0, 5)
          .map(failedLine)),
    `Practice fleet's own journal: ${verdictLine(report)}.`,
    ...report.rules
      .filter((rule) => rule.violations.length > 0)
      .map((rule) => `  BROKEN: ${printable(rule.title)} (${plural(rule.violations.length, 'time')})`),
  ];
}

const failedLine = ({ store, vmid, result, text }: RestoreTestRow): string =>
  `  ${printable(store)}/${vmid}: ${result}: ${printable(text ?? '')}`;

function rowOf({ night, status, tests }: NightDemoResult, { store, what }: Trouble): string[] {
  const told = night.notSucceeded.find((result) => result.store === store);
  const guests = status.stores.find((one) => one.store === store)?.guests ?? [];
  const words = guests.map(({ vmid, local, offsite }) => `${vmid} ${local.state}${offsite ? `/${offsite.state}` : ''}`);
  const own = tests.filter((test) => test.store === store).map(({ vmid, result }) => `${vmid} ${result}`);
  return [
    printable(store),
    what,
    told?.reason ?? 'NOTHING',
    words.join(', ') || 'none is known',
    own.join(', ') || 'not due',
  ];
}
