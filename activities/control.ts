import { createHash } from 'node:crypto';
import canonicalize from 'canonicalize';
import type { z } from 'zod';
import { plural } from '#domain/counted.js';
import { rowsOfKnown, withoutParts } from '#domain/backup-rows.js';
import { backupConcern, backupStatus, clearConcern, datastoreConcern } from '#domain/backup-status.js';
import type { Fleet, Store } from '#domain/fleet.js';
import type { NightCare } from '#domain/messages/backup.js';
import type {
  ControlActivities,
  InWork,
  Notification,
  OpenedTrain,
  StagePlan,
  TrainPlan,
} from '#domain/messages/train.js';
import {
  promotionTag,
  promotionTags,
  ROLLBACK_STAGE,
  rollbackTag,
  restoreWorkflowId,
  storeWorkflowId,
} from '#domain/naming.js';
import { planNight } from '#domain/night-plan.js';
import { planRestores } from '#domain/restore-plan.js';
import { restoreConcern, restoreStatus } from '#domain/restore-status.js';
import { exclusionOf, planStages } from '#domain/plan.js';
import {
  desiredPointer,
  desiredRecordSchema,
  MAX_WITHDRAWN,
  withdrawnPointer,
  withdrawnRecordSchema,
  type DesiredRecord,
  type LeftRelease,
  type WithdrawnRecord,
} from '#domain/release.js';
import { judgeStores } from '#domain/recoverability.js';
import { checkRepo } from '#domain/repo-check.js';
import { collectRepoFiles } from '#domain/repo-files.js';
import { MAX_CONFIG_FILE } from '#domain/repo-limits.js';
import { revocationOf, revocationText } from '#domain/revocations.js';
import { choosePastTrain, notKnown, reopenTrain, type PastTrain } from '#domain/reopen.js';
import { decideRollback, desiredBefore, releaseLeft } from '#domain/rollback.js';
import { problemText } from '#domain/yaml-file.js';
import { isoWeekId, localDate, nextWindow, storeWindow } from '#domain/windows.js';
import type { GitRepo } from '#systems/git/types.js';
import type { Ledger } from '#systems/ledger/types.js';
import type { Objects } from '#systems/objects/types.js';
import { readOverrides } from './overrides.js';
import { readRevocations, refuseRevoked } from './revocations.js';
import { translated } from './to-failure.js';

const MAX_DESIRED = 16_000;
/** A train older than so many others is not taken back; what it brought is long replaced. */
const PAST_TRAINS = 20;

/** Central work of a train: Git, the registry's pointers, the ledger, telling people. */
export interface ControlDeps {
  repo: GitRepo;
  branch: string;
  objects: Objects;
  ledger: Ledger;
  /** Whether a run under this id is going on in Temporal at this moment. */
  isRunning: (workflowId: string) => Promise<boolean>;
  /** What nights that run have in their care; of those that do not answer nothing is known. */
  nightCares: (fleet: string) => Promise<NightCare[]>;
  /** The operations of a wave that have not ended. */
  inWork: (wave: string) => Promise<InWork[]>;
  tell: (notification: Notification) => Promise<void>;
  now: () => Date;
}

/** Of Temporal, which answers others meanwhile. */
const ASKED_AT_ONCE = 50;

