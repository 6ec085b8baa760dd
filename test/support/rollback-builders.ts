import type { ApprovalRow, ResultRow, TrainRow } from '#domain/messages/ledger.js';
import type { PermitRequest } from '#domain/messages/train.js';
import type { ReleaseRef, RollbackPermit } from '#domain/release.js';
import type { LastGood, PermitFacts, RollbackPlan } from '#domain/rollback.js';
import { aReleaseRef } from './builders.js';

export const ROLLBACK_HASH = `sha256:${'f'.repeat(64)}`;

const leftRelease = ({ version, sequence, manifest }: ReleaseRef) => ({ version, sequence, manifest });

/** Train 2026-w48 brought release 48. */
export const aTrainRow = (change: Partial<TrainRow> = {}): TrainRow => {
  const { version, sequence, manifest, bundle } = aReleaseRef(48);
  return {
    id: '2026-w48',
    fleet: 'edge',
    release: version,
    sequence,
    manifest,
    bundle,
    state: 'held',
    startedAt: '2026-11-23T01:00:00.000Z',
    ...change,
  };
};

export const aResultRow = (store: string, change: Partial<ResultRow> = {}): ResultRow => ({
  train: '2026-w48',
  stage: 'canary',
  store,
  round: 0,
  outcome: 'succeeded',
  startedAt: '2026-11-24T09:00:00.000Z',
  endedAt: '2026-11-24T09:30:00.000Z',
  ...change,
});

export const goodRelease = (store: string, sequence = 47): LastGood => ({
  store,
  train: `2026-w${sequence}`,
  release: aReleaseRef(sequence),
});

export const aRollbackPlan = (change: Partial<RollbackPlan> = {}): RollbackPlan => ({
  schema: 'edge.rollback-plan/v1',
  fleet: 'edge',
  train: '2026-w48',
  from: leftRelease(aReleaseRef(48)),
  groups: [{ to: aReleaseRef(47), stores: ['store-001', 'store-002'] }],
  unable: [],
  ...change,
});

export const aRollbackApproval = (change: Partial<ApprovalRow> = {}): ApprovalRow => ({
  train: '2026-w48',
  stage: 'rollback',
  id: 'cli:1',
  planHash: ROLLBACK_HASH,
  decision: 'approve',
  by: 'ann',
  via: 'cli',
  accepted: true,
  at: '2026-11-25T10:00:00.000Z',
  ...change,
});

export const aPermitRequest = (change: Partial<PermitRequest> = {}): PermitRequest => ({
  fleet: 'edge',
  train: '2026-w48',
  stores: ['store-001', 'store-002'],
  from: leftRelease(aReleaseRef(48)),
  to: aReleaseRef(47),
  planHash: ROLLBACK_HASH,
  approvalId: 'cli:1',
  ...change,
});

/** All that the release worker finds when everything is as it should be. */
export const permitFacts = (change: Partial<PermitFacts> = {}): PermitFacts => ({
  asked: aPermitRequest(),
  plan: aRollbackPlan(),
  train: aTrainRow(),
  approvals: [aRollbackApproval()],
  lastGood: [goodRelease('store-001'), goodRelease('store-002')],
  revoked: [],
  now: new Date('2026-11-25T10:05:00Z'),
  ...change,
});

export const aPermit = (change: Partial<RollbackPermit> = {}): RollbackPermit => ({
  schema: 'edge.rollback-permit/v1',
  fleet: 'edge',
  stores: ['store-001', 'store-002'],
  from: leftRelease(aReleaseRef(48)),
  to: aReleaseRef(47),
  approval: { id: 'cli:1', by: 'ann', at: '2026-11-25T10:00:00.000Z', planHash: ROLLBACK_HASH },
  created: '2026-11-25T10:00:00.000Z',
  expires: '2026-11-28T10:00:00.000Z',
  ...change,
});
