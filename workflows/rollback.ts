import { patched } from '@temporalio/workflow';
import { plural } from '#domain/counted.js';
import { decideGate } from '#domain/gate.js';
import { countsOf } from '#domain/limits.js';
import type { PermitOutcome, RollbackOutcome, StagePlan, WaveReport } from '#domain/messages/train.js';
import { ROLLBACK_STAGE, waveWorkflowId } from '#domain/naming.js';
import { afterRound, isAway, isCutOff, type StoreResult } from '#domain/outcomes.js';
import type { PermitRef } from '#domain/release.js';
import { awaitedUntil, describePlan, rollbackSummary, type RollbackPlan } from '#domain/rollback.js';
import { awaitAbsent } from './absent.js';
import { isPassed } from './gate-passed.js';
import { control, messageOf, pointBack, refusedBy, revertPromotions, signRollbackPermit } from './proxies.js';
import { abortOf } from './stage-rounds.js';
import type { TakenDecision, TrainDesk } from './train-desk.js';
import { takeResults } from './train-records.js';
import { partsOf, probeStores, runWave, type Over, type Run } from './train-waves.js';

/**
 * Takes a train back: plan (who took the release, and what was last good there) → approval → permits, signed by the
 * release worker against that approval → the promotions reverted in Git, and the desired records pointed back → the
 * stores in waves under the limits of their stages → health gate → stores that were away, when they are back.
 *
 * Asked for by people, or by the fleet's policy when the first stage fails; then the policy is the approval.
 * Windows are not waited for: a release that has to go has to go now, and people just said so.
 *
 * `begun` is awaited when all is signed and pointed back, before the first store.
 */
export async function takeBackTrain(train: Run, begun?: () => Promise<void>): Promise<Over> {
  const { desk } = train;
  const asked = desk.said.rollback;
  desk.rollingBack();

  const approved = await planAndAsk(train, asked?.policy === true);
  if ('state' in approved) return approved;
  const { planned, approval } = approved;
  const groups = await prepare(train, planned, approval);
  if ('state' in groups) return groups;
  await begun?.();

  const over = (await takeBackGroups(train, groups)) ?? (await takeBackLateOnes(train, groups, approval));
  if (over) return over;
  const summary = rollbackSummary(planned.plan, (store) => desk.results.get(store)?.outcome);
  return { state: 'rolled back', reason: 'RolledBack', summary };
}

type Planned = Extract<RollbackOutcome, { kind: 'planned' }>;
type Group = RollbackPlan['groups'][number] & { permit: PermitRef };
type Approval = Pick<TakenDecision, 'id' | 'by' | 'at'>;

/** Until a plan is approved. One that was rejected is made anew when people ask for it again, since facts change. */
async function planAndAsk(train: Run, byPolicy: boolean): Promise<{ planned: Planned; approval: Approval } | Over> {
  for (;;) {
    const planned = await plan(train);
    if ('state' in planned) return planned;
    const approval = await approve(train, planned, byPolicy);
    if (approval === 'ask-again') continue;
    return 'state' in approval ? approval : { planned, approval };
  }
}

async function plan({ desk, plan: { fleet, train } }: Run): Promise<Planned | Over> {
  for (;;) {
    const outcome = await control.planRollback({ fleet, train }).catch(refusedFor);
    if (outcome.kind === 'planned') return outcome;
    const over = await refusedBecause(desk, 'planned', outcome.problems);
    if (over) return over;
  }
}

/** A train that is to go back stands still and says why it cannot, also of what it could not read. */
export function refusedFor(error: unknown): ReturnType<typeof refusedBy> {
  if (!patched('unplanned-way-back-holds')) throw error;
  return refusedBy(error);
}

