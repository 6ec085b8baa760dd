import { number, plural } from '#domain/counted.js';
import { formatDuration } from '#domain/durations.js';
import {
  isTrainOver,
  type Answer,
  type Hold,
  type InWork,
  type StageView,
  type TrainView,
} from '#domain/messages/train.js';
import { ROLLBACK_STAGE, shortDigest } from '#domain/naming.js';
import { inWorkWords } from '#domain/stall.js';
import { wayOn } from '#domain/way-on.js';
import { happened, OUTCOME_WORDS, stateWords, totalOf, type StoreResult, type Tally } from '#domain/outcomes.js';
import { columns, listed, printable, timeInZone, timeOf, wrap, type Clock } from './text.js';

/** What `edge train show` says. Pure: a view in, lines out. */

export interface RenderOptions {
  clock: Clock;
  /** Options to repeat in suggested commands, with a leading blank, e.g. ` --fleet edge`. */
  suffix: string;
  columns: number;
  /** Lines on how long it still takes. */
  eta?: readonly string[];
  /** Lines on the stores that are behind, at its end. */
  drift?: readonly string[];
  /** Every store that did not succeed, not only the first ones. */
  all?: boolean;
}

const MAX_NOT_SUCCEEDED = 20;

export function renderTrain(view: TrainView, options: RenderOptions): string[] {
  return [
    headline(view, options),
    ...whatHappens(view, options),
    ...stalledLines(view, options),
    ...stuckLines(view, options),
    ...untouchedLine(view),
    ...(view.stages.length === 0 ? [] : ['Stages:']),
    ...columns(view.stages.map((stage) => stageRow(stage, options))),
    ...(options.eta ?? []).map((line) => `  ${printable(line)}`),
    ...waitingLines(view, options),
    ...notSucceededLines(view, options),
    ...(options.drift ?? []),
    ...refusedLines(view, options),
    ...answerLines(view, options),
  ];
}

const SHOUTED: Partial<Record<TrainView['state'], string>> = { held: 'HELD', paused: 'PAUSED', failed: 'FAILED' };

function headline(view: TrainView, { clock }: RenderOptions): string {
  const release = view.release === undefined ? '' : `, release ${printable(view.release.version)}`;
  // A train has no name before it is opened, and a rollback that found nothing to take back never gets one.
  const title = `Train ${view.train === '' ? `of fleet ${printable(view.fleet)}` : printable(view.train)}${release}`;
  const { hold } = view;
  if (hold === undefined || view.state !== 'held') {
    const since = isOver(view) || view.state === 'paused' ? 'started' : 'since';
    return `${title}: ${SHOUTED[view.state] ?? view.state}, ${since} ${timeInZone(view.startedAt, clock)}`;
  }
  const place = hold.stage === undefined ? '' : ` at ${printable(hold.stage)}`;
  if (hold.reason === 'ApprovalPending')
    return `${title}: WAITS FOR APPROVAL since ${timeInZone(hold.since, clock)}${place}`;
  return `${title}: HELD since ${timeInZone(hold.since, clock)}${place}, reason ${hold.reason}`;
}

function whatHappens(view: TrainView, options: RenderOptions): string[] {
  if (view.hold !== undefined) return holdLines(view.hold, options);
  const deadline =
    view.deadline === undefined || isOver(view)
      ? []
      : [`  Ends at the latest ${timeInZone(view.deadline, options.clock)}.`];
  return [...wrap(sentence(printable(view.doing)), options.columns, '  '), ...deadline];
}

/** What a train that stands still asks, and the answers it takes. */
export const renderQuestion = (view: TrainView, options: RenderOptions): string[] =>
  view.hold === undefined ? [] : [...holdLines(view.hold, options), ...answerLines(view, options)];

function holdLines(hold: Hold, { clock, columns: terminal }: RenderOptions): string[] {
  return [
    ...wrap(sentence(printable(hold.summary)), terminal, '  '),
    ...hold.detail.map((line) => `    ${printable(line)}`),
    ...(hold.until === undefined
      ? []
      : [`  Waits until ${timeInZone(hold.until, clock)} (${fromNow(hold.until, clock)}).`]),
  ];
}

