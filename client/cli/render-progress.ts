import { number, plural } from '#domain/counted.js';
import { formatDuration } from '#domain/durations.js';
import type { StageView, TrainView } from '#domain/messages/train.js';
import { totalOf } from '#domain/outcomes.js';
import { isPausedInPart } from '#domain/stall.js';
import { clause, isOver, resultLine, tallyWords } from './render-train.js';
import { columns, printable } from './text.js';

/** A train while it moves: a block that is redrawn on a terminal, and the lines that a log file gets. Pure. */

const BAR_WIDTH = 16;

/** One row for each stage that has begun or is asked about. */
export function progressBlock(view: TrainView, now: Date): string[] {
  const begun = view.stages.filter((stage) => stage.state !== 'waiting' || totalOf(stage.tally) > 0);
  const isTimed = !isPausedInPart(view);
  return [...columns(begun.map((stage) => blockRow(stage, isTimed ? now : undefined))), `  ${printable(view.doing)}`];
}

/** Without `now` nothing is said of how long it takes. */
function blockRow(stage: StageView, now: Date | undefined): string[] {
  const ended = totalOf(stage.tally);
  const counts = `${number(ended)}/${number(stage.stores)}`;
  if (stage.state !== 'running') {
    return [
      printable(stage.name),
      stage.state,
      counts,
      [tallyWords(stage.tally), gateWord(stage)].filter(Boolean).join('   '),
    ];
  }
  const left = now && timeLeft(stage, now);
  const facts = [
    `in flight ${stage.inFlight}`,
    ...(stage.deferred > 0 ? [`deferred ${stage.deferred}`] : []),
    tallyWords(stage.tally),
    ...(left === undefined ? [] : [`about ${formatDuration(left)} left`]),
  ];
  return [printable(stage.name), bar(ended, stage.stores), counts, facts.filter((fact) => fact !== '').join('   ')];
}

const gateWord = (stage: StageView): string =>
  stage.gate === undefined ? '' : `gate: ${clause(printable(stage.gate))}`;

export function bar(done: number, all: number): string {
  const filled = all === 0 ? 0 : Math.round((Math.min(done, all) / all) * BAR_WIDTH);
  return '█'.repeat(filled) + '░'.repeat(BAR_WIDTH - filled);
}

/**
 * Milliseconds until the stage's last store ends, from the pace so far; undefined until something ended.
 * Stores in work are taken to be half done.
 */
export function timeLeft(stage: StageView, now: Date): number | undefined {
  const ended = totalOf(stage.tally) - stage.tally.excluded;
  if (stage.startedAt === undefined || ended <= 0) return undefined;
  const elapsed = now.getTime() - Date.parse(stage.startedAt);
  const open = Math.max(0, stage.stores - stage.tally.excluded - ended);
  if (elapsed <= 0 || open === 0) return undefined;
  const pace = (ended + stage.inFlight / 2) / elapsed;
  const left = (open - Math.min(open, stage.inFlight) / 2) / pace;
  return Math.max(1_000, Math.round(left / 1_000) * 1_000);
}

/** What a log should know of the step from one view to the next: what began, ended, failed, or waits for people. */
export function newsLines(before: TrainView | undefined, after: TrainView): string[] {
  const stages = after.stages.flatMap((stage) => {
    const earlier = before?.stages.find(({ name }) => name === stage.name);
    return stageNews(earlier, stage, after.state === 'rolling back');
  });
  return [...releaseNews(before, after), ...failureNews(before, after), ...stages, ...trainNews(before, after)];
}

function releaseNews(before: TrainView | undefined, after: TrainView): string[] {
  if (after.release === undefined || before?.release !== undefined) return [];
  const { version, sequence } = after.release;
  return [`release ${printable(version)} (sequence ${sequence}) is built and signed`];
}

function failureNews(before: TrainView | undefined, after: TrainView): string[] {
  const known = new Set(before?.notSucceeded.map(({ store, outcome }) => `${store} ${outcome}`));
  return after.notSucceeded
    .filter(({ store, outcome }) => !known.has(`${store} ${outcome}`))
    .reverse()
    .map(resultLine);
}

function stageNews(before: StageView | undefined, after: StageView, goesBack: boolean): string[] {
  const name = printable(after.name);
  const ended = totalOf(after.tally);
  if (after.state !== (before?.state ?? 'waiting')) {
    switch (after.state) {
      case 'running':
        if (goesBack) return [`${name}: its stores go back`];
        return [`${name}: started, ${plural(after.stores, 'store')}${approvedBy(after)}`];
      case 'soaking':
        return [`${name}: ${number(ended)}/${number(after.stores)} ended: ${tallyWords(after.tally)}; soaking`];
      case 'done':
        return [
          `${name}: done, ${number(ended)}/${number(after.stores)} ended: ${tallyWords(after.tally)}${gateNews(after)}`,
        ];
      case 'rolled back':
      case 'skipped':
      case 'aborted':
      case 'missed':
        return [[`${name}: ${after.state}`, ...(ended > 0 ? [tallyWords(after.tally)] : [])].join(', ')];
      case 'waiting':
      case 'awaiting approval':
      case 'awaiting window':
      case 'promoting':
      case 'gate':
      case 'held':
        return [];
      default:
        return after.state satisfies never;
    }
  }
  const quarter = (count: number) => Math.floor((4 * count) / Math.max(1, after.stores));
  const passed = quarter(ended) > quarter(before === undefined ? 0 : totalOf(before.tally));
  return after.state === 'running' && passed && ended < after.stores
    ? [
        `${name}: ${number(ended)}/${number(after.stores)} ended, in flight ${after.inFlight}: ${tallyWords(after.tally)}`,
      ]
    : [];
}

const approvedBy = (stage: StageView): string =>
  stage.approvedBy === undefined ? '' : `, approved by ${printable(stage.approvedBy)}`;
const gateNews = (stage: StageView): string =>
  stage.gate === undefined ? '' : `; gate: ${clause(printable(stage.gate))}`;

function trainNews(before: TrainView | undefined, after: TrainView): string[] {
  if (isOver(after))
    return after.state === before?.state
      ? []
      : [`train ${printable(after.train)}: ${after.state}. ${printable(after.doing)}`];
  const { hold } = after;
  if (hold !== undefined && hold.since !== before?.hold?.since) {
    return [`waits: ${printable(hold.summary)}`, ...hold.detail.map((line) => `  ${printable(line)}`)];
  }
  const waitsForWindow = after.stages.some(
    (stage, index) => stage.state === 'awaiting window' && before?.stages[index]?.state !== 'awaiting window',
  );
  const isNews = after.state !== before?.state && ['paused', 'catching up', 'rolling back'].includes(after.state);
  return waitsForWindow || isNews ? [printable(after.doing)] : [];
}
