import { DateTime } from 'luxon';
import type { Fleet, Store } from './fleet.js';
import { concurrencyOf } from './limits.js';
import type { NightCare, NightPlan, NightPlanOutcome, NightStorePlan } from './messages/backup.js';
import { localDate, nextOpening, nextWindow, storeWindow, weekdayIn, type Opening } from './windows.js';

/** Which stores a night backs up, when, and by what policy. Calendar arithmetic: called from activities only. */

interface Asked {
  fleet: Fleet;
  stores: readonly Store[];
  /** The fleet's name as the one who asks knows it. */
  name: string;
  commit: string;
  /** Absent: all that have a backup server. */
  wanted?: readonly string[] | undefined;
  /** Begin at once, whatever the window. */
  now?: boolean | undefined;
  startedAt: Date;
  /** What other nights have in their care. */
  others?: readonly NightCare[] | undefined;
}

/**
 * Freezes and holds do not matter: a store that nobody may change is backed up all the same. A store whose window does
 * not meet this night's is left out of it, and so is one that another night of the same window has in its care.
 */
export function planNight(asked: Asked): NightPlanOutcome {
  const { fleet, stores, name, commit, wanted, startedAt } = asked;
  const problems = problemsOf(asked);
  const { backup } = fleet;
  if (problems.length > 0 || !backup) return { kind: 'refused', problems: problems.slice(0, 20) };

  const asking = stores.filter((store) => store.backup && (wanted === undefined || wanted.includes(store.id)));
  const opening = asked.now
    ? undefined
    : nextWindow({ window: backup.window, timeZone: fleet.timeZone, after: startedAt });
  const same = (asked.others ?? []).filter(
    ({ opens }) => opens !== undefined && opens === opening?.opens.toISOString(),
  );
  const leftTo = same
    .map(({ night, stores: theirs }) => ({ night, stores: asking.filter(({ id }) => theirs.includes(id)).length }))
    .filter((left) => left.stores > 0);
  const chosen = asking.filter(({ id }) => !same.some((other) => other.stores.includes(id)));
  const excluded: NightPlan['excluded'] = [];
  const planned: NightStorePlan[] = [];
  const closing = opening?.closes ?? new Date(startedAt.getTime() + BY_HAND);
  const after = opening ? later(opening.opens, startedAt) : startedAt;
  const next = nextOpening({ window: backup.window, timeZone: fleet.timeZone, after });
  const inTime = endOf(closing, next, backup);
  // Asked for by hand just before a window opens, a backup has its time all the same: the window's has to wait for it.
  const endsBy = opening ? inTime : later(inTime, new Date(startedAt.getTime() + 2 * backup.storeTimeout));
  const end = earlier(closing, endsBy);
  for (const store of chosen) {
    const own = opening ? windowOf(store, fleet, { ...opening, closes: end }, startedAt) : { closes: end };
    if (!own) {
      const detail = 'Its own backup window does not meet that of this night.';
      excluded.push({ store: store.id, reason: 'OutsideWindow', detail });
      continue;
    }
    planned.push({
      ...aboutStore(store, backup.defaultTier),
      ...('opens' in own ? { opens: own.opens.toISOString() } : {}),
      closes: earlier(own.closes, endsBy).toISOString(),
    });
  }
  const begins = opening?.opens ?? startedAt;
  return {
    kind: 'planned',
    plan: {
      night: nightId(begins, fleet.timeZone, asked.now === true),
      fleet: name,
      commit,
      ...(opening ? { opens: opening.opens.toISOString() } : {}),
      closes: end.toISOString(),
      endsBy: endsBy.toISOString(),
      stores: planned,
      ...(leftTo.length > 0 ? { leftTo } : {}),
      excluded,
      orders: {
        keep: backup.keep,
        ...(backup.encrypted === undefined ? {} : { encrypted: backup.encrypted }),
        reverifyAfter: backup.reverifyAfter,
        collect: weekdayIn(begins, fleet.timeZone) === backup.collectOn,
        ...(backup.offsite ? { offsite: { keep: backup.offsite.keep } } : {}),
        tiers: Object.fromEntries(Object.entries(backup.tiers).map(([tier, { rpo }]) => [tier, rpo])),
        defaultTier: backup.defaultTier,
        slots: Object.fromEntries(Object.entries(backup.uplinks).map(([uplink, { slots }]) => [uplink, slots])),
      },
      maxConcurrency: concurrencyOf(backup.maxConcurrency, planned.length),
      timing: {
        storeTimeout: backup.storeTimeout,
        offlineAfter: backup.offlineAfter,
        cutOffAfter: backup.cutOffAfter,
        deferFor: backup.deferFor,
      },
    },
  };
}