function stalledLines({ stalled }: TrainView, { clock }: RenderOptions): string[] {
  if (stalled === undefined) return [];
  const shown = stalled.inWork.slice(0, MAX_NOT_SUCCEEDED);
  const hidden = stalled.inWork.length - shown.length;
  return [
    `  NO PROGRESS since ${timeInZone(stalled.since, clock)} (${fromNow(stalled.since, clock)}): no store ended and no stage moved. In work when people were called:`,
    ...shown.map((one) => inWorkLine(one, clock)),
    ...(hidden > 0 ? [`    and ${number(hidden)} more`] : []),
  ];
}

function stuckLines({ stuck, stalled }: TrainView, { clock }: RenderOptions): string[] {
  if (stalled !== undefined || stuck.length === 0) return [];
  return [
    `  NO PROGRESS at ${plural(stuck.length, 'store')}, while others move:`,
    ...stuck.slice(0, MAX_NOT_SUCCEEDED).map((one) => inWorkLine(one, clock)),
  ];
}

const inWorkLine = (one: InWork, clock: Clock): string =>
  `    ${printable(inWorkWords(one, clock.now))}. See: edge store show ${printable(one.store)}`;

function untouchedLine(view: TrainView): string[] {
  // At its end a train gives an outcome to stores that were never started too.
  if (view.state !== 'held' && view.state !== 'paused') return [];
  const planned = sum(view.stages.map((stage) => stage.stores));
  if (planned === 0) return [];
  const untouched = sum(view.stages.map(notStarted));
  const inFlight = sum(view.stages.map((stage) => stage.inFlight));
  const rest =
    inFlight > 0 ? ` ${plural(inFlight, 'store')} in work ${inFlight === 1 ? 'goes' : 'go'} on to a safe end.` : '';
  const stands = view.hold?.reason === 'ApprovalPending' ? '' : 'Nothing further starts. ';
  return [
    `  ${stands}${number(untouched)} of ${plural(planned, 'store')} ${untouched === 1 ? 'has' : 'have'} not been started.${rest}`,
  ];
}

const notStarted = (stage: StageView): number =>
  Math.max(0, stage.stores - totalOf(stage.tally) - stage.inFlight) + stage.tally.excluded;

const STATE_WORDS: Partial<Record<StageView['state'], string>> = {
  held: 'HELD',
  gate: 'health gate',
  promoting: 'being promoted',
};

function stageRow(stage: StageView, { clock }: RenderOptions): string[] {
  const { tally } = stage;
  const running = [
    stage.inFlight > 0 ? `in flight ${stage.inFlight}` : '',
    stage.deferred > 0 ? `deferred ${stage.deferred}` : '',
  ];
  const facts = [
    tallyWords(tally),
    running.filter((word) => word !== '').join(', '),
    stage.gate === undefined ? '' : `gate: ${clause(printable(stage.gate))}`,
    stage.approvedBy === undefined ? '' : `approved by ${printable(stage.approvedBy)}`,
    stageTimes(stage, clock),
  ];
  return [
    printable(stage.name),
    `${STATE_WORDS[stage.state] ?? stage.state}${stage.paused ? ', PAUSED' : ''}`,
    `${number(totalOf(tally))}/${number(stage.stores)}`,
    facts.filter((fact) => fact !== '').join('; '),
  ];
}

function stageTimes(stage: StageView, clock: Clock): string {
  if (stage.startedAt === undefined) return '';
  if (stage.endedAt === undefined) return `since ${timeOf(stage.startedAt, clock)}`;
  const took = Date.parse(stage.endedAt) - Date.parse(stage.startedAt);
  return `${timeOf(stage.startedAt, clock)}, took ${formatDuration(took)}`;
}

/** `succeeded 9, failed 1`: outcomes that did not happen are left out. */
export function tallyWords(tally: Tally): string {
  return happened(tally)
    .map((outcome) => `${OUTCOME_WORDS[outcome]} ${number(tally[outcome])}`)
    .join(', ');
}

