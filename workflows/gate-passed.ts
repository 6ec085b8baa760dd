import { patched } from '@temporalio/workflow';
import type { GateVerdict } from '#domain/gate.js';

/** A train whose gate passed for want of facts, when gates still did, must not hold there when it is replayed. */
export const isPassed = (verdict: GateVerdict): boolean =>
  verdict.kind === 'pass' ||
  (verdict.kind === 'hold' && verdict.lacks !== 'answers' && !patched('gate-holds-for-want-of-facts'));
