import { during, found, isOfWayBack, type Finding } from './findings.js';
import { secondId, type Operation, type Seen, type TrainSeen } from './seen.js';
import type { Steered } from './steering.js';

/** From the answer of the train until its wave, and the operation on the store, have heard of it. */
const HEARD_WITHIN_MS = 3_000;
/** It may have heard of it before whoever said it had the answer. */
const HEARD_BEFORE_MS = 5_000;

export function judgeSteering({ journal }: Seen, train: TrainSeen): Finding[] {
  const seconds = train.operations.filter(isOfAnother);
  const steps = journal.filter(
    (entry) =>
      entry.by !== 'lab' &&
      [BEGINS, ENDS].includes(entry.effect) &&
      !seconds.some((second) => second.store === entry.store && during(second, entry)),
  );
  return found(
    'steered',
    train.steered.flatMap((part) => {
      const concerned = train.operations.filter((operation) => isConcerned(part, operation));
      return [...begunAllTheSame(part, concerned), ...nodesBegunAllTheSame(part, concerned, steps)];
    }),
  );
}

/** Nobody of this train could tell it anything. */
const isOfAnother = ({ workflowId, store }: Operation): boolean => workflowId === secondId(store);

/** A pause stands until it is taken back; an abort is of the way on which it was said. */
const isConcerned = ({ stores, how, way }: Steered, operation: Operation): boolean =>
  stores.includes(operation.store) &&
  !isOfAnother(operation) &&
  (how === 'pause' || isOfWayBack(operation) === (way === 'back'));

/** Whoever is in work may end. */
const begunAllTheSame = (part: Steered, concerned: readonly Operation[]): string[] =>
  concerned
    .filter(({ begunAt }) => isIn(part, begunAt))
    .map(({ operationId, begunAt }) => `${operationId} was begun at ${begunAt}, though ${words(part)}`);

/** A store in work stops after the node that it is at; a stage that is paused lets its stores in work go on. */
function nodesBegunAllTheSame(part: Steered, concerned: readonly Operation[], steps: Seen['journal']): string[] {
  if (part.what === 'stage' && part.how === 'pause') return [];
  return concerned.flatMap((operation) => {
    const own = steps.filter(
      (step) => step.store === operation.store && isAfter(part, operation, step.at) && during(operation, step),
    );
    // One node may have been asked for just before.
    const later = own.slice(1).find(({ effect }) => effect === BEGINS);
    return later ? [`${operation.operationId} went on to ${later.node} at ${later.at}, though ${words(part)}`] : [];
  });
}
const BEGINS = 'ha.maintenance.enable';
const ENDS = 'ha.maintenance.disable';

const isIn = ({ from, to }: Steered, at: string): boolean =>
  Date.parse(at) > Date.parse(from) + HEARD_WITHIN_MS && (to === undefined || at < to);

/** To the operation itself the word came when its history says so. */
function isAfter(part: Steered, { toldAt = [] }: Operation, at: string): boolean {
  const told = toldAt.find((each) => Date.parse(each) > Date.parse(part.from) - HEARD_BEFORE_MS);
  return told === undefined ? isIn(part, at) : at > told && (part.to === undefined || at < part.to);
}

const words = ({ what, name, how, from, to }: Steered): string =>
  `${what} ${name} was ${how === 'pause' ? 'paused' : 'aborted'} from ${from} to ${to ?? 'the end'}`;
