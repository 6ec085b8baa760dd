import { abridge } from './abridge.js';
import { formatDuration } from './durations.js';
import { groupedBy } from './grouped.js';
import { bullets, code, fitted, link, plain, sections, table, time } from './markdown.js';
import type { Answer, Hold, InWork, Paused, StageView, Stalled, TrainView } from './messages/train.js';
import type { NodeView, StoreView } from './messages/store.js';
import { storeWorkflowId } from './naming.js';
import { OUTCOME_WORDS, othersOf, stateWords, type StoreResult, totalOf } from './outcomes.js';
import { REASONS, type Stop } from './reasons.js';
import { wayOn } from './way-on.js';

/**
 * How long it still takes, and what a run shows of itself in the Temporal UI: markdown set as its current details.
 */

/** Rows that say what was seen of a store; those after them are named. */
const MAX_RESULTS = 25;
const NAMED_IN_A_LINE = 50;
const MAX_DETAIL_LINES = 10;
const MAX_NOTES = 15;

export interface Estimate {
  p50Ms: number;
  p90Ms: number;
}

/**
 * How long `remaining` operations take in `concurrency` slots when each lasts as long as the median (p50) or the slow
 * tenth (p90) of those that have ended. Undefined as long as none has ended: a guess would be taken for a promise.
 * 7 remaining in 3 slots are three turns: with a median of 10 min, 30 min.
 */
export function estimate({
  durationsMs,
  remaining,
  concurrency,
}: {
  durationsMs: readonly number[];
  remaining: number;
  concurrency: number;
}): Estimate | undefined {
  const sorted = durationsMs.filter((ms) => Number.isFinite(ms) && ms >= 0).toSorted((a, b) => a - b);
  const p50 = percentile(sorted, 50);
  const p90 = percentile(sorted, 90);
  if (p50 === undefined || p90 === undefined) return undefined;
  const turns = Math.ceil(Math.max(0, remaining) / Math.max(1, Math.floor(concurrency)));
  return { p50Ms: turns * p50, p90Ms: turns * p90 };
}

export const withSoak = ({ p50Ms, p90Ms }: Estimate, soak: number): Estimate => ({
  p50Ms: p50Ms + soak,
  p90Ms: p90Ms + soak,
});

/** One after another. The sum of slow tenths is slower than one in ten: on the safe side. Undefined when one is unknown. */
export function sumOfEstimates(parts: readonly (Estimate | undefined)[]): Estimate | undefined {
  let sum: Estimate | undefined = { p50Ms: 0, p90Ms: 0 };
  for (const part of parts) sum = sum && part && { p50Ms: sum.p50Ms + part.p50Ms, p90Ms: sum.p90Ms + part.p90Ms };
  return sum;
}

/** What a train shows: what it does or waits for, the answers it takes, its stages, and who did not succeed. */
export function renderTrainDetails(view: TrainView): string {
  const release = view.release ? ` · release ${plain(view.release.version)} (sequence ${view.release.sequence})` : '';
  const deadline = view.deadline ? ` Ends at the latest ${time(view.deadline)}.` : '';
  const details = sections(
    `**${plain(view.train || 'Train')}** of ${plain(view.fleet)} · ${view.state}${release}`,
    `${plain(view.doing)}${deadline}`,
    view.stalled && renderStalled(view.stalled),
    bullets('No progress', view.stuck.slice(0, MAX_RESULTS).map(inWorkSince), view.stuck.length),
    view.hold && renderHold(view.hold),
    renderPauses(view),
    renderAnswers(view),
    renderStages(view.stages),
    renderGates(view.stages),
    renderRefused(view.refusedDecisions),
    renderNotSucceeded(view),
  );
  return fitted(details);
}

/** What the operation on one store shows: its step, its nodes, what was noted, and how it ended. */
export function renderStoreDetails(view: StoreView): string {
  const silent = view.cutOff
    ? 'The store is silent; it goes on by itself and reports when the link is back.'
    : undefined;
  const details = sections(
    `**${plain(view.store)}** · ${plain(view.train)}/${plain(view.stage)}${view.release === undefined ? '' : ` · release ${plain(view.release)}`}`,
    view.result ? renderResult(view.result) : `Now: ${plain(view.step)}, since ${time(view.since)}.`,
    view.result ? undefined : renderTold(view),
    silent,
    view.result ? undefined : renderSteering(view),
    renderNodes(view.nodes),
    bullets('Notes', view.notes.slice(-MAX_NOTES)),
    `Operation ${code(view.operationId)}`,
  );
  return fitted(details);
}

function renderTold({ paused, told }: StoreView): string | undefined {
  if (told === 'abort') return 'Told to abort: ends at the nearest safe point.';
  if (paused) return 'Paused: stands still between two nodes until it is resumed.';
  return told === 'pause' ? 'Told to pause: stands still after the node it is at.' : undefined;
}

function renderSteering({ store, paused, told }: StoreView): string {
  const commands = [paused || told === 'pause' ? 'resume' : 'pause', 'abort'].map((word) =>
    code(`edge store ${word} ${store}`),
  );
  return `To steer it: ${commands.join(', ')}`;
}

