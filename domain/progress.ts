import { abridge } from './abridge.js';
import { formatDuration } from './durations.js';
import type { Answer, Hold, StageView, TrainView } from './messages/train.js';
import type { NodeView, StoreView } from './messages/store.js';
import { storeWorkflowId } from './naming.js';
import { OUTCOME_WORDS, OUTCOMES, type StoreResult, type Tally, totalOf } from './outcomes.js';
import { REASONS, type Stop } from './reasons.js';

/**
 * How long it still takes, and what a run shows of itself in the Temporal UI: markdown set as its current details.
 * The UI passes raw HTML through and fills in `{namespace}`; so every word from outside is escaped, and links use that
 * placeholder.
 */

/** Temporal refuses details above 20,000 bytes of encoded payload. */
const MAX_BYTES = 18_000;
const MAX_RESULTS = 25;
const MAX_DETAIL_LINES = 10;
const MAX_NOTES = 15;
const MAX_WORDS = 240;

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

/** What a train shows: what it does or waits for, the answers it takes, its stages, and who did not succeed. */
export function renderTrainDetails(view: TrainView): string {
  const release = view.release ? ` · release ${plain(view.release.version)} (sequence ${view.release.sequence})` : '';
  const deadline = view.deadline ? ` Ends at the latest ${time(view.deadline)}.` : '';
  const details = sections(
    `**${plain(view.train)}** of ${plain(view.fleet)} · ${view.state}${release}`,
    `${plain(view.doing)}${deadline}`,
    view.hold && renderHold(view.hold),
    renderPauses(view),
    renderAnswers(view),
    renderStages(view.stages),
    renderGates(view.stages),
    renderNotSucceeded(view.notSucceeded),
    renderRefused(view.refusedDecisions),
  );
  return fitted(details);
}

/** What the operation on one store shows: its step, its nodes, what was noted, and how it ended. */
export function renderStoreDetails(view: StoreView): string {
  const silent = view.cutOff
    ? 'The store is silent; it goes on by itself and reports when the link is back.'
    : undefined;
  const details = sections(
    `**${plain(view.store)}** · ${plain(view.train)}/${plain(view.stage)} · release ${plain(view.release)}`,
    view.result ? renderResult(view.result) : `Now: ${plain(view.step)}, since ${time(view.since)}.`,
    view.paused ? 'Paused: stands still between two nodes until it is resumed.' : undefined,
    silent,
    renderNodes(view.nodes),
    bullets('Notes', view.notes.slice(-MAX_NOTES)),
    `Operation ${code(view.operationId)}`,
  );
  return fitted(details);
}

function percentile(sorted: readonly number[], percent: number): number | undefined {
  // Nearest rank: always a duration that was really measured.
  return sorted[Math.max(0, Math.ceil((sorted.length * percent) / 100) - 1)];
}

function renderHold(hold: Hold): string {
  const where = hold.stage ? ` in ${plain(hold.stage)}` : '';
  const until = hold.until ? `, until ${time(hold.until)}` : '';
  return sections(
    `**Held: ${hold.reason}**${where}, since ${time(hold.since)}${until}. ${REASONS[hold.reason]}`,
    plain(hold.summary),
    bullets('Seen', hold.detail.slice(0, MAX_DETAIL_LINES), hold.detail.length),
  );
}

function renderPauses({ paused, pausedStores, awaited }: TrainView): string | undefined {
  const reason = paused?.reason ? `: ${paused.reason}` : '';
  return bullets('Waiting', [
    ...(paused ? [`paused by ${paused.by} since ${time(paused.at)}${reason}`] : []),
    ...(pausedStores.length > 0 ? [`paused one by one: ${abridge(pausedStores)}`] : []),
    ...(awaited.length > 0 ? [`tried again when they answer: ${abridge(awaited)}`] : []),
  ]);
}

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
  finish: { meaning: 'end the train now; stores that are still offline are missed', update: 'finish' },
  resume: { meaning: 'go on after the pause', update: 'resume' },
  pause: { meaning: 'start no further store', update: 'pause' },
  abort: { meaning: 'end the train; stores in work reach a safe end first', update: 'abort' },
};