async function approve(
  { desk, plan: { train }, caveats = [] }: Run,
  planned: Planned,
  byPolicy: boolean,
): Promise<Approval | 'ask-again' | Over> {
  const { plan: rollback, planHash } = planned;
  if (byPolicy) {
    const by = 'policy onCanaryFailure';
    const id = `${train}/${ROLLBACK_STAGE}/policy`;
    const at = new Date().toISOString();
    const row = { train, stage: ROLLBACK_STAGE, id, planHash, by, decision: 'approve' as const, via: 'policy' };
    await control.record({ kind: 'approval', row: { ...row, accepted: true, at } });
    return { id, by, at };
  }
  const answer = await desk.hold({
    reason: 'ApprovalPending',
    stage: ROLLBACK_STAGE,
    planHash,
    summary: `The rollback (${describe(rollback)}) waits for an approval of plan ${planHash.slice(7, 15)}.`,
    detail: [...describePlan(rollback), ...caveats],
    answers: ['approve', 'reject'],
  });
  const decision = desk.approval();
  if (answer === 'approve' && decision) return decision;
  if (answer !== 'reject') return desk.over();
  const again = await desk.hold({
    reason: 'ApprovalRejected',
    stage: ROLLBACK_STAGE,
    summary: `The rollback was rejected by ${decision?.by ?? 'an operator'}. Nothing was taken back.`,
    detail: [],
    answers: ['ask-again'],
  });
  return again === 'ask-again' ? 'ask-again' : desk.over();
}

/** Permits first, Git then, desired records last: only with all three does a store go back. */
async function prepare(train: Run, { plan: rollback, planHash }: Planned, approval: Approval): Promise<Group[] | Over> {
  const {
    desk,
    plan: { fleet, train: id, stages },
  } = train;
  for (;;) {
    desk.doing(`Signing the permits to go back (${describe(rollback)}).`);
    const problems: string[] = [];
    const groups: Group[] = [];
    try {
      for (const { to, stores } of rollback.groups) {
        const request = { fleet, train: id, stores, from: rollback.from, to, planHash, approvalId: approval.id };
        const outcome: PermitOutcome = await signRollbackPermit(request);
        if (outcome.kind === 'signed') groups.push({ to, stores, permit: outcome.permit });
        else problems.push(...outcome.problems);
      }
      if (problems.length === 0) {
        desk.doing('Reverting the promotions.');
        const { commit } = await revertPromotions({ train: id, planHash, approvedBy: approval.by });
        const goBack = groups.flatMap(({ stores }) => stores);
        const others = stages.flatMap(({ stores }) => stores).filter((store) => !goBack.includes(store));
        await pointBack({ train: id, commit, groups, others, expires: expiryOf() });
        return groups;
      }
    } catch (error) {
      problems.push(messageOf(error));
    }
    const over = await refusedBecause(desk, 'prepared', problems);
    if (over) return over;
  }
}

/** As long as a permit holds. */
const expiryOf = (): string => new Date(Date.now() + 72 * 3_600_000).toISOString();

async function refusedBecause(desk: TrainDesk, what: string, problems: string[]): Promise<Over | undefined> {
  const answer = await desk.hold({
    reason: 'RollbackRefused',
    summary: `The rollback could not be ${what}: ${problems[0] ?? 'no reason was given'}`,
    detail: problems,
    answers: ['retry-failed'],
  });
  return answer === 'retry-failed' ? undefined : desk.over();
}

async function takeBackGroups(train: Run, groups: Group[]): Promise<Over | undefined> {
  for (const stage of train.plan.stages) {
    for (const group of groups) {
      const over = await takeBack(train, stage, group);
      if (over) return over;
    }
    train.desk.isBack(stage.name);
  }
  for (const group of groups) {
    const over = await passGate(train, group);
    if (over) return over;
  }
  return undefined;
}

