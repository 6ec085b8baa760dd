import { z } from 'zod';
import type { Offer } from '#domain/drift.js';
import { OUTCOMES } from '#domain/outcomes.js';
import type { LastGood } from '#domain/rollback.js';
import { UNPROVEN } from '#domain/backup.js';
import { NIGHT_GUEST_RESULTS } from '#domain/messages/ledger.js';
import { RESTORE_RESULTS } from '#domain/restore-trial.js';
import type {
  ApprovalRow,
  DatastoreRow,
  GuestBackupRow,
  NightGuestRow,
  NightRow,
  RestoreRunRow,
  RestoreTestRow,
  ResultRow,
  StageRow,
  TrainRow,
} from './types.js';

/** How rows look when `pg` reads them, and how the contract wants them: instants as text, absent instead of null. */
const maybe = <T extends z.ZodType>(type: T) => type.nullable().transform((value) => value ?? undefined);
const text = z.string();
const instant = z.date().transform((date) => date.toISOString());
const integer = z.number().int();
/** `pg` reads a bigint as text. */
const bigint = z
  .string()
  .regex(/^-?\d+$/)
  .transform(Number);

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
    decision: z.enum(['approve', 'reject', 'unknown']),
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

export const offerRow = z
  .object({
    store: text,
    train: text,
    stage: text,
    release: text,
    sequence: integer,
    over: z.boolean(),
    outcome: z.enum(OUTCOMES),
    reason: maybe(text),
    started_at: maybe(instant),
  })
  .transform(({ started_at, ...rest }): Offer => ({ ...rest, startedAt: started_at }));

export const nightRow = z
  .object({
    id: text,
    fleet: text,
    state: text,
    reason: maybe(text),
    summary: maybe(text),
    commit: maybe(text),
    stores: integer,
    tally: z.record(z.enum(OUTCOMES), integer),
    opens: maybe(instant),
    closes: maybe(instant),
    started_at: instant,
    ended_at: maybe(instant),
  })
  .transform(({ started_at, ended_at, ...rest }): NightRow => ({ ...rest, startedAt: started_at, endedAt: ended_at }));

export const nightGuestRow = z
  .object({
    night: text,
    store: text,
    vmid: integer,
    name: text,
    result: z.enum(NIGHT_GUEST_RESULTS),
    text: maybe(text),
    snapshot_at: maybe(instant),
    offsite: maybe(z.boolean()),
  })
  .transform(({ snapshot_at, ...rest }): NightGuestRow => ({ ...rest, snapshotAt: snapshot_at }));

export const datastoreRow = z
  .object({
    store: text,
    place: z.enum(['local', 'offsite']),
    fleet: text,
    total: maybe(bigint),
    used: maybe(bigint),
    still_bad: maybe(bigint),
    read_at: instant,
  })
  .transform(({ still_bad, read_at, ...rest }): DatastoreRow => ({ ...rest, stillBad: still_bad, readAt: read_at }));

export const guestBackupRow = z
  .object({
    fleet: text,
    store: text,
    vmid: integer,
    name: text,
    kind: z.enum(['qemu', 'lxc']),
    tier: text,
    rpo_local_ms: bigint,
    rpo_offsite_ms: maybe(bigint),
    local_proven_at: maybe(instant),
    local_verified_at: maybe(instant),
    local_size: maybe(bigint),
    encrypted: maybe(z.boolean()),
    key_fingerprint: maybe(text),
    local_unproven_at: maybe(instant),
    local_unproven_why: maybe(z.enum(UNPROVEN)),
    offsite_proven_at: maybe(instant),
    offsite_verified_at: maybe(instant),
    offsite_unproven_at: maybe(instant),
    offsite_unproven_why: maybe(z.enum(UNPROVEN)),
    first_seen: instant,
    seen_at: instant,
    read_local_at: maybe(instant),
    read_offsite_at: maybe(instant),
    gone_at: maybe(instant),
    own_since: maybe(instant),
    left_out: maybe(z.array(text)),
    left_out_since: maybe(instant),
    left_out_at: maybe(instant),
  })
  .transform((row): GuestBackupRow => ({
    fleet: row.fleet,
    store: row.store,
    vmid: row.vmid,
    name: row.name,
    kind: row.kind,
    tier: row.tier,
    rpoLocalMs: row.rpo_local_ms,
    rpoOffsiteMs: row.rpo_offsite_ms,
    local:
      row.read_local_at === undefined
        ? undefined
        : {
            readAt: row.read_local_at,
            ...(isOwn(row, row.local_proven_at) && {
              provenAt: row.local_proven_at,
              verifiedAt: row.local_verified_at,
              size: row.local_size,
              encrypted: row.encrypted,
              keyFingerprint: row.key_fingerprint,
            }),
            ...(isOwn(row, row.local_unproven_at) && {
              unprovenAt: row.local_unproven_at,
              unprovenWhy: row.local_unproven_why,
            }),
          },
    offsite:
      row.read_offsite_at === undefined
        ? undefined
        : {
            readAt: row.read_offsite_at,
            ...(isOwn(row, row.offsite_proven_at) && {
              provenAt: row.offsite_proven_at,
              verifiedAt: row.offsite_verified_at,
            }),
            ...(isOwn(row, row.offsite_unproven_at) && {
              unprovenAt: row.offsite_unproven_at,
              unprovenWhy: row.offsite_unproven_why,
            }),
          },
    leftOut:
      row.left_out_at === undefined
        ? undefined
        : { disks: row.left_out ?? [], ...(row.left_out_since && { since: row.left_out_since }), at: row.left_out_at },
    firstSeen: row.first_seen,
    seenAt: row.seen_at,
    goneAt: row.gone_at,
    ownSince: row.own_since,
  }));

/** Snapshots of one number are one group on a server, whichever guests had it. */
const isOwn = ({ own_since }: { own_since?: string | undefined }, begunAt: string | undefined): boolean =>
  own_since === undefined || (begunAt !== undefined && Date.parse(begunAt) >= Date.parse(own_since));

export const restoreRunRow = z
  .object({
    id: text,
    fleet: text,
    state: text,
    summary: maybe(text),
    commit: maybe(text),
    stores: integer,
    guests: integer,
    tally: z.record(z.enum(OUTCOMES), integer),
    started_at: instant,
    ended_at: maybe(instant),
  })
  .transform(({ started_at, ended_at, ...rest }): RestoreRunRow => ({
    ...rest,
    startedAt: started_at,
    endedAt: ended_at,
  }));

export const restoreTestRow = z
  .object({
    run: text,
    store: text,
    vmid: integer,
    fleet: text,
    name: text,
    kind: maybe(z.enum(['qemu', 'lxc'])),
    class: text,
    tier: text,
    why: text,
    result: z.enum(RESTORE_RESULTS),
    text: maybe(text),
    detail: maybe(z.array(text)),
    snapshot_at: maybe(instant),
    rto_ms: maybe(bigint),
    restore_ms: maybe(bigint),
    boot_ms: maybe(bigint),
    probe_ms: maybe(bigint),
    rpo_ms: maybe(bigint),
    bytes: maybe(bigint),
    tested_at: instant,
  })
  .transform(({ snapshot_at, rto_ms, restore_ms, boot_ms, probe_ms, rpo_ms, tested_at, ...rest }): RestoreTestRow => ({
    ...rest,
    snapshotAt: snapshot_at,
    rtoMs: rto_ms,
    restoreMs: restore_ms,
    bootMs: boot_ms,
    probeMs: probe_ms,
    rpoMs: rpo_ms,
    testedAt: tested_at,
  }));
