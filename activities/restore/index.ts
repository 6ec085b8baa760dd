import {
  copyTaskSchema,
  probeTaskSchema,
  sweepTaskSchema,
  trialTaskSchema,
  type RestoreActivities,
} from '#domain/messages/restore.js';
import { beating } from '../beating.js';
import { admit } from '../door.js';
import { translated } from '../to-failure.js';
import { answered } from './answers.js';
import { closeCopy, openCopy } from './copy.js';
import type { RestoreDeps } from './deps.js';
import { removeGuest } from './remove.js';
import { restoreGuest } from './restore.js';
import { bootGuest, probeGuest } from './run.js';
import { sweepSite } from './sweep.js';

/** The tasks of the staging site's worker. The procedures are in the files beside this one. */
export function createRestoreActivities(deps: RestoreDeps): RestoreActivities {
  return translated<RestoreActivities>({
    /** Retry-safe: a storage that is there as it shall be is used, and one of another form is made anew. */
    openCopy: (raw) =>
      beating(() => {
        const task = admit(copyTaskSchema, raw);
        return answered(() => openCopy(deps, task));
      }),

    /** Retry-safe: the task of an earlier attempt is found and waited for, and never is anything restored over a guest. */
    restoreGuest: (raw) =>
      beating(() => {
        const task = admit(trialTaskSchema, raw);
        return answered(() => restoreGuest(deps, task));
      }),

    /** Retry-safe: one that runs is not started again. */
    bootGuest: (raw) =>
      beating(() => {
        const task = admit(trialTaskSchema, raw);
        return answered(() => bootGuest(deps, task));
      }),

    /** Only looks. */
    probeGuest: (raw) =>
      beating(() => {
        const task = admit(probeTaskSchema, raw);
        return answered(() => probeGuest(deps, task));
      }),

    /** Retry-safe: what is gone stays gone. */
    removeGuest: (raw) =>
      beating(() => {
        const task = admit(trialTaskSchema, raw);
        return answered(() => removeGuest(deps, task));
      }),

    /** Retry-safe: what is gone stays gone. */
    closeCopy: (raw) =>
      beating(() => {
        const task = admit(copyTaskSchema, raw);
        return answered(() => closeCopy(deps, task));
      }),

    /** Retry-safe: each time it looks anew. */
    sweepSite: (raw) =>
      beating(() => {
        const task = admit(sweepTaskSchema, raw);
        return answered(() => sweepSite(deps, task));
      }),
  });
}
