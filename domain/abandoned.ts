/**
 * What a store does about an operation that set something and then fell silent: its run was terminated, the centre is
 * gone, or the link is cut. What hides faults from Ceph or keeps a node from its guests must not stay set for ever.
 */
export interface HeldFacts {
  open: boolean;
  marks: { node: string; ageMs: number }[];
  /** How long ago the operation was heard of or ended a step. */
  quietMs: number;
}

export type AbandonedDecision =
  | { kind: 'leave' }
  /** All that is set on these nodes. */
  | { kind: 'takeBack'; nodes: string[] }
  /** Nothing is set any more, and nobody came back: the store is anybody's again. */
  | { kind: 'free' };

/** Steps follow each other within a minute or two; an operation that was heard of so lately is not interrupted. */
const QUIET_SHARE = 0.1;

/**
 * How often an operation that people let stand still says that it lives, in milliseconds: often enough to keep its
 * lock, and so seldom that the store is quiet for long enough in between to take back what is set for too long.
 */
export const signEvery = (maxMaintenance = 90 * 60_000): number => Math.max(1, Math.ceil(maxMaintenance * SIGN_SHARE));
const SIGN_SHARE = 0.25;

/**
 * `maxMaintenance` in milliseconds. A node is taken as one: noout goes with its maintenance, however young it is.
 */
export function decideAbandoned({ open, marks, quietMs }: HeldFacts, maxMaintenance: number): AbandonedDecision {
  if (!open || quietMs < maxMaintenance * QUIET_SHARE) return { kind: 'leave' };
  const nodes = [...new Set(marks.filter(({ ageMs }) => ageMs >= maxMaintenance).map(({ node }) => node))];
  if (nodes.length > 0) return { kind: 'takeBack', nodes };
  return marks.length === 0 && quietMs >= maxMaintenance ? { kind: 'free' } : { kind: 'leave' };
}

/**
 * The same for a dump, which sets nothing. Its lock goes when it is silent, whatever it carries on: `marks` are those of
 * an operation that fell silent before it, and are taken back as they would have been without the dump. What a closed
 * operation left is not among them; people, or the next patch, decide about that.
 */
export function decideAbandonedDump({ open, marks, quietMs }: HeldFacts, maxMaintenance: number): AbandonedDecision {
  const lock = decideAbandoned({ open, marks: [], quietMs }, maxMaintenance);
  return lock.kind === 'free' ? lock : decideAbandoned({ open: marks.length > 0, marks, quietMs }, maxMaintenance);
}
