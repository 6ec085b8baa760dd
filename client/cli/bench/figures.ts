/** What a run over a fleet cost, as figures and as tables. Pure. */
export interface Cost {
  events: number;
  /** As Temporal counts them, heartbeats apart. */
  actions: number;
  /** The actions by what they were for: names of activities, and of what else costs. */
  of: Record<string, number>;
}

export interface ProcessFigures {
  name: string;
  cpuSeconds?: number;
  peakMegabytes?: number;
}

/** The cost of one workflow's history, without its children's. */
export interface RunCost extends Cost {
  workflowId: string;
  kilobytes: number;
}

export interface BenchRow {
  stores: number;
  speed: number;
  succeeded: number;
  seconds: number;
  /** One store of the last stage, or of a night. */
  store: Cost;
  waves: RunCost[];
  effects: number;
  violations: number;
  processes: ProcessFigures[];
}

export interface NightRow extends BenchRow {
  /** Of all stores, as the repo names them. */
  guests: number;
  /** Those of which the ledger holds that this night's backup is verified at the store and in the second place. */
  proven: number;
  night: RunCost;
}

/** All was done, and done safely. */
export const wentWell = ({ stores, succeeded, violations }: BenchRow): boolean =>
  succeeded === stores && violations === 0;

export const isProven = (row: NightRow): boolean => wentWell(row) && row.guests > 0 && row.proven === row.guests;

const START_OF_CHILD = 'start as a child';

/** Event attributes that stand for an action; a child costs two, and a workflow that was not started as a child one. */
const ACTIONS: Record<string, { what: string; actions: number }> = {
  activityTaskScheduledEventAttributes: { what: 'activity', actions: 1 },
  timerStartedEventAttributes: { what: 'timer', actions: 1 },
  signalExternalWorkflowExecutionInitiatedEventAttributes: { what: 'signal', actions: 1 },
  upsertWorkflowSearchAttributesEventAttributes: { what: 'search attributes', actions: 1 },
  startChildWorkflowExecutionInitiatedEventAttributes: { what: 'child', actions: 2 },
};

interface Attributes {
  activityType?: { name?: string | null } | null;
  parentWorkflowExecution?: unknown;
  workflowId?: string | null;
}

/**
 * The cost of a workflow's history: what it does itself and, for a child, the two actions of its start. Children's own
 * actions are in their histories.
 */
export function costOf(events: readonly object[]): Cost {
  const of: Record<string, number> = {};
  const add = (what: string, actions: number) => (of[what] = (of[what] ?? 0) + actions);
  for (const event of events as Record<string, Attributes | null | undefined>[]) {
    for (const [name, { what, actions }] of Object.entries(ACTIONS)) {
      const attributes = event[name];
      if (attributes) add(attributes.activityType?.name ?? what, actions);
    }
    const started = event['workflowExecutionStartedEventAttributes'];
    if (started?.parentWorkflowExecution) add(START_OF_CHILD, 2);
    else if (started) add('start', 1);
  }
  return { events: events.length, actions: sum(Object.values(of)), of };
}

/** Ids of the workflows that a history tells the start of. */
export const childrenOf = (events: readonly object[]): string[] =>
  (events as Record<string, Attributes | null | undefined>[]).flatMap(
    (event) => event['startChildWorkflowExecutionInitiatedEventAttributes']?.workflowId ?? [],
  );

/** A workflow together with a child of its own: the start of the child, which both histories tell of, is counted once. */
export function withChild(cost: Cost, child: Cost): Cost {
  const of = { ...cost.of };
  for (const [what, actions] of Object.entries(child.of))
    if (what !== START_OF_CHILD) of[what] = (of[what] ?? 0) + actions;
  return { events: cost.events + child.events, actions: sum(Object.values(of)), of };
}

const sum = (values: readonly number[]): number => values.reduce((total, value) => total + value, 0);
const round = (value: number, digits = 0): string => value.toFixed(digits);
const largestOf = (runs: readonly RunCost[]): number => Math.max(0, ...runs.map(({ events }) => events));
const perMinute = ({ succeeded, seconds }: BenchRow): string => round((succeeded * 60) / seconds);

/** Markdown, so that it can stand in the docs as it is. */
export function renderBench(rows: readonly BenchRow[]): string[] {
  return [
    '| stores | succeeded | wall time | stores/min | actions per store | events per store | largest wave, events | effects | violations |',
    '| ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |',
    ...rows.map(
      (row) =>
        `| ${row.stores} | ${row.succeeded} | ${round(row.seconds)} s | ${perMinute(row)} | ${row.store.actions} | ${row.store.events} | ${largestOf(row.waves)} | ${row.effects} | ${row.violations} |`,
    ),
    '',
    ...processTable(rows),
  ];
}

/** The same of nights, with what became of the guests, and what the actions of a store are. */
export function renderNightBench(rows: readonly NightRow[]): string[] {
  const [last] = rows.slice(-1);
  return [
    '| stores | succeeded | guests | verified here and there | wall time | stores/min | actions per store | events per store | effects | violations |',
    '| ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |',
    ...rows.map(
      (row) =>
        `| ${row.stores} | ${row.succeeded} | ${row.guests} | ${row.proven} | ${round(row.seconds)} s | ${perMinute(row)} | ${row.store.actions} | ${row.store.events} | ${row.effects} | ${row.violations} |`,
    ),
    '',
    '| stores | history | events | size | actions |',
    '| ---: | --- | ---: | ---: | ---: |',
    ...rows.flatMap((row) =>
      [row.night, ...row.waves].map(
        ({ workflowId, events, kilobytes, actions }) =>
          `| ${row.stores} | ${workflowId} | ${events} | ${round(kilobytes)} kB | ${actions} |`,
      ),
    ),
    '',
    ...processTable(rows),
    '',
    '| actions of one store | |',
    '| --- | ---: |',
    ...Object.entries(last?.store.of ?? {}).map(([what, actions]) => `| ${what} | ${actions} |`),
  ];
}

function processTable(rows: readonly BenchRow[]): string[] {
  return [
    '| stores | process | CPU | peak memory |',
    '| ---: | --- | ---: | ---: |',
    ...rows.flatMap((row) =>
      row.processes.map(
        ({ name, cpuSeconds, peakMegabytes }) =>
          `| ${row.stores} | ${name} | ${cpuSeconds === undefined ? 'unknown' : `${round(cpuSeconds)} s`} | ${peakMegabytes === undefined ? 'unknown' : `${peakMegabytes} MB`} |`,
      ),
    ),
  ];
}
