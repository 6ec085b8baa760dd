import { plural } from './counted.js';
import { code, fitted, link, plain, sections, table } from './markdown.js';
import type { RestorePlan, RestoreView } from './messages/restore.js';
import { restoreWorkflowId } from './naming.js';
import { happened, othersOf, OUTCOME_WORDS, tallyOf, totalOf, type StoreResult } from './outcomes.js';

/** What a run of restore tests shows of itself in the Temporal UI, and says at its end. */

const MAX_ROWS = 40;

export function renderRestoreDetails(view: RestoreView): string {
  const { run, fleet, state, doing, stores, guests, tally, inFlight, notSucceeded } = view;
  const counts = happened(tally).map((outcome) => `${tally[outcome]} ${OUTCOME_WORDS[outcome]}`);
  const rows = notSucceeded
    .slice(0, MAX_ROWS)
    .map(({ store, outcome, reason, stop }) => [
      link(store, restoreWorkflowId(store)),
      OUTCOME_WORDS[outcome],
      reason ?? '–',
      plain(stop?.summary ?? '–'),
    ]);
  return fitted(
    sections(
      `**${plain(run || 'Restore tests')}** of ${plain(fleet)} · ${state}`,
      plain(doing),
      `${totalOf(tally)} of ${plural(stores, 'store')} ended (${plural(guests, 'guest')})${counts.length > 0 ? `: ${counts.join(', ')}` : ''}; in work ${inFlight}.`,
      rows.length > 0 ? table(['Store', 'Outcome', 'Reason', 'Why'], rows) : undefined,
      notSucceeded.length > rows.length ? `and ${notSucceeded.length - rows.length} more` : undefined,
      `What is proven of each guest: ${code('edge restore status')}`,
    ),
  );
}

/** One sentence about a run that has ended, from how its stores did. */
export function restoreSummary(
  results: readonly Pick<StoreResult, 'outcome' | 'reason'>[],
  { stores }: Pick<RestorePlan, 'stores'>,
): string {
  if (stores.length === 0) return 'No guest was due.';
  // With this reason all of its guests passed (`storeStop`).
  const unclean = results.filter(({ reason }) => reason === 'UndoIncomplete');
  const tally = tallyOf(results.filter((result) => !unclean.includes(result)));
  const passed = tally.succeeded + unclean.length;
  const others = [
    ...(unclean.length > 0 ? [`something of ${unclean.length} of them is left at the staging site`] : []),
    ...othersOf(tally),
  ];
  const head = `Of ${passed} of ${plural(stores.length, 'store')} all guests that were tried could be had back`;
  return `${head}${others.length > 0 ? `; ${others.join(', ')}` : ''}.`;
}
