import { abridge } from './abridge.js';
import type { GuestRun } from './backup-failures.js';
import { plural } from './counted.js';
import { bullets, code, fitted, link, plain, sections, table, time } from './markdown.js';
import type { BackupView, NightView } from './messages/backup.js';
import { backupWorkflowId } from './naming.js';
import { happened, OUTCOME_WORDS, totalOf, type StoreResult } from './outcomes.js';

/** What the backup of a store, and a whole night, show of themselves in the Temporal UI. */

const MAX_ROWS = 40;

export function renderBackupDetails(view: BackupView): string {
  const { store, night, step, since, cutOff, paused, runs, steps, notes, result } = view;
  return fitted(
    sections(
      `**${plain(store)}** · ${plain(night)}`,
      result ? endOf(result) : `Now: ${plain(step)}, since ${time(since)}.`,
      paused ? 'Paused: begins no further dump until it is resumed.' : undefined,
      cutOff ? 'The store is silent; it goes on by itself and reports when the link is back.' : undefined,
      bullets('Guests', runs.slice(0, MAX_ROWS).map(runWords), runs.length),
      bullets(
        'Afterwards',
        steps.map(({ what, ok, detail }) => `${what} ${ok ? 'done' : 'NOT done'}: ${detail}`),
      ),
      bullets('Notes', notes),
    ),
  );
}

function runWords(run: GuestRun): string {
  if (run.kind === 'done') return `${run.vmid}: dumped${run.leftOut ? `, without ${abridge(run.leftOut)}` : ''}`;
  return run.kind === 'failed' ? `${run.vmid}: failed: ${run.text}` : `${run.vmid}: nobody saw how it ended`;
}

function endOf({ outcome, reason, stop }: StoreResult): string {
  return sections(
    `**${OUTCOME_WORDS[outcome]}**${reason ? `: ${reason}` : ''}`,
    stop && plain(stop.summary),
    bullets('Seen', stop?.detail ?? []),
    reason && `What to do: ${code(`edge runbook ${reason}`)}`,
  );
}

export function renderNightDetails(view: NightView): string {
  const { night, fleet, state, doing, stores, tally, inFlight, opens, closes, notSucceeded } = view;
  const counts = happened(tally).map((outcome) => `${tally[outcome]} ${OUTCOME_WORDS[outcome]}`);
  const window = closes ? `${opens ? `${time(opens)} to ` : 'until '}${time(closes)}` : undefined;
  const rows = notSucceeded
    .slice(0, MAX_ROWS)
    .map(({ store, outcome, reason, stop }) => [
      link(store, backupWorkflowId(store)),
      OUTCOME_WORDS[outcome],
      reason ?? '–',
      plain(stop?.summary ?? '–'),
    ]);
  return fitted(
    sections(
      `**${plain(night || 'Night')}** of ${plain(fleet)} · ${state}${window ? ` · ${window}` : ''}`,
      plain(doing),
      `${totalOf(tally)} of ${plural(stores, 'store')} ended${counts.length > 0 ? `: ${counts.join(', ')}` : ''}; in work ${inFlight}.`,
      rows.length > 0 ? table(['Store', 'Outcome', 'Reason', 'Why'], rows) : undefined,
      notSucceeded.length > rows.length ? `and ${notSucceeded.length - rows.length} more` : undefined,
      `What is proven of each guest: ${code('edge backup status')}`,
    ),
  );
}
