import { z } from 'zod';
import { abridge } from './abridge.js';
import { are, plural } from './counted.js';
import type { ApprovalRow, ResultRow, TrainRow } from './messages/ledger.js';
import type { PermitRequest, RollbackOutcome } from './messages/train.js';
import { fleetName, storeId, trainId } from './messages/names.js';
import { ROLLBACK_STAGE } from './naming.js';
import { isAway, type Outcome } from './outcomes.js';
import {
  leftReleaseSchema,
  releaseRefSchema,
  type LeftRelease,
  type ReleaseRef,
  type RollbackPermit,
} from './release.js';
import { revocationOf, revocationText, type Revocation } from './revocations.js';

/**
 * Which stores of a train go back, to what, and which cannot. Only what the ledger proves counts: a store took the
 * release when something was begun on it, and a release was good on a store when the stage passed its gate there.
 */

/** A permit holds so long after its approval. Stores that do not come back to the network in time need a new one. */
const PERMIT_LIFE_MS = 72 * 3_600_000;

/** What an approval of a rollback is for. It is kept as an object of the registry, and its digest is the plan hash. */
export const rollbackPlanSchema = z
  .object({
    schema: z.literal('edge.rollback-plan/v1'),
    fleet: fleetName,
    train: trainId,
    from: leftReleaseSchema,
    groups: z
      .array(z.object({ to: releaseRefSchema, stores: z.array(storeId).min(1).max(10_000) }).strict())
      .min(1)
      .max(1_000),
    unable: z
      .array(
        z
          .object({ store: storeId, reason: z.enum(['NoLastGood', 'ReleaseRevoked']), detail: z.string().max(1_000) })
          .strict(),
      )
      .max(10_000),
  })
  .strict();
export type RollbackPlan = z.infer<typeof rollbackPlanSchema>;

/** The newest release before a train that passed its gate on a store. */
export interface LastGood {
  store: string;
  train: string;
  /** Absent when the ledger did not yet keep all of the reference. */
  release?: ReleaseRef | undefined;
}

/**
 * Any round counts: a store that failed half-way and was offline when it was tried again still holds half a release.
 * Aborted ones count when they had started.
 */
export const tookTheRelease = ({ stage, outcome, startedAt }: ResultRow): boolean =>
  stage !== ROLLBACK_STAGE &&
  (['succeeded', 'failed', 'timedOut', 'cutOff'].includes(outcome) ||
    (outcome === 'aborted' && startedAt !== undefined));

export const cameBack = ({ stage, outcome }: ResultRow): boolean =>
  stage === ROLLBACK_STAGE && (outcome === 'rolledBack' || outcome === 'succeeded');

/** Stores that took the release of the train and did not come back from it, sorted. */
export function stillOn(results: readonly ResultRow[]): string[] {
  const back = new Set(results.filter(cameBack).map(({ store }) => store));
  const took = new Set(results.filter(tookTheRelease).map(({ store }) => store));
  return [...took].filter((store) => !back.has(store)).toSorted();
}

export function decideRollback(facts: {
  fleet: string;
  trainId: string;
  train: TrainRow | undefined;
  results: readonly ResultRow[];
  lastGood: readonly LastGood[];
  revoked: readonly Revocation[];
  /** Default: every store that took the release and did not come back yet. */
  wanted?: readonly string[] | undefined;
}): { kind: 'planned'; plan: RollbackPlan } | Extract<RollbackOutcome, { kind: 'refused' }> {
  const { fleet, trainId, train, results, revoked, wanted } = facts;
  const refused = (...problems: string[]) => ({ kind: 'refused' as const, problems });
  if (train?.fleet !== fleet) return refused(`The ledger has no train ${trainId} of fleet ${fleet}.`);
  const from = releaseLeft(train);
  if (!from) return refused(`Train ${trainId} never had a release, so there is nothing to go back from.`);

  const open = stillOn(results);
  const strangers = (wanted ?? []).filter((store) => !open.includes(store));
  if (strangers.length > 0) {
    return refused(`Nothing of train ${trainId} is left to take back on ${abridge(strangers)}.`);
  }
  const stores = wanted ? open.filter((store) => wanted.includes(store)) : open;
  if (stores.length === 0) return refused(`No store holds anything of train ${trainId} that could be taken back.`);

  const goodOf = new Map(facts.lastGood.map((good) => [good.store, good]));
  const groups = new Map<string, RollbackPlan['groups'][number]>();
  const unable: RollbackPlan['unable'] = [];
  for (const store of stores) {
    const target = targetOf(store, goodOf.get(store), revoked);
    if ('reason' in target) {
      unable.push(target);
      continue;
    }
    const key = `${target.manifest} ${target.bundle}`;
    const group = groups.get(key) ?? { to: target, stores: [] };
    group.stores.push(store);
    groups.set(key, group);
  }
  if (groups.size === 0) return refused(...unable.map(({ store, detail }) => `${store}: ${detail}`));
  const byAge = [...groups.values()].toSorted((a, b) => b.to.sequence - a.to.sequence);
  return {
    kind: 'planned',
    plan: { schema: 'edge.rollback-plan/v1', fleet, train: trainId, from, groups: byAge, unable },
  };
}