function percentile(sorted: readonly number[], percent: number): number | undefined {
  // Nearest rank: always a duration that was really measured.
  return sorted[Math.max(0, Math.ceil((sorted.length * percent) / 100) - 1)];
}

/** Instants, not durations: the details stay as they are until something moves. */
function renderStalled({ since, inWork }: Stalled): string {
  return sections(
    `**No progress** since ${time(since)}: no store ended and no stage moved.`,
    bullets('In work', inWork.slice(0, MAX_RESULTS).map(inWorkSince), inWork.length),
  );
}

const inWorkSince = ({ store, step, since, cutOff }: InWork): string =>
  `${store} at ${step} since ${time(since)}${cutOff ? ', silent' : ''}`;

function renderHold(hold: Hold): string {
  const where = hold.stage ? ` in ${plain(hold.stage)}` : '';
  const until = hold.until ? `, until ${time(hold.until)}` : '';
  return sections(
    `**Held: ${hold.reason}**${where}, since ${time(hold.since)}${until}. ${REASONS[hold.reason]}`,
    plain(hold.summary),
    bullets('Seen', hold.detail.slice(0, MAX_DETAIL_LINES), hold.detail.length),
  );
}

function renderPauses({ paused, pausedStores, pausedInWork = [], awaited, stages }: TrainView): string | undefined {
  return bullets('Waiting', [
    ...(paused ? [pausedWords(paused)] : []),
    ...stages.flatMap(({ name, paused: by }) =>
      by ? [`stage ${name} is ${pausedWords(by)}; it goes on by: edge train resume --stage ${name}`] : [],
    ),
    ...(pausedStores.length > 0
      ? [
          `paused one by one: ${abridge(pausedStores)}; each goes on by: edge train resume --store ${pausedInWork[0] ?? pausedStores[0]}`,
        ]
      : []),
    ...(pausedInWork.length > 0 ? [`the wave in work waits for what is paused in it: ${abridge(pausedInWork)}`] : []),
    ...(awaited.length > 0 ? [`tried again when they answer: ${abridge(awaited)}`] : []),
  ]);
}

const pausedWords = ({ by, at, reason }: Paused): string =>
  `paused by ${by} since ${time(at)}${reason ? `: ${reason}` : ''}`;

/** What each answer means, and how it is sent from the UI: the name of the update. */
const ANSWER_MEANS: Record<Answer, { meaning: string; update: string }> = {
  approve: { meaning: 'start the stage', update: 'decide' },
  reject: { meaning: 'do not start the stage; the train stays held', update: 'decide' },
  'ask-again': { meaning: 'ask for the approval again', update: 'askAgain' },
  'retry-gate': { meaning: 'measure and judge again', update: 'retryGate' },
  'retry-failed': { meaning: 'try again what failed; stores that were offline stay out', update: 'retryFailed' },
  'retry-offline': { meaning: 'try the stores again that were offline or cut off', update: 'retryOffline' },
  skip: { meaning: 'leave these stores as they are and go on with the others', update: 'skip' },
  rollback: { meaning: 'take the release back from every store that took it', update: 'rollback' },
  finish: { meaning: 'end the train now, without the stores that are still away', update: 'finish' },
  resume: { meaning: 'go on after the pause', update: 'resume' },
  pause: { meaning: 'start no further store', update: 'pause' },
  abort: { meaning: 'end the train; stores in work reach a safe end first', update: 'abort' },
};

/** At a gate there is no store to leave as it is. */
const GO_UNPROVEN = 'go on without proof that the stores are well';
const RETRY_BACK = 'try again whoever is not back yet, also stores that were offline';

function meaningOf(answer: Answer, { hold, rollingBack }: TrainView): string {
  if (answer === 'skip' && hold?.reason === 'NotEnoughFacts') return GO_UNPROVEN;
  return answer === 'retry-failed' && rollingBack ? RETRY_BACK : ANSWER_MEANS[answer].meaning;
}

function renderAnswers(view: TrainView): string | undefined {
  if (view.answers.length === 0) return undefined;
  // No table: the page of the Temporal UI is narrow, and a plan hash makes every other column unreadable.
  const lines = view.answers.map((answer) => {
    const { update } = ANSWER_MEANS[answer];
    return `- **${answer}**: ${meaningOf(answer, view)}. Update ${code(update)} with ${code(inputOf(answer, view))}`;
  });
  return ['**It takes these answers**', '', ...lines].join('\n');
}

/** Ready to paste but for the name, which is left empty so that nobody signs as somebody else by mistake. */
function inputOf(answer: Answer, view: TrainView): string {
  if (answer !== 'approve' && answer !== 'reject') return JSON.stringify({ by: '' });
  const stage = view.hold?.stage ?? view.stages.find(({ state }) => state === 'awaiting approval')?.name ?? '';
  const planHash = view.hold?.planHash ?? view.planHash ?? '';
  return JSON.stringify({ stage, planHash, decision: answer, by: '' });
}