/** A store does nothing without a task, whatever its desired record says: who is away stays on what it has until asked. */
async function takeBackLateOnes(train: Run, groups: Group[], { at }: Approval): Promise<Over | undefined> {
  const {
    desk,
    plan: { stages, deadline },
  } = train;
  const goesBack = (store: string) => groups.some(({ stores }) => stores.includes(store));
  const absent = () =>
    stages.flatMap(({ name, stores }) =>
      stores
        .filter((store) => goesBack(store) && isGone(desk.results.get(store)))
        .filter((store) => !desk.said.abortedStores.has(store))
        .map((store) => ({ store, stage: name })),
    );
  if (absent().length === 0 || !patched('rollback-awaits')) return undefined;
  return awaitAbsent(desk, {
    absent,
    until: awaitedUntil({ deadline, approvedAt: at, now: new Date() }),
    takeBack: (back) => {
      const late = groups.map((group) => ({ ...group, stores: group.stores.filter((store) => back.includes(store)) }));
      return takeBackGroups(train, late);
    },
  });
}

/**
 * The stores of one stage that go back to the same release, in rounds, until they are back, away, or people let them be.
 * A skip leaves those that did not come back; those that were never started follow.
 */
async function takeBack(train: Run, stage: StagePlan, group: Group): Promise<Over | undefined> {
  const { desk } = train;
  if (desk.isFinished()) return undefined;
  const soFar: SoFar = { results: new Map(), left: new Set() };
  const { results, left } = soFar;
  let open = group.stores.filter((store) => stage.stores.includes(store));
  while (open.length > 0) {
    const breach = await desk.inTurn(() => runRound(train, stage, group, open, soFar));
    if (desk.mustStop()) return desk.over();
    // Who had not begun when people ended the rollback has no result, and is asked about no more.
    if (desk.isEnding()) open = open.filter((store) => results.has(store));
    open = open.filter((store) => results.get(store)?.outcome !== 'rolledBack' && !isLeftOut(desk, soFar, store));
    const failed = open.filter((store) => !isAwaited(results.get(store)));
    if (!breach && failed.length === 0) return undefined;
    const answer = await desk.hold({
      reason: breach?.reason ?? 'ErrorThresholdExceeded',
      stage: stage.name,
      summary:
        breach?.summary ??
        `${plural(failed.length, 'store')} of ${stage.name} did not come back to ${group.to.version}.`,
      detail: open.slice(0, 10).map((store) => `${store}: ${results.get(store)?.stop?.summary ?? 'not started'}`),
      answers: () => [
        ...(open.some((store) => !desk.said.abortedStores.has(store)) ? (['retry-failed'] as const) : []),
        'skip',
      ],
    });
    if (answer === 'skip') {
      const others = open.filter((store) => !results.has(store));
      // Of a stage that people aborted before it began, there are no others.
      const isWhole = breach?.reason === 'StageAborted' && results.size === 0;
      if (others.length === 0 || isWhole || !patched('skip-takes-back-the-others')) return undefined;
      for (const store of open) if (results.has(store)) left.add(store);
      open = others;
      continue;
    }
    if (answer !== 'retry-failed') return desk.over();
    open = open.filter((store) => !isLeftOut(desk, soFar, store));
  }
  return undefined;
}

/** What came of the rounds so far, and whom people leave as that was. */
interface SoFar {
  results: Map<string, StoreResult>;
  left: Set<string>;
}

/**
 * People do not want it to be taken back, so it stands against nobody else either. One whose turn has not come is still
 * handed to its wave, which writes it down. Trains of earlier builds asked people about those whom they had aborted
 * themselves.
 */
const isLeftOut = ({ said }: TrainDesk, { results, left }: SoFar, store: string): boolean =>
  left.has(store) || (said.abortedStores.has(store) && results.has(store) && patched('aborted-stay-out-of-rollback'));

/** Trains of earlier builds asked people what to do with stores that fell silent on the way back. */
const isAwaited = (result: StoreResult | undefined): boolean =>
  isGone(result) && (!isCutOff(result) || patched('rollback-awaits'));

const isGone = (result: StoreResult | undefined): result is StoreResult => result !== undefined && isAway(result);