function problemsOf({ fleet, stores, name, wanted }: Asked): string[] {
  if (fleet.fleet !== name) return [`fleet: the repo is of fleet ${fleet.fleet}, not of ${name}`];
  if (!fleet.backup) return ['backup: fleet.yaml has no such section, so nobody says when and how to back up'];
  const known = new Map(stores.map((store) => [store.id, store]));
  if (wanted)
    return wanted.flatMap((id) => {
      const store = known.get(id);
      if (!store) return [`stores: ${id} is not a store of ${fleet.fleet}`];
      return store.backup ? [] : [`stores: ${id} has no section backup in its store.yaml, so it has no backup server`];
    });
  const any = stores.some(({ backup }) => backup !== undefined);
  return any ? [] : ['stores: none has a section backup in its store.yaml'];
}

/**
 * What was begun in the window has twice the time of one store to come to its end; then the night ends all the same, in
 * time for the next one.
 */
const endOf = (closes: Date, next: Date, { storeTimeout }: { storeTimeout: number }): Date =>
  earlier(new Date(closes.getTime() + 2 * storeTimeout), new Date(next.getTime() - BEFORE_THE_NEXT));

/** Milliseconds in which a night that is over reads, judges, records and tells. */
const BEFORE_THE_NEXT = 30 * 60_000;

const earlier = (a: Date, b: Date): Date => (a < b ? a : b);
const later = (a: Date, b: Date): Date => (a > b ? a : b);

/** Undefined when the store's own window is not open in this night. */
function windowOf(store: Store, fleet: Fleet, night: Opening, startedAt: Date): Opening | undefined {
  const after = startedAt > night.opens ? startedAt : night.opens;
  const found = storeWindow({
    stage: fleet.backup?.window,
    fleetZone: fleet.timeZone,
    store: store.backup?.window,
    storeZone: store.timeZone ?? fleet.timeZone,
    after,
  });
  return found.kind === 'window' && found.opens < night.closes ? found : undefined;
}

/** With the tier of each guest that store.yaml names: the night has to find them all. And the disks it may leave out. */
function aboutStore(
  { id, backup, guests }: Store,
  defaultTier: string,
): Pick<NightStorePlan, 'id' | 'uplink' | 'guests' | 'withoutDisks'> {
  const meant = guests.filter(({ withoutDisks }) => withoutDisks !== undefined);
  const tiers = guests.map(({ vmid, tier }) => [String(vmid), tier ?? defaultTier] as const);
  return {
    id,
    ...(backup?.uplink === undefined ? {} : { uplink: backup.uplink }),
    ...(tiers.length > 0 ? { guests: Object.fromEntries(tiers) } : {}),
    ...(meant.length > 0
      ? { withoutDisks: Object.fromEntries(meant.map(({ vmid, withoutDisks = [] }) => [String(vmid), withoutDisks])) }
      : {}),
  };
}

/** Milliseconds in which a night by hand begins with every store; each has its own time besides. */
const BY_HAND = 86_400_000;

/** `night-2026-11-26`, by the day on which the window opens; by hand `backup-20261126-143000`, in UTC. */
const nightId = (begins: Date, zone: string, byHand: boolean): string =>
  byHand
    ? `backup-${DateTime.fromJSDate(begins, { zone: 'utc' }).toFormat('yyyyMMdd-HHmmss')}`
    : `night-${localDate(begins, zone)}`;
