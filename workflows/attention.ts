import type { Reason } from '#domain/reasons.js';
import { notify } from './proxies.js';

/** Calls people about something that waits for no answer of theirs. `about`: the train or night that it is of. */
export const attention = (
  fleet: string,
  about: string,
  concern: { reason?: Reason | undefined; summary: string },
): Promise<void> => notify({ event: 'attention', fleet, train: about, ...concern, answers: [] }).catch(() => undefined);
