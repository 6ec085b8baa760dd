import { z } from 'zod';
import { OUTCOMES } from '#domain/outcomes.js';
import type { LastGood } from '#domain/rollback.js';
import type { ApprovalRow, ResultRow, StageRow, TrainRow } from './types.js';

/** How rows look when `pg` reads them, and how the contract wants them: instants as text, absent instead of null. */
const maybe = <T extends z.ZodType>(type: T) => type.nullable().transform((value) => value ?? undefined);
const text = z.string();
const instant = z.date().transform((date) => date.toISOString());
const integer = z.number().int();

export const trainRow = z
  .object({
    id: text,
    fleet: text,
    release: maybe(text),
    sequence: maybe(integer),
    manifest: maybe(text),
    bundle: maybe(text),
    commit: maybe(text),
    plan_hash: maybe(text),
    state: text,
    reason: maybe(text),
    summary: maybe(text),
    started_at: instant,
    ended_at: maybe(instant),
  })
  .transform(({ plan_hash, started_at, ended_at, ...rest }): TrainRow => ({
    ...rest,
    planHash: plan_hash,
    startedAt: started_at,
    endedAt: ended_at,
  }));

export const stageRow = z
  .object({
    train: text,
    stage: text,
    position: integer,
    stores: integer,
    state: text,
    reason: maybe(text),
    commit: maybe(text),
    tally: z.record(z.enum(OUTCOMES), integer),
    started_at: maybe(instant),
    ended_at: maybe(instant),
  })
  .transform(({ started_at, ended_at, ...rest }): StageRow => ({ ...rest, startedAt: started_at, endedAt: ended_at }));

export const resultRow = z
  .object({
    train: text,
    stage: text,
    store: text,
    round: integer,
    outcome: z.enum(OUTCOMES),
    reason: maybe(text),
    summary: maybe(text),
    started_at: maybe(instant),
    ended_at: maybe(instant),
  })
  .transform(({ started_at, ended_at, ...rest }): ResultRow => ({ ...rest, startedAt: started_at, endedAt: ended_at }));

export const approvalRow = z
  .object({
    train: text,
    stage: text,
    id: text,
    plan_hash: text,
    decision: z.enum(['approve', 'reject']),
    by_whom: text,
    via: text,
    comment: maybe(text),
    accepted: z.boolean(),
    refusal: maybe(text),
    at: instant,
  })
  .transform(({ plan_hash, by_whom, ...rest }): ApprovalRow => ({ ...rest, planHash: plan_hash, by: by_whom }));

export const durationRow = z.object({ milliseconds: z.number() }).transform(({ milliseconds }) => milliseconds);

export const lastGoodRow = z
  .object({
    store: text,
    train: text,
    version: text,
    sequence: integer,
    manifest: text,
    bundle: maybe(text),
  })
  .transform(({ store, train, bundle, ...release }): LastGood => ({
    store,
    train,
    release: bundle === undefined ? undefined : { ...release, bundle },
  }));