function waitingLines(view: TrainView, { clock, suffix }: RenderOptions): string[] {
  const { paused, pausedStores, pausedInWork = [], awaited, state } = view;
  const pausedStages = isOver(view) ? [] : view.stages.flatMap(({ name, paused: by }) => (by ? [{ name, ...by }] : []));
  const reason = paused?.reason === undefined ? '' : `: ${printable(paused.reason)}`;
  return [
    ...(paused && state !== 'paused'
      ? [
          `Paused by ${printable(paused.by)} since ${timeInZone(paused.at, clock)}${reason}. Whatever is answered, nothing new starts.`,
        ]
      : []),
    ...pausedStages.map(
      ({ name, by, at, reason: why }) =>
        `Stage ${printable(name)} is paused by ${printable(by)} since ${timeInZone(at, clock)}${why === undefined ? '' : `: ${printable(why)}`}. It goes on by: edge train resume --stage ${printable(name)}${suffix}`,
    ),
    ...(pausedStores.length > 0 && !isOver(view)
      ? [
          `Paused one by one: ${listed(
            pausedStores.map((store) => printable(store)),
            10,
          )}. Each goes on by: edge train resume --store ${printable(pausedInWork[0] ?? pausedStores[0] ?? '')}${suffix}`,
        ]
      : []),
    ...(pausedInWork.length > 0
      ? [
          `The wave in work waits for what is paused in it, and the train for the wave: ${listed(
            pausedInWork.map((store) => printable(store)),
            10,
          )}`,
        ]
      : []),
    ...(awaited.length > 0
      ? [
          `Tried again when they answer (${number(awaited.length)}): ${listed(
            awaited.map((store) => printable(store)),
            10,
          )}`,
        ]
      : []),
  ];
}

function notSucceededLines(view: TrainView, options: RenderOptions): string[] {
  const results = view.notSucceeded;
  if (results.length === 0) return [];
  const all = sum(view.stages.map((stage) => totalOf(stage.tally) - stage.tally.succeeded));
  const shown = options.all ? results : results.slice(0, MAX_NOT_SUCCEEDED);
  const hidden = Math.max(all, results.length) - shown.length;
  const reasons = [...new Set(shown.flatMap(({ reason }) => (reason === undefined ? [] : [reason])))];
  const way = wayOn(view, options.suffix);
  return [
    `Not succeeded (${number(Math.max(all, results.length))}):`,
    ...shown.flatMap((result) => {
      const state = stateWords(result, (instant) => timeInZone(instant, options.clock));
      return [`  ${resultLine(result)}`, ...(state === undefined ? [] : [`    ${printable(state)}`])];
    }),
    ...(hidden > 0
      ? [
          options.all
            ? `  and ${number(hidden)} more, which the train does not list`
            : `  and ${number(hidden)} more: edge train show --all${options.suffix}${listedOf(all, results.length)}`,
        ]
      : []),
    ...(reasons.length > 0
      ? [
          `  What to do: ${listed(
            reasons.map((reason) => `edge runbook ${reason}`),
            10,
          )}`,
        ]
      : []),
    ...(way === undefined ? [] : [`  ${printable(way)}`]),
  ];
}

const listedOf = (all: number, listed: number): string =>
  all > listed ? ` (${number(listed)} of the ${number(all)})` : '';

/** `store-033 failed at reboot n2, RebootTimeout: n2 did not come back in 5 min.` */
export function resultLine(result: StoreResult): string {
  const step = result.stop?.step === undefined ? '' : ` at ${printable(result.stop.step)}`;
  const reason = result.reason ?? result.stop?.reason;
  const named = reason === undefined ? '' : `, ${reason}`;
  const summary = result.stop === undefined ? '' : `: ${printable(result.stop.summary)}`;
  return `${printable(result.store)} ${OUTCOME_WORDS[result.outcome]}${step}${named}${summary}`;
}

function refusedLines(view: TrainView, { clock }: RenderOptions): string[] {
  if (view.refusedDecisions.length === 0) return [];
  return [
    'Refused answers:',
    ...view.refusedDecisions.map(({ at, by, why }) => `  ${timeOf(at, clock)}  ${printable(by)}: ${printable(why)}`),
  ];
}

