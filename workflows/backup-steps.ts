import { patched } from '@temporalio/workflow';
import { notBegun, stillAtWork, type NightStep } from '#domain/backup-result.js';
import type { TendAnswer } from '#domain/messages/backup.js';
import type { BackupDesk } from './backup-view.js';
import type { NightEnd } from './night-end.js';
import { messageOf } from './proxies.js';
import type { Stopping } from './store-steering.js';

/** What has to be done once the guests are dumped; none of it is begun once people, or the night, have ended it. */
export function openSteps(view: BackupDesk, stopping: Stopping, end: NightEnd) {
  const done: NightStep[] = [];
  const keep = (step: NightStep) => {
    done.push(step);
    view.done(step);
  };
  // Time that is over bounds the dumps alone: what was dumped in time is proven all the same.
  const isHalted = () => stopping.stop !== undefined && (stopping.isAborted || !patched('tended-when-late'));
  const isLeftOut = (what: NightStep['what'], where: string): boolean => {
    if (isHalted()) return true;
    if (end.isOver()) keep(notBegun(what, where));
    return end.isOver();
  };
  return {
    done,
    isEnded: () => isHalted() || end.isOver(),
    /** One that the night has no time for any more is named. */
    isLeftOut,
    /** For one that did not come about. */
    keep,
    async take(
      what: NightStep['what'],
      where: string,
      work: () => Promise<TendAnswer>,
    ): Promise<TendAnswer | undefined> {
      if (isLeftOut(what, where)) return undefined;
      view.step(`${what}${where}`);
      const answer = await end.untilOver(work).catch((error: unknown): TendAnswer => ({
        ok: false,
        detail: messageOf(error),
        reason: 'StepFailed',
      }));
      if (answer === undefined) {
        keep(stillAtWork(what, where));
        return undefined;
      }
      const { ok, detail } = answer;
      keep({ what, ok, detail: `${detail}${where}`, ...(answer.ok ? {} : { reason: answer.reason }) });
      return answer;
    },
  };
}

export type Steps = ReturnType<typeof openSteps>;
