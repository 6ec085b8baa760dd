import { during, found, isOfWayBack, type Finding } from './findings.js';
import { secondId, type Operation, type Seen, type TrainSeen } from './seen.js';
import type { Steered } from './steering.js';

/** From the answer of the train until its wave, and the operation on the store, have heard of it. */
const HEARD_WITHIN_MS = 3_000;

export const judgeSteering = (seen: Seen, train: TrainSeen): Finding[] =>
  found(
    'steered',
    train.steered.flatMap((part) => {
      const concerned = train.operations.filter((operation) => isConcerned(part, operation));
      return [...begunAllTheSame(part, concerned), ...nodesBegunAllTheSame(part, concerned, seen)];
    }),
  );

/** A pause stands until it is taken back; an abort is of the way on which it was said. */
const isConcerned = ({ stores, how, way }: Steered, operation: Operation): boolean =>
  stores.includes(operation.store) &&
  operation.workflowId !== secondId(operation.store) &&
  (how === 'pause' || isOfWayBack(operation) === (way === 'back'));

/** Whoever is in work may end. */
const begunAllTheSame = (part: Steered, concerned: readonly Operation[]): string[] =>
  concerned
    .filter(({ begunAt }) => isIn(part, begunAt))
    .map(({ operationId, begunAt }) => `${operationId} was begun at ${begunAt}, though ${words(part)}`);

/** A store in work stops after the node that it is at; a stage that is paused lets its stores in work go on. */
function nodesBegunAllTheSame(part: Steered, concerned: readonly Operation[], { journal }: Seen): string[] {
  if (part.what === 'stage' && part.how === 'pause') return [];
  return concerned.flatMap((operation) => {
    const begun = journal.filter(
      ({ store, effect, by, at }) =>
        store === operation.store && effect === 'ha.maintenance.enable' && by !== 'lab' && isIn(part, at),
    );
    const nodes = new Set(begun.filter((entry) => during(operation, entry)).map(({ node }) => node));
    return nodes.size > 1
      ? [`${operation.operationId} went on to ${[...nodes].join(', ')}, though ${words(part)}`]
      : [];
  });
}

const isIn = ({ from, to }: Steered, at: string): boolean =>
  Date.parse(at) > Date.parse(from) + HEARD_WITHIN_MS && (to === undefined || at < to);

const words = ({ what, name, how, from, to }: Steered): string =>
  `${what} ${name} was ${how === 'pause' ? 'paused' : 'aborted'} from ${from} to ${to ?? 'the end'}`;