function renderAnswers(view: TrainView): string | undefined {
  if (view.answers.length === 0) return undefined;
  const rows = view.answers.map((answer) => {
    const { meaning, update } = ANSWER_MEANS[answer];
    return [answer, meaning, code(update), code(inputOf(answer, view))];
  });
  return table(['Answer', 'Meaning', 'Update', 'Input'], rows);
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
      othersOf(stage.tally),
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

function othersOf(tally: Tally): string {
  const words = OUTCOMES.filter((outcome) => outcome !== 'succeeded' && tally[outcome] > 0).map(
    (outcome) => `${tally[outcome]} ${OUTCOME_WORDS[outcome]}`,
  );
  return words.length > 0 ? words.join(', ') : '–';
}

function renderNotSucceeded(results: readonly StoreResult[]): string | undefined {
  if (results.length === 0) return undefined;
  const rows = results
    .slice(0, MAX_RESULTS)
    .map((result) => [
      link(result.store, storeWorkflowId(result.store)),
      OUTCOME_WORDS[result.outcome],
      result.reason ?? '–',
      result.stop ? sentenceOf(result.stop) : '–',
    ]);
  const more = results.length > MAX_RESULTS ? `and ${results.length - MAX_RESULTS} more` : undefined;
  return sections('**Not succeeded**', table(['Store', 'Outcome', 'Reason', 'Why'], rows), more);
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

const sections = (...parts: (string | undefined)[]): string =>
  parts.filter((part) => part !== undefined && part !== '').join('\n\n');

function table(head: readonly string[], rows: readonly (readonly string[])[]): string {
  const line = (cells: readonly string[]): string => `| ${cells.join(' | ')} |`;
  return [line(head), line(head.map(() => '---')), ...rows.map(line)].join('\n');
}

function bullets(title: string, lines: readonly string[], total = lines.length): string | undefined {
  if (lines.length === 0) return undefined;
  const more = total > lines.length ? [`- and ${total - lines.length} more`] : [];
  return [`**${title}**`, '', ...lines.map((line) => `- ${plain(line)}`), ...more].join('\n');
}

/** A page of the Temporal UI about the newest run of a workflow. */
const link = (words: string, workflowId: string): string =>
  `[${plain(words)}](/namespaces/{namespace}/workflows/${encodeURIComponent(workflowId)})`;

/** Code cannot be escaped inside its ticks, so what would end it, or a table cell, is taken out. */
const code = (words: string): string => `\`${oneLine(words, 500).replace(/[`|]/g, '')}\``;

/** Words from outside as plain text: no markup, HTML, link or placeholder, one line, cut to a length. */
const plain = (words: string): string => oneLine(words, MAX_WORDS).replace(/[\\`*_{}[\]<>|~&#$]|:(?=\/\/)/g, '\\$&');

/** Whole lines from the top, which is the order of importance, as many as Temporal takes. */
function fitted(details: string): string {
  let left = MAX_BYTES;
  const lines = details.split('\n');
  const end = lines.findIndex((line) => (left -= encodedBytes(line)) < 0);
  return end < 0 ? details : `${lines.slice(0, end).join('\n')}\n\nThere is more than fits here.`;
}

/** Bytes of a line in a JSON payload. Counted by hand: the workflow sandbox has no Buffer. */
function encodedBytes(line: string): number {
  let bytes = 0;
  for (const letter of JSON.stringify(line)) {
    const point = letter.codePointAt(0) ?? 0;
    bytes += point < 0x80 ? 1 : point < 0x800 ? 2 : point < 0x10000 ? 3 : 4;
  }
  return bytes;
}

function oneLine(words: string, max: number): string {
  // Line breaks of every kind and control characters; \s has U+2028 and U+2029.
  const line = words.replace(/[\s\p{Cc}]+/gu, ' ').trim();
  const letters = Array.from(line);
  return letters.length <= max ? line : `${letters.slice(0, max - 1).join('')}…`;
}

/** `2026-11-24 10:00 UTC`; what is no instant is shown as it came. */
function time(iso: string): string {
  const ms = Date.parse(iso);
  if (!Number.isFinite(ms)) return plain(iso);
  return `${new Date(ms).toISOString().slice(0, 16).replace('T', ' ')} UTC`;
}