/** What people approve, in sentences: who goes back to what, who cannot and why, and what no rollback takes back. */
export const describePlan = ({ from, groups, unable }: RollbackPlan): string[] => [
  ...groups.map(({ to, stores }) => `${abridge(stores)}: from ${from.version} back to ${to.version}`),
  ...unable.slice(0, MAX_UNABLE).map(({ store, reason, detail }) => `${store} stays as it is: ${reason}. ${detail}`),
  ...(unable.length > MAX_UNABLE ? [`${plural(unable.length - MAX_UNABLE, 'more store')} cannot go back either.`] : []),
  'Not taken back: Ceph packages, and packages of an older Debian major. The newer kernel stays installed, the older one is booted.',
];
const MAX_UNABLE = 10;

/** How it ended: who is back, who is not, and what takes those back. */
export function rollbackSummary(
  { train, from, groups, unable }: RollbackPlan,
  outcomeOf: (store: string) => Outcome | undefined,
): string {
  const isBack = (store: string) => outcomeOf(store) === 'rolledBack';
  const back = groups.map(({ to, stores }) => {
    const count = stores.filter(isBack).length;
    return `${count} of ${plural(stores.length, 'store')} ${are(count)} back on ${to.version}`;
  });
  const open = groups.flatMap(({ stores }) => stores).filter((store) => !isBack(store));
  const away = open.filter((store) => {
    const outcome = outcomeOf(store);
    return outcome !== undefined && isAway({ outcome });
  });
  const others = open.filter((store) => !away.includes(store));
  return [
    `Rolled back from ${from.version}: ${back.join(', ')}.`,
    ...(away.length > 0 ? [`Away, and still on ${from.version}: ${abridge(away.toSorted())}.`] : []),
    ...(others.length > 0 ? [`Did not come back: ${abridge(others.toSorted())}.`] : []),
    ...(unable.length > 0
      ? [`Still on ${from.version}: ${plural(unable.length, 'store')}, because nothing older ran well there.`]
      : []),
    ...(open.length > 0 ? [`To take them back later: ${rollbackAgain(train)}`] : []),
  ].join(' ');
}

export const rollbackAgain = (train: string): string => `edge train rollback --train ${train}`;

/** How long stores that are away are awaited: to the deadline of their train when that lies ahead, and no longer than their permit holds. */
export function awaitedUntil({ deadline, approvedAt, now }: { deadline: string; approvedAt: string; now: Date }): Date {
  const permitEnds = Date.parse(approvedAt) + PERMIT_LIFE_MS;
  const trainEnds = Date.parse(deadline);
  return new Date(trainEnds > now.getTime() ? Math.min(trainEnds, permitEnds) : permitEnds);
}

/** What a store was meant to run before a train that is taken back. Undefined when that is not known, or must not be run any more. */
export function desiredBefore(
  store: string,
  lastGood: readonly LastGood[],
  revoked: readonly Revocation[],
): ReleaseRef | undefined {
  const good = lastGood.find((candidate) => candidate.store === store);
  const target = targetOf(store, good, revoked);
  return 'reason' in target ? undefined : target;
}

export const releaseLeft = ({ release, sequence, manifest }: TrainRow): LeftRelease | undefined =>
  release !== undefined && sequence !== undefined && manifest !== undefined
    ? { version: release, sequence, manifest }
    : undefined;

function targetOf(
  store: string,
  good: LastGood | undefined,
  revoked: readonly Revocation[],
): ReleaseRef | RollbackPlan['unable'][number] {
  if (!good) {
    const detail = 'No earlier release passed its gate on this store.';
    return { store, reason: 'NoLastGood', detail };
  }
  if (!good.release) {
    const detail = `The last good release came with train ${good.train}, whose signature bundle the ledger does not name.`;
    return { store, reason: 'NoLastGood', detail };
  }
  const revocation = revocationOf(revoked, good.release);
  if (revocation) return { store, reason: 'ReleaseRevoked', detail: revocationText(good.release, revocation) };
  return good.release;
}