function renderStages(stages: readonly StageView[]): string | undefined {
  if (stages.length === 0) return undefined;
  const rows = stages.map((stage) => {
    const left = Math.max(0, stage.stores - totalOf(stage.tally) - stage.inFlight - stage.deferred);
    return [
      stage.wave ? link(stage.name, stage.wave) : plain(stage.name),
      stage.paused ? `${stage.state}, paused` : stage.state,
      String(stage.stores),
      String(stage.tally.succeeded),
      othersOf(stage.tally).join(', ') || '–',
      String(stage.inFlight),
      String(stage.deferred),
      String(left),
    ];
  });
  return table(['Stage', 'State', 'Stores', 'Succeeded', 'Not succeeded', 'In work', 'Deferred', 'Left'], rows);
}

function renderGates(stages: readonly StageView[]): string | undefined {
  const lines = stages.flatMap(({ name, gate }) => (gate ? [`${name}: ${gate}`] : []));
  return bullets('Gates', lines);
}

function renderNotSucceeded(view: TrainView): string | undefined {
  const results = view.notSucceeded;
  if (results.length === 0) return undefined;
  const way = wayOn(view);
  const rows = results
    .slice(0, MAX_RESULTS)
    .map((result) => [
      link(result.store, storeWorkflowId(result.store)),
      OUTCOME_WORDS[result.outcome],
      result.reason ?? '–',
      result.stop ? sentenceOf(result.stop) : '–',
      plain(stateWords(result, time) ?? '–'),
    ]);
  return sections(
    '**Not succeeded**',
    table(['Store', 'Outcome', 'Reason', 'Why', 'State'], rows),
    renderRunbooks(results),
    way && plain(way),
    renderFurther(view, results.slice(MAX_RESULTS)),
  );
}

/** All the others by name, in few words: what they have in common is said once. */
function renderFurther({ stages, notSucceeded }: TrainView, results: readonly StoreResult[]): string | undefined {
  if (results.length === 0) return undefined;
  const all = stages.reduce((sum, { tally }) => sum + totalOf(tally) - tally.succeeded, 0);
  const unlisted = all - notSucceeded.length;
  const lines = [...groupedBy(results, inCommon)].flatMap(([words, group]) =>
    partsOf(group, NAMED_IN_A_LINE).map(
      (part) => `- ${plain(words)}: ${part.map(({ store }) => plain(store)).join(', ')}`,
    ),
  );
  return [
    `**And ${results.length} more** (what was seen of each: ${code('edge train show --all')})`,
    '',
    ...lines,
    ...(unlisted > 0 ? [`- and ${unlisted} more, which the train does not list`] : []),
  ].join('\n');
}

/** `failed at drain n2, DrainTimeout, last good release: 2026.47.0` */
function inCommon({ outcome, reason, stop, lastGood }: StoreResult): string {
  const step = stop?.step === undefined ? '' : ` at ${stop.step}`;
  const good = lastGood === undefined ? undefined : `last good release: ${lastGood}`;
  return [`${OUTCOME_WORDS[outcome]}${step}`, reason, good].filter((words) => words !== undefined).join(', ');
}

const partsOf = <T>(items: readonly T[], size: number): T[][] =>
  Array.from({ length: Math.ceil(items.length / size) }, (_, part) => items.slice(part * size, (part + 1) * size));

function renderRunbooks(results: readonly StoreResult[]): string | undefined {
  const reasons = [...new Set(results.flatMap(({ reason }) => reason ?? []))];
  if (reasons.length === 0) return undefined;
  return `What to do: ${reasons.map((reason) => code(`edge runbook ${reason}`)).join(', ')}`;
}

function renderRefused(refused: TrainView['refusedDecisions']): string | undefined {
  const lines = refused.slice(-5).map(({ at, by, why }) => `${time(at)}, ${by}: ${why}`);
  return bullets('Refused decisions', lines);
}

function renderResult(result: StoreResult): string {
  const reason = result.reason ? `: ${result.reason}` : '';
  const took = durationOf(result);
  return sections(
    `**${OUTCOME_WORDS[result.outcome]}**${reason}${took}`,
    result.stop && sentenceOf(result.stop),
    bullets('Seen', (result.stop?.detail ?? []).slice(0, MAX_DETAIL_LINES), result.stop?.detail?.length),
    plain(stateWords(result, time) ?? ''),
    renderRunbooks([result]),
    result.reason && `On or back: ${code('edge train show')} lists the answers that the train takes.`,
  );
}

function durationOf({ startedAt, endedAt }: StoreResult): string {
  const ms = Date.parse(endedAt ?? '') - Date.parse(startedAt ?? '');
  return Number.isFinite(ms) ? ` after ${formatDuration(ms)}` : '';
}

function renderNodes(nodes: readonly NodeView[]): string | undefined {
  if (nodes.length === 0) return undefined;
  return table(
    ['Node', 'State', 'Since'],
    nodes.map(({ node, state, since }) => [plain(node), state, time(since)]),
  );
}

const sentenceOf = ({ step, summary }: Stop): string => (step ? `${plain(step)}: ${plain(summary)}` : plain(summary));
