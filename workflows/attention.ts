import { workflowInfo } from '@temporalio/workflow';
import type { Reason } from '#domain/reasons.js';
import { notify } from './proxies.js';

/** Calls people about something that waits for no answer of theirs. `about`: the train or night that it is of. */
export const attention = (
  fleet: string,
  about: string,
  concern: { reason?: Reason | undefined; summary: string },
): Promise<void> => notify({ event: 'attention', fleet, train: about, ...concern, answers: [] }).catch(() => undefined);

/** The same, of a night or a run of restore tests: with the workflow's id, by which they find it. */
export const tellPeople = (fleet: string, about: string, summary: string, reason?: Reason): Promise<void> =>
  attention(fleet, about, { reason, summary: `${summary} (${workflowInfo().workflowId})` });
