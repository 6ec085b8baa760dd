import { setCurrentDetails } from '@temporalio/workflow';
import type { GuestRun } from '#domain/backup-failures.js';
import { renderBackupDetails } from '#domain/backup-progress.js';
import type { NightStep } from '#domain/backup-result.js';
import type { BackupTask, BackupView } from '#domain/messages/backup.js';
import type { LastSeen } from '#domain/messages/store.js';
import type { StoreResult } from '#domain/outcomes.js';
import type { Ended } from './ended.js';
import { showOutcome } from './search-keys.js';

/** What people see of the backup of a store, in the query `backup` and in the Temporal UI; and its result at the end. */
export type BackupDesk = ReturnType<typeof openBackupView>;

export function openBackupView({ store, night, operationId, startedAt }: BackupTask) {
  const now = () => new Date().toISOString();
  const current: BackupView = {
    store,
    night,
    step: 'start',
    since: startedAt,
    cutOff: false,
    paused: false,
    runs: [],
    steps: [],
    notes: [],
  };
  const set = (change: Partial<BackupView>) => {
    Object.assign(current, change);
    setCurrentDetails(renderBackupDetails(current));
  };
  return {
    current,
    step: (step: string) => set({ step, since: now() }),
    cutOff: (cutOff: boolean) => set({ cutOff }),
    paused: (paused: boolean) => set({ paused }),
    note: (...notes: string[]) => set({ notes: [...current.notes, ...notes].slice(-20) }),
    runs: (runs: GuestRun[]) => set({ runs }),
    seen: (): LastSeen => ({ step: current.step }),
    done: (step: NightStep) => set({ steps: [...current.steps, step] }),
    finish({ outcome, reason, stop }: Ended): StoreResult {
      const result: StoreResult = { store, outcome, reason, stop, operationId, startedAt, endedAt: now() };
      set({ step: 'ended', since: now(), result });
      showOutcome(result);
      return result;
    },
  };
}