export function createControlActivities(deps: ControlDeps): ControlActivities {
  const { repo, branch, objects, ledger, now } = deps;
  const readRepo = cachedRepo(repo);

  return translated<ControlActivities>({
    /** Only looks; the train's own start makes a repeated call find the same id. */
    async openTrain({ train, commit, startedAt }) {
      const at = commit ?? (await repo.head(branch));
      const { fleet } = await readRepo(at);
      return {
        train:
          train ?? (await freeId(isoWeekId(new Date(startedAt), fleet.timeZone), startedAt, (id) => ledger.train(id))),
        commit: at,
        deadlineAfter: fleet.train.deadline,
        noProgressAfter: fleet.alarms.noProgressAfter,
      };
    },

    /** Only looks, at a fixed commit: the same call gives the same plan, and so the same hash, or is refused. */
    async planTrain({ opened, fleet: name, release, stages: selected, startedAt }) {
      const { fleet, stores } = await readRepo(opened.commit);
      if (fleet.fleet !== name)
        return {
          kind: 'refused',
          problems: [`fleet: the repo at ${opened.commit.slice(0, 12)} is of fleet ${fleet.fleet}, not of ${name}`],
        };
      const today = localDate(new Date(startedAt), fleet.timeZone);
      const planned = planStages({ fleet, stores, today, selected });
      if (planned.problems.length > 0) return { kind: 'refused', problems: planned.problems };
      const revocation = revocationOf(await readRevocations(repo, branch), release);
      if (revocation) return { kind: 'refused', problems: [revocationText(release, revocation)] };
      const plan: TrainPlan = {
        train: opened.train,
        fleet: fleet.fleet,
        timeZone: fleet.timeZone,
        commit: opened.commit,
        release,
        stages: planned.stages.flatMap((stage): StagePlan[] => {
          const settings = fleet.stages.find((candidate) => candidate.name === stage.name);
          return settings ? [{ ...stage, settings }] : [];
        }),
        deadline: deadlineOf(opened, startedAt),
        onCanaryFailure: fleet.train.onCanaryFailure,
        ...(fleet.recoverability ? { recoverability: fleet.recoverability } : {}),
      };
      return { kind: 'planned', plan, planHash: hashOf(plan) };
    },

    /** Calendar arithmetic lives here, not in the workflow, so that its answer is pinned in history. Only looks. */
    async stageWindows({ plan, stage, after }) {
      const { fleet, stores } = await readRepo(plan.commit);
      const from = new Date(after);
      const today = localDate(from, plan.timeZone);
      const opening = nextWindow({ window: stage.settings.window, timeZone: plan.timeZone, after: from });
      const members = stores.filter(({ id }) => stage.stores.includes(id));
      const own = members
        .filter(({ window }) => window)
        .map((store) => ({
          store: store.id,
          window: storeWindow({
            stage: stage.settings.window,
            fleetZone: plan.timeZone,
            store: store.window,
            storeZone: store.timeZone ?? plan.timeZone,
            after: from,
          }),
        }));
      return {
        ...(opening ? { opens: opening.opens.toISOString(), closes: opening.closes.toISOString() } : {}),
        stores: Object.fromEntries(
          own.flatMap(({ store, window }) =>
            window.kind === 'window'
              ? [[store, { opens: window.opens.toISOString(), closes: window.closes.toISOString() }]]
              : [],
          ),
        ),
        never: own.filter(({ window }) => window.kind === 'never').map(({ store }) => store),
        excluded: members.flatMap((store) => exclusionOf(fleet, store, today) ?? []),
      };
    },

    /** The tag is the proof: when it is there the promotion was made and only the records are written again, alike. */
    async promoteStage({ plan, stage, stores, planHash, approvedBy, expires }) {
      await refuseRevoked(repo, branch, [plan.release]);
      const tag = promotionTag(plan.train, stage);
      const promotion = { train: plan.train, stage, release: plan.release, planHash, approvedBy, stores };
      const commit = await repo.promote({
        branch,
        tag,
        file: `promotions/${plan.train}/${stage}.json`,
        content: `${JSON.stringify(promotion, null, 2)}\n`,
        message: `Promote ${plan.release.version} to ${stage} of ${plan.train} (${plural(stores.length, 'store')})`,
      });
      await eachOf(stores, async (store) => {
        const kept = await soakedSoFar(store);
        await writeDesired({ store, release: plan.release, train: plan.train, stage, commit, expires, ...kept });
      });
      return { commit, tag };
    },

    /** A record that has its mark already is left as it is, so a repeated call changes nothing. */
    async confirmStage({ train, stage, release, stores, soakedAt }) {
      const left: string[] = [];
      await eachOf(stores, async (store) => {
        const record = await readDesired(store);
        const isOurs = record?.train === train && record.stage === stage && sameJson(record.release, release);
        if (!record || !isOurs) left.push(store);
        else if (!sameJson(record.soaked?.release, release))
          await writeDesired({ ...record, soaked: { release, at: soakedAt } });
      });
      const confirmed = stores.filter((store) => !left.includes(store));
      await ledger.confirmResults(train, stage, confirmed, soakedAt);
      await eachOf(confirmed, (store) =>
        changeWithdrawn(store, (releases) => releases.filter(({ sequence }) => sequence !== release.sequence)),
      );
      return { left: left.toSorted() };
    },

    /** Only looks. */
    async reopenTrain({ fleet, train }) {
      const rows = (await ledger.trains(PAST_TRAINS)).filter((row) => row.fleet === fleet && row.release !== undefined);
      const trains: PastTrain[] = [];
      for (const row of rows) trains.push({ row, results: await ledger.results(row.id) });
      const chosen = choosePastTrain(fleet, trains, train);
      if (chosen.kind === 'refused') return chosen;
      const { row } = chosen.train;
      if (row.commit === undefined) return notKnown(row);
      const at = await readRepo(row.commit);
      return reopenTrain(chosen.train, await ledger.stages(row.id), at.fleet);
    },

    /** Only looks, and keeps the plan as an object: its digest is the plan hash, by which the release worker finds it. */
    async planRollback({ fleet, train, stores }) {
      const [row, results, lastGood, revoked] = await Promise.all([
        ledger.train(train),
        ledger.results(train),
        ledger.lastGoodBefore(train),
        readRevocations(repo, branch),
      ]);
      const decided = decideRollback({ fleet, trainId: train, train: row, results, lastGood, revoked, wanted: stores });
      if (decided.kind === 'refused') return decided;
      const planHash = await objects.put(Buffer.from(canonicalize(decided.plan) ?? ''));
      return { kind: 'planned', plan: decided.plan, planHash };
    },

    /** The tag is the proof, as with a promotion. */
    async revertPromotions({ train, planHash, approvedBy }) {
      const tag = rollbackTag(train);
      const commit = await repo.revertPromotions({
        branch,
        promotions: promotionTags(train),
        tag,
        message: `Roll back ${train}\n\nPlan ${planHash}\nApproved by ${approvedBy}`,
      });
      return { commit, tag };
    },

    /** The same records again, alike, however often it is called. */
    async pointBack({ train, commit, groups, others = [], expires }) {
      await refuseRevoked(
        repo,
        branch,
        groups.map(({ to }) => to),
      );
      const [lastGood, revoked] = await Promise.all([ledger.lastGoodBefore(train), readRevocations(repo, branch)]);
      await eachOf(others, async (store) => {
        const record = await readDesired(store);
        if (record?.train !== train || record.stage === ROLLBACK_STAGE) return;
        const { soaked } = record;
        const release = desiredBefore(store, lastGood, revoked);
        await writeDesired({
          store,
          train,
          stage: ROLLBACK_STAGE,
          commit,
          expires,
          ...(release ? { release } : {}),
          ...(soaked ? { soaked } : {}),
        });
      });
      for (const { to, stores, permit } of groups) {
        await eachOf(stores, async (store) => {
          const kept = await soakedSoFar(store);
          await writeDesired({ store, release: to, train, stage: ROLLBACK_STAGE, commit, expires, permit, ...kept });
        });
      }
    },

    /** Only looks; calendar arithmetic lives here, so that its answer is pinned in history. */
    async planNight({ fleet: name, stores: wanted, now: atOnce, startedAt }) {
      const commit = await repo.head(branch);
      // Who is dumped twice has lost nothing; who is left to a night that nobody can ask may have no backup.
      const others = await deps.nightCares(name).catch(() => []);
      const outcome = planNight({
        ...(await readRepo(commit)),
        name,
        commit,
        wanted,
        now: atOnce,
        startedAt: new Date(startedAt),
        others,
      });
      if (outcome.kind === 'refused') return outcome;
      // One night may be asked for by its schedule and by hand, and each is a night of its own.
      const { plan } = outcome;
      return {
        kind: 'planned',
        plan: { ...plan, night: await freeId(plan.night, startedAt, (id) => ledger.night(id)) },
      };
    },

    /** Only looks; calendar arithmetic lives here, so that its answer is pinned in history. */
    async planRestores({ fleet: name, stores: wanted, vmids, startedAt }) {
      const commit = await repo.head(branch);
      const [known, newest] = await Promise.all([ledger.guestBackups(), ledger.newestRestores(name)]);
      const outcome = planRestores({
        ...(await readRepo(commit)),
        name,
        commit,
        known,
        newest,
        wanted: wanted && { stores: wanted, vmids },
        startedAt: new Date(startedAt),
      });
      if (outcome.kind === 'refused') return outcome;
      const { plan } = outcome;
      return {
        kind: 'planned',
        plan: { ...plan, run: await freeId(plan.run, startedAt, (id) => ledger.restoreRun(id)) },
      };
    },

    /** Only looks. Overrides are read at the tip of the branch; when they cannot be read there are none. */
    async judgeRecoverability({ commit, limits, stores: asked }) {
      const tip = await repo.head(branch);
      const { stores, fleet } = await readRepo(commit);
      const [known, newest, policy] = await Promise.all([
        ledger.guestBackups(),
        ledger.newestRestores(fleet.fleet),
        readOverrides(repo, tip),
      ]);
      return judgeStores({ stores, asked, known, newest, limits, policy, now: now() });
    },

    /** Only looks. A fleet that says nothing of backups has nothing to be told. */
    async backupConcerns({ fleet: name }) {
      const { fleet, stores } = await readRepo(await repo.head(branch));
      if (!fleet.backup) return [];
      const [known, newest, datastores] = await Promise.all([
        ledger.guestBackups(),
        ledger.newestRestores(name),
        ledger.datastores(),
      ]);
      const status = backupStatus({ fleet, stores, rows: known, datastores, now: now() });
      return [
        backupConcern(status),
        clearConcern(status),
        datastoreConcern(status),
        // Without a second place nothing is restored for a test.
        fleet.backup.offsite && restoreConcern(restoreStatus({ fleet, stores, known, newest, now: now() })),
      ].filter((concern) => concern !== undefined);
    },

    /** Only looks. */
    async planSweep({ fleet: name, stores: wanted }) {
      const commit = await repo.head(branch);
      const { fleet, stores } = await readRepo(commit);
      const known = new Set(stores.map(({ id }) => id));
      const problems = [
        ...(fleet.fleet === name ? [] : [`fleet: the repo is of fleet ${fleet.fleet}, not of ${name}`]),
        ...(wanted ?? []).filter((id) => !known.has(id)).map((id) => `stores: ${id} is not a store of ${fleet.fleet}`),
      ];
      if (problems.length > 0) return { kind: 'refused', problems: problems.slice(0, 20) };
      return {
        kind: 'planned',
        commit,
        stores: [...new Set(wanted ?? known)].sort(),
        offlineAfter: fleet.janitor.offlineAfter,
        // Without a second place nothing is restored for a test.
        ...(!wanted && fleet.backup?.offsite ? { staging: { storeTimeout: fleet.backup.storeTimeout } } : {}),
      };
    },

    /** Only looks. */
    inWork: ({ wave }) => deps.inWork(wave),

    /** Only looks. */
    isBusy: ({ store }) => deps.isRunning(storeWorkflowId(store)),

    /** Only looks. */
    async triedNow({ stores }) {
      const tried: string[] = [];
      for (let at = 0; at < stores.length; at += ASKED_AT_ONCE) {
        const some = stores.slice(at, at + ASKED_AT_ONCE);
        const running = await Promise.all(some.map((store) => deps.isRunning(restoreWorkflowId(store))));
        tried.push(...some.filter((_, index) => running[index]));
      }
      return tried;
    },

    /** Upserts by natural key: a repeated write changes nothing. */
    async record(entry) {
      switch (entry.kind) {
        case 'train':
          return ledger.recordTrain(entry.row);
        case 'stage':
          return ledger.recordStage(entry.row);
        case 'results':
          await ledger.recordResults(entry.train, entry.stage, entry.round, entry.results);
          if (entry.stage === ROLLBACK_STAGE) await withdraw(entry.train, entry.results);
          return;
        case 'approval':
          return ledger.recordApproval(entry.row);
        case 'night':
          return ledger.recordNight(entry.row);
        case 'restore run':
          return ledger.recordRestoreRun(entry.row);
        case 'restore tests':
          return ledger.recordRestoreTests(entry.rows);
        case 'copies': {
          await ledger.recordDatastores(entry.datastores ?? []);
          const known = await ledger.guestBackups({ store: entry.task.store });
          const { night, guests } = rowsOfKnown(known, entry);
          await ledger.recordNightGuests(night);
          return ledger.recordGuestBackups(withoutParts(guests, known));
        }
        case 'backups': {
          await ledger.recordDatastores(entry.datastores ?? []);
          const known = await ledger.guestBackups({ store: entry.store });
          await ledger.recordNightGuests(entry.night);
          await ledger.recordGuestBackups(withoutParts(entry.guests, known));
          const kept = entry.guests.map(({ vmid }) => vmid);
          return ledger.markGuestsGone(entry.store, kept, entry.at);
        }
        default:
          return entry satisfies never;
      }
    },

    /** May tell people twice after a lost answer; never more than three times. */
    async notify(notification) {
      await deps.tell({ ...notification, summary: notification.summary.slice(0, 2_000) });
    },
  });

  async function writeDesired(fields: Omit<DesiredRecord, 'schema'>): Promise<void> {
    const record: DesiredRecord = { schema: 'edge.desired/v1', ...fields };
    await objects.setPointer(desiredPointer(record.store), Buffer.from(JSON.stringify(record)));
  }

  function readDesired(store: string): Promise<DesiredRecord | undefined> {
    return readPointer(desiredPointer(store), desiredRecordSchema);
  }

  async function readPointer<T>(name: string, schema: z.ZodType<T>): Promise<T | undefined> {
    const raw = await objects.getPointer(name, MAX_DESIRED);
    if (!raw) return undefined;
    try {
      return schema.safeParse(JSON.parse(raw.toString('utf8'))).data;
    } catch {
      return undefined;
    }
  }

  /**
   * The ledger calls a release good no more where its rollback has a row, however that ended (`lastGoodBefore`). A store
   * that was away, busy or kept out learns it from here.
   */
  async function withdraw(train: string, results: readonly { store: string }[]): Promise<void> {
    const row = await ledger.train(train);
    const left = row && releaseLeft(row);
    if (!left) return;
    await eachOf(
      results.map(({ store }) => store),
      (store) =>
        changeWithdrawn(store, (releases) =>
          releases.some(({ sequence }) => sequence === left.sequence)
            ? releases
            : [...releases, left].slice(-MAX_WITHDRAWN),
        ),
    );
  }

  async function changeWithdrawn(store: string, change: (releases: LeftRelease[]) => LeftRelease[]): Promise<void> {
    const known = (await readPointer(withdrawnPointer(store), withdrawnRecordSchema))?.releases ?? [];
    const releases = change(known);
    if (sameJson(known, releases)) return;
    const record: WithdrawnRecord = { schema: 'edge.withdrawn/v1', store, releases };
    await objects.setPointer(withdrawnPointer(store), Buffer.from(JSON.stringify(record)));
  }

  async function soakedSoFar(store: string): Promise<Pick<DesiredRecord, 'soaked'>> {
    const soaked = (await readDesired(store))?.soaked;
    return soaked ? { soaked } : {};
  }

  function deadlineOf(opened: OpenedTrain, startedAt: string): string {
    return new Date(Date.parse(startedAt) + opened.deadlineAfter).toISOString();
  }

  /** The first of `id`, `id-2`, `id-3`, … that is not the name of another run in the ledger. */
  async function freeId(
    first: string,
    startedAt: string,
    find: (id: string) => Promise<{ startedAt: string } | undefined>,
  ): Promise<string> {
    for (let n = 1; ; n += 1) {
      const id = n === 1 ? first : `${first}-${n}`;
      const row = await find(id);
      if (!row || Date.parse(row.startedAt) === Date.parse(startedAt)) return id;
      if (n > 1_000) throw new Error(`No free id is left for ${first} at ${now().toISOString()}.`);
    }
  }
}