function answerLines(view: TrainView, options: RenderOptions): string[] {
  const commands = answerCommands(view, options.suffix);
  if (commands.length === 0) return [];
  return ['You can:', ...columns(commands.map(({ command, meaning }) => [command, meaning]))];
}

export interface AnswerCommand {
  answer: Answer;
  command: string;
  meaning: string;
}

/** Every answer that the train takes now, as the command that gives it. */
export function answerCommands(view: TrainView, suffix: string): AnswerCommand[] {
  if (isOver(view)) return [];
  const answers = [...new Set([...(view.hold?.answers ?? []), ...view.answers])];
  return answers.map((answer) => ({
    answer,
    command: `edge train ${commandWords(answer, view)}${suffix}`,
    meaning: meaningOf(answer, view),
  }));
}

function commandWords(answer: Answer, view: TrainView): string {
  if (answer !== 'approve' && answer !== 'reject') return answer;
  const stage = view.hold?.stage ?? askedStage(view)?.name ?? '<stage>';
  const asked = view.hold?.planHash ?? view.planHash;
  const plan = asked === undefined ? '<hash>' : shortDigest(asked);
  return `${answer} ${printable(stage)} --plan ${plan}`;
}

function meaningOf(answer: Answer, view: TrainView): string {
  const stage = askedStage(view);
  const isRollback = view.hold?.stage === ROLLBACK_STAGE;
  switch (answer) {
    case 'approve':
      if (isRollback) return 'take these stores back';
      return stage === undefined
        ? 'let the stage start'
        : `let ${printable(stage.name)} start: ${plural(stage.stores, 'store')}`;
    case 'reject':
      return isRollback ? 'take nothing back; the train stands still' : 'do not let it start';
    case 'retry-gate':
      return 'measure the health again';
    case 'retry-failed':
      return retryMeaning(view);
    case 'retry-offline':
      return 'try the stores again that were offline or cut off';
    case 'skip':
      if (view.hold?.reason === 'NotEnoughFacts') return 'go on without proof that the stores are well';
      return 'leave these stores as they are and go on with the others';
    case 'rollback':
      return 'take the release back from every store that took it; asks for an approval of the plan first';
    case 'ask-again':
      return 'ask for the approval again';
    case 'finish':
      return `end the ${view.rollingBack ? 'rollback' : 'train'} now, without the stores that are still away`;
    case 'resume':
      return 'go on after the pause';
    case 'pause':
      return 'start no further store; those in work reach their end';
    case 'abort':
      return 'end the train; stores in work reach a safe end';
    default:
      return answer satisfies never;
  }
}

function retryMeaning({ hold, rollingBack }: TrainView): string {
  switch (hold?.reason) {
    case 'BuildFailed':
      return 'build the release again';
    case 'PromotionFailed':
    case 'RollbackRefused':
      return 'try it again';
    default:
      return rollingBack
        ? 'try again whoever is not back yet, also stores that were offline'
        : 'try again what failed; stores that were offline stay out';
  }
}

/** The stage that an approval is about. */
function askedStage(view: TrainView): StageView | undefined {
  const named = view.hold?.stage;
  return (
    view.stages.find((stage) => stage.name === named) ??
    view.stages.find((stage) => stage.state === 'awaiting approval')
  );
}

export const isOver = ({ state }: TrainView): boolean => isTrainOver(state);

function fromNow(instant: string, clock: Clock): string {
  const left = Date.parse(instant) - clock.now.getTime();
  return left >= 0 ? `in ${formatDuration(roundToMinutes(left))}` : `${formatDuration(roundToMinutes(-left))} ago`;
}
const roundToMinutes = (ms: number): number => (ms < 120_000 ? ms : Math.round(ms / 60_000) * 60_000);

const sum = (values: readonly number[]): number => values.reduce((total, value) => total + value, 0);
/** A sentence as a part of a longer one. */
export const clause = (text: string): string => text.replace(/\.$/, '');
const sentence = (text: string): string => (/[.!?:]$/.test(text) ? text : `${text}.`);