async function runRound(
  train: Run,
  stage: StagePlan,
  { to, permit }: Group,
  stores: string[],
  soFar: SoFar,
): Promise<WaveReport['breach']> {
  const {
    desk,
    plan: { train: id },
  } = train;
  const { results } = soFar;
  const round = desk.nextRound(ROLLBACK_STAGE);
  for (const [part, members] of partsOf(stores.map((store) => ({ id: store }))).entries()) {
    await desk.unpaused(stage.name);
    if (desk.mustStop() || desk.isEnding()) return undefined;
    const aborted = abortOf(desk, stage);
    if (aborted) return aborted;
    const workflowId = waveWorkflowId(id, ROLLBACK_STAGE, round, part);
    const ids = members.map((store) => store.id);
    desk.follow(stage.name, workflowId, ids);
    desk.doing(`Stage ${stage.name}: ${plural(members.length, 'store')} on the way back to ${to.version}.`);
    const counted = stage.stores.filter((store) => ids.includes(store) || !isLeftOut(desk, soFar, store));
    const ended = counted.flatMap((store) => (ids.includes(store) ? [] : (results.get(store) ?? [])));
    const report = await runWave(train, stage, workflowId, {
      operation: 'rollback',
      name: ROLLBACK_STAGE,
      release: to,
      permit,
      round,
      stores: members,
      before: countsOf(ended),
      judged: counted.length,
    });
    const known = report.results.map((told) => afterWayBack(desk, results, told, round));
    for (const result of known) results.set(result.store, result);
    desk.toldOfWayBack(known.map(({ store }) => store));
    await takeResults(desk, { stage: stage.name, ranAs: ROLLBACK_STAGE, round }, report.results, known);
    const stopped = (desk.mustStop() ? undefined : abortOf(desk, stage)) ?? report.breach;
    if (stopped) return stopped;
  }
  return undefined;
}

/** What was met on the way there counts no more, except that an operation which fell silent may still hold its store. */
function afterWayBack(
  desk: TrainDesk,
  results: ReadonlyMap<string, StoreResult>,
  told: StoreResult,
  round: number,
): StoreResult {
  if (!patched('rollback-awaits')) return told;
  const before = desk.results.get(told.store);
  return afterRound(results.get(told.store) ?? (before && isCutOff(before) ? before : undefined), told, round);
}

async function passGate(train: Run, { to, stores }: Group): Promise<Over | undefined> {
  const {
    desk,
    plan: { stages },
  } = train;
  const isBack = (store: string) => desk.results.get(store)?.outcome === 'rolledBack';
  const expected = stores.filter((store) => isBack(store) && !desk.isProven(store));
  const stage = stages.find((candidate) => candidate.stores.some((store) => expected.includes(store)));
  if (!stage) return undefined;
  for (;;) {
    desk.doing(`Measuring ${plural(expected.length, 'store')} that went back to ${to.version}.`);
    const attempt = desk.nextRound(`${ROLLBACK_STAGE}/gate`);
    const probes = await probeStores(train, stage, expected, { name: ROLLBACK_STAGE, attempt, release: to });
    const { gate, limits } = stage.settings;
    const verdict = decideGate({ probes, expected, limits: gate, offlineThreshold: limits.offlineThreshold });
    if (desk.mustStop()) return desk.over();
    if (isPassed(verdict)) break;
    const answer = await desk.hold({
      reason: verdict.reason ?? 'HealthGateFailed',
      summary: `After the rollback: ${verdict.summary}`,
      detail: verdict.checks.flatMap(({ name, failing }) => failing.map((store) => `${name}: ${store}`)),
      answers: ['retry-gate', 'skip'],
    });
    if (answer === 'skip') break;
    if (answer !== 'retry-gate') return desk.over();
  }
  desk.prove(expected);
  return undefined;
}

const describe = ({ from, groups, unable }: RollbackPlan): string => {
  const back = groups.map(({ to, stores }) => `${plural(stores.length, 'store')} to ${to.version}`).join(', ');
  return `from ${from.version}: ${back}${unable.length > 0 ? `; ${unable.length} cannot` : ''}`;
};