/** The digest that an approval is for: everything that decides what will happen to whom. */
export const hashOf = (plan: TrainPlan): string =>
  `sha256:${createHash('sha256')
    .update(canonicalize(plan) ?? '')
    .digest('hex')}`;

/** Writes of a few stores at a time; the first that fails ends the call, and its repetition writes the same again. */
async function eachOf(stores: readonly string[], work: (store: string) => Promise<void>): Promise<void> {
  const left = stores.values();
  await Promise.all(
    Array.from({ length: 16 }, async () => {
      for (const store of left) await work(store);
    }),
  );
}

const sameJson = (a: unknown, b: unknown): boolean => canonicalize(a) === canonicalize(b);

interface Repo {
  fleet: Fleet;
  stores: Store[];
}

/** A commit never changes, so what was read from one is kept; a few are enough. */
function cachedRepo(repo: GitRepo): (commit: string) => Promise<Repo> {
  const kept = new Map<string, Promise<Repo>>();
  const read = async (commit: string): Promise<Repo> => {
    const files = await collectRepoFiles({
      list: () => repo.list(commit, ''),
      readMany: (paths) => repo.readMany(commit, paths, MAX_CONFIG_FILE),
    });
    const { problems, fleet, stores } = checkRepo(files);
    if (problems.length > 0 || !fleet) throw new InvalidRepo(commit, problems.slice(0, 20).map(problemText));
    return { fleet, stores };
  };
  return (commit) => {
    const found = kept.get(commit);
    if (found) return found;
    const reading = read(commit);
    kept.set(commit, reading);
    reading.catch(() => kept.delete(commit));
    const oldest = kept.keys().next().value;
    if (kept.size > 4 && oldest !== undefined) kept.delete(oldest);
    return reading;
  };
}

export class InvalidRepo extends Error {
  readonly kind = 'InvalidInput';
  readonly retryable = false;
  constructor(commit: string, problems: string[]) {
    super(`The repo at ${commit.slice(0, 12)} is not valid. ${problems.join('; ')}`);
    this.name = 'InvalidRepo';
  }
}
