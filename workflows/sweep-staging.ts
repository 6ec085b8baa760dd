import { isCancellation } from '@temporalio/workflow';
import type { SiteFound } from '#domain/messages/janitor.js';
import { PROTOCOL } from '#domain/messages/store.js';
import { control, isUnanswered, messageOf, stagingProxies } from './proxies.js';

/**
 * Has the staging site take away what runs of restore tests that died have left there, for the janitor and for a run that
 * begins. What is of a store whose guests are tried at this moment stays, however old; what a run begins meanwhile is young.
 */
export async function sweepStaging(
  fleet: string,
  { stores, storeTimeout, patience }: { stores: string[]; storeTimeout: number; patience: number },
): Promise<SiteFound> {
  const before = new Date(Date.now() - 2 * storeTimeout).toISOString();
  try {
    const tried = await control.triedNow({ stores });
    const answer = await stagingProxies(patience).longTask.sweepSite({
      protocol: PROTOCOL,
      fleet,
      before,
      ...(tried.length === 0 ? {} : { tried }),
    });
    if (answer.kind === 'failed') return { kind: 'failed', why: answer.why };
    const { removed, left, busy = [] } = answer;
    return { kind: 'looked', removed, left, busy };
  } catch (error) {
    if (isCancellation(error)) throw error;
    if (isUnanswered(error)) return { kind: 'offline' };
    return { kind: 'failed', why: messageOf(error).slice(0, 300) };
  }
}
