import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import type { WorkflowHandle } from '@temporalio/client';
import type { TrainReport, TrainView } from '#domain/messages/train.js';
import type { ReleaseRef } from '#domain/release.js';
import type { Practice } from '../support/practice.js';
import { within } from './patience.js';

/** A release that stores can go back to: what a calm train brought, and every store knows to be good. */

const LOOK_EVERY_MS = 500;

export async function takeRelease(practice: Practice, limitMs: number): Promise<ReleaseRef> {
  const report = await approving(practice, await practice.startTrain(), limitMs);
  if (report?.state !== 'done' || !report.release) throw new Error(`No ground for a way back: ${report?.summary}`);
  return report.release;
}

export async function takeGoodRelease(practice: Practice, limitMs: number): Promise<ReleaseRef> {
  const release = await takeRelease(practice, limitMs);
  for (const store of Object.values(await practice.stages()).flat())
    await practice.eventually(`${store} to learn that ${release.version} soaked`, async () =>
      (await lastGoodOf(practice, store)) === release.version ? true : undefined,
    );
  return release;
}

/** Approves whatever is asked until it ends, for as long as kills may take; undefined when it does not end. */
export async function approving(
  practice: Practice,
  handle: WorkflowHandle,
  limitMs: number,
): Promise<TrainReport | undefined> {
  const deadline = performance.now() + limitMs;
  let report: TrainReport | undefined;
  const ended = handle.result().then((result: TrainReport) => (report = result));
  while (report === undefined && performance.now() < deadline) {
    const view = await within(2_000, handle.query<TrainView>('train'));
    if (view?.hold?.reason === 'ApprovalPending') await practice.approve().catch(() => undefined);
    await Promise.race([ended, delay(LOOK_EVERY_MS)]);
  }
  return report;
}

async function lastGoodOf(practice: Practice, store: string): Promise<string | undefined> {
  const file = join(practice.dir, 'edge', 'lab', 'workers', store, 'trust.json');
  return (JSON.parse(await readFile(file, 'utf8')) as { lastGood?: { version: string } }).lastGood?.version;
}