/** What the release worker found by itself; `asked` alone is what it was told. */
export interface PermitFacts {
  asked: PermitRequest;
  /** The object that the plan hash names. */
  plan: RollbackPlan | undefined;
  train: TrainRow | undefined;
  approvals: readonly ApprovalRow[];
  lastGood: readonly LastGood[];
  revoked: readonly Revocation[];
  now: Date;
}

/**
 * Whether a rollback permit may be signed. Everything asked for must stand in the approved plan, and what the plan says
 * must still be what the ledger says.
 */
export function decidePermit(
  facts: PermitFacts,
): { kind: 'permit'; permit: RollbackPermit } | { kind: 'refused'; problems: string[] } {
  const { asked, approvals } = facts;
  const problems = [...problemsOfPlan(facts), ...problemsOfTarget(facts)];
  const approval = approvals.find(({ stage, id }) => stage === ROLLBACK_STAGE && id === asked.approvalId);
  problems.push(...problemsOfApproval(facts, approval));
  if (problems.length > 0 || !approval) return { kind: 'refused', problems };
  return {
    kind: 'permit',
    permit: {
      schema: 'edge.rollback-permit/v1',
      fleet: asked.fleet,
      stores: asked.stores.toSorted(),
      from: asked.from,
      to: asked.to,
      approval: { id: approval.id, by: approval.by, at: approval.at, planHash: approval.planHash },
      created: approval.at,
      expires: expiryOf(approval),
    },
  };
}

const expiryOf = ({ at }: ApprovalRow): string => new Date(Date.parse(at) + PERMIT_LIFE_MS).toISOString();

function* problemsOfPlan({ asked, plan, train }: PermitFacts): Generator<string> {
  const { fleet, train: trainId, from, to, stores, planHash } = asked;
  if (train?.fleet !== fleet) yield `The ledger has no train ${trainId} of fleet ${fleet}.`;
  else if (!sameRelease(releaseLeft(train), from)) {
    yield `Train ${trainId} did not bring release ${from.version} (sequence ${from.sequence}), says the ledger.`;
  }
  if (!plan) {
    yield `The registry has no rollback plan ${planHash.slice(0, 19)}….`;
    return;
  }
  if (plan.fleet !== fleet || plan.train !== trainId || !sameRelease(plan.from, from)) {
    yield `The plan is for another rollback: of train ${plan.train} of fleet ${plan.fleet}, from ${plan.from.version}.`;
  }
  const members = plan.groups.find((group) => sameRef(group.to, to))?.stores;
  const outside = stores.filter((store) => !members?.includes(store));
  if (!members) yield `The plan takes no store back to release ${to.version} (sequence ${to.sequence}).`;
  else if (outside.length > 0) yield `The plan does not take ${abridge(outside)} back to release ${to.version}.`;
  if (stores.length === 0) yield 'A permit names at least one store.';
  if (new Set(stores).size < stores.length) yield 'A permit names each store once.';
}

function* problemsOfTarget({ asked, lastGood, revoked }: PermitFacts): Generator<string> {
  const { from, to, stores } = asked;
  if (to.sequence >= from.sequence) {
    yield `Release ${to.version} (sequence ${to.sequence}) is not older than ${from.version} (sequence ${from.sequence}).`;
  }
  const revocation = revocationOf(revoked, to);
  if (revocation) yield revocationText(to, revocation);
  const goodOf = new Map(lastGood.map(({ store, release }) => [store, release]));
  const others = stores.filter((store) => !sameRef(goodOf.get(store), to));
  if (others.length > 0) {
    yield `Release ${to.version} is not the last good one of ${abridge(others)}, says the ledger.`;
  }
}

function* problemsOfApproval({ asked, now }: PermitFacts, approval: ApprovalRow | undefined): Generator<string> {
  if (!approval) {
    yield `The ledger has no approval ${asked.approvalId} for a rollback of train ${asked.train}.`;
    return;
  }
  if (!approval.accepted)
    yield `The approval by ${approval.by} was not accepted: ${approval.refusal ?? 'no reason kept'}.`;
  if (approval.decision !== 'approve')
    yield `${approval.by} did not approve the rollback but decided: ${approval.decision}.`;
  if (approval.planHash !== asked.planHash) {
    yield `The approval by ${approval.by} is for another plan (${approval.planHash.slice(0, 19)}…).`;
  }
  if (!(now.getTime() < Date.parse(expiryOf(approval)))) {
    yield `The approval is of ${approval.at}; a permit holds for 72 hours from then. Ask for a new approval.`;
  }
}

const sameRelease = (a: LeftRelease | undefined, b: LeftRelease): boolean =>
  a?.manifest === b.manifest && a.sequence === b.sequence && a.version === b.version;
const sameRef = (a: ReleaseRef | undefined, b: ReleaseRef): boolean => sameRelease(a, b) && a?.bundle === b.bundle;
