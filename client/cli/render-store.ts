import { plural } from '#domain/counted.js';
import { formatDuration } from '#domain/durations.js';
import type { StoreView } from '#domain/messages/store.js';
import type { PendingActivity, StoreAnswer, StoreOperation, WhichOperations } from '../operations.js';
import { operationOfStage } from '#domain/naming.js';
import { LEFT_IN_PLACE, OUTCOME_WORDS, stateWords } from '#domain/outcomes.js';
import { clause } from './render-train.js';
import { columns, printable, timeInZone, timeOf, type Clock } from './text.js';

/** What `edge store show` says. Pure. */
export function renderStore(answer: StoreAnswer, clock: Clock, which: WhichOperations = {}): string[] {
  const { store, current, pending, last, recent } = answer;
  const head =
    current === undefined ? [`${printable(store)}: no operation is running.`] : currentLines(current, clock, pending);
  if (recent.length === 0) return [...head, `Nothing is known of ${earlier(which)}.`];
  const ended = recent.filter(({ status }) => status === 'ended');
  if (ended.length === 0) return head;
  return [
    ...head,
    `${headingOf(ended, which)} (times in ${clock.zone}):`,
    ...columns(ended.map((operation) => operationRow(operation, clock))),
    ...(last === undefined ? [] : lastLines(last, clock)),
    ...reasonLine(ended),
    ...(isOverview(which) ? [`More: edge store show ${printable(store)} --limit 20, or --operation backup`] : []),
  ];
}

const isOverview = ({ limit, operation }: WhichOperations): boolean => limit === undefined && operation === undefined;
const earlier = ({ operation }: WhichOperations): string =>
  operation === undefined ? 'earlier operations' : `an earlier ${operation}`;

function headingOf(ended: readonly StoreOperation[], which: WhichOperations): string {
  if (isOverview(which)) return 'Last operation of each kind';
  const { operation } = which;
  return `Last ${plural(ended.length, 'operation')}${operation === undefined ? '' : ` of the kind ${operation}`}`;
}

/** The last state that is known of a store that did not succeed: nobody should have to look for it node by node. */
function lastLines({ operationId, result, nodes, notes }: StoreView, clock: Clock): string[] {
  if (result?.outcome === 'succeeded') return [];
  const state = result && stateWords(result, (instant) => timeInZone(instant, clock));
  return [
    `How ${printable(operationId)} left it${state === undefined ? '' : `: ${printable(state)}`}`,
    ...nodeLines(nodes, clock),
    ...(result?.stop?.detail ?? [])
      .filter((line) => !line.startsWith(LEFT_IN_PLACE))
      .map((line) => `  Seen: ${printable(line)}`),
    ...notes.map((note) => `  Note: ${printable(note)}`),
  ];
}

const nodeLines = (nodes: StoreView['nodes'], clock: Clock): string[] =>
  columns(
    nodes.map((node) => [printable(node.node), node.state, `since ${timeOf(node.since, clock)}`]),
    4,
  );

const hasFailed = ({ attempt, lastError }: PendingActivity): boolean => attempt > 1 && lastError !== undefined;
const triedWords = ({ activity, attempt, lastError }: PendingActivity): string =>
  `${activity} is tried again (try ${attempt}). Last error: ${lastError}`;

/** What people said, be it that it has taken effect or that it waits for the end of a long step. */
function toldLine({ paused, told }: StoreView): string[] {
  if (told === 'abort') return ['  Told to abort: it ends at the nearest safe point, once this step is over.'];
  if (paused) return ['  Paused: it stands still between two nodes until it is resumed.'];
  return told === 'pause' ? ['  Told to pause: it stands still after the node it is at, until it is resumed.'] : [];
}

function currentLines(view: StoreView, clock: Clock, pending: readonly PendingActivity[] = []): string[] {
  const what =
    view.release === undefined
      ? `backup is running (${printable(view.train)})`
      : `${operationOfStage(view.stage)} is running (train ${printable(view.train)}, stage ${printable(view.stage)}, release ${printable(view.release)})`;
  return [
    `${printable(view.store)}: ${what}.`,
    `  Step: ${printable(view.step)}, since ${timeInZone(view.since, clock)} (${ago(view.since, clock)})`,
    ...pending.filter(hasFailed).map((activity) => `  ${printable(triedWords(activity))}`),
    ...toldLine(view),
    ...(view.cutOff
      ? ['  The store fell silent: its WAN may be down. It keeps serving; the operation goes on when it is back.']
      : []),
    ...nodeLines(view.nodes, clock),
    ...view.notes.map((note) => `  Note: ${printable(note)}`),
    `  You can: edge store ${view.paused || view.told === 'pause' ? 'resume' : 'pause'} ${printable(view.store)}, edge store abort ${printable(view.store)}`,
  ];
}

function operationRow(operation: StoreOperation, clock: Clock): string[] {
  const place = [operation.train, operation.stage].filter((word) => word !== undefined).join('/');
  const round = operation.round === undefined || operation.round === 0 ? '' : ` round ${operation.round}`;
  return [
    startWords(operation, clock),
    printable(operation.operation),
    printable(place) + round,
    outcomeWord(operation.outcome),
    explanation(operation),
  ];
}

function startWords({ startedAt, outcome }: StoreOperation, clock: Clock): string {
  if (startedAt !== undefined) return timeOf(startedAt, clock);
  // The ledger has rows of earlier builds, which did not say it.
  return outcome === 'cutOff' ? 'start not known' : 'not started';
}

/** `RebootTimeout: n2 did not come back in time; took 33 s` */
function explanation(operation: StoreOperation): string {
  const why = [operation.reason, operation.summary && clause(operation.summary)].filter(Boolean).join(': ');
  return printable([why, took(operation)].filter((part) => part !== '').join('; '));
}

const outcomeWord = (outcome: string | undefined): string => {
  if (outcome === undefined) return 'unknown';
  return outcome in OUTCOME_WORDS ? OUTCOME_WORDS[outcome as keyof typeof OUTCOME_WORDS] : printable(outcome);
};

function took({ startedAt, endedAt }: StoreOperation): string {
  if (startedAt === undefined || endedAt === undefined) return '';
  return `took ${formatDuration(Date.parse(endedAt) - Date.parse(startedAt))}`;
}

function reasonLine(ended: readonly StoreOperation[]): string[] {
  const reason = ended[0]?.reason;
  return reason === undefined ? [] : [`What to do: edge runbook ${printable(reason)}`];
}

function ago(instant: string, clock: Clock): string {
  const passed = clock.now.getTime() - Date.parse(instant);
  return passed < 1_000 ? 'just now' : `${formatDuration(passed)} ago`;
}
