import type { Fault, TrialAnswer } from '#domain/messages/restore.js';
import { answeredBy } from '../backup/answers.js';

type Failed = Extract<TrialAnswer<object>, { kind: 'failed' }>;

const failed = (fault: Fault, why: string, detail: string[] | undefined): Failed => ({
  kind: 'failed',
  fault,
  why,
  ...(detail === undefined || detail.length === 0 ? {} : { detail }),
});
export const siteFault = (why: string, detail?: string[]): Failed => failed('site', why, detail);
export const guestFault = (why: string, detail?: string[]): Failed => failed('guest', why, detail);

/** What is final is an answer, and what a retry can mend is thrown. Nothing that a client refuses is a guest's fault. */
export const answered = <T>(work: () => Promise<TrialAnswer<T>>): Promise<TrialAnswer<T>> =>
  answeredBy<TrialAnswer<T>>(({ why }) => siteFault(why), work);
