/** What a train cost, as figures and as a table. */
export interface Cost {
  events: number;
  /** As Temporal counts them, heartbeats apart. */
  actions: number;
}

export interface ProcessFigures {
  name: string;
  cpuSeconds?: number;
  peakMegabytes?: number;
}

export interface BenchRow {
  stores: number;
  speed: number;
  succeeded: number;
  seconds: number;
  /** One store of the last stage. */
  store: Cost;
  waves: ({ wave: string } & Cost)[];
  effects: number;
  violations: number;
  processes: ProcessFigures[];
}

/** Event attributes that stand for an action; a child costs two, and a workflow that was not started as a child one. */
const ACTIONS: Record<string, number> = {
  activityTaskScheduledEventAttributes: 1,
  timerStartedEventAttributes: 1,
  signalExternalWorkflowExecutionInitiatedEventAttributes: 1,
  upsertWorkflowSearchAttributesEventAttributes: 1,
  startChildWorkflowExecutionInitiatedEventAttributes: 2,
};

/**
 * The cost of a workflow's history: what it does itself and, for a child, the two actions of its start. Children's own
 * actions are in their histories.
 */
export function costOf(events: readonly object[]): Cost {
  let actions = 0;
  for (const event of events) {
    for (const [name, cost] of Object.entries(ACTIONS)) {
      if (((event as Record<string, unknown>)[name] ?? undefined) !== undefined) actions += cost;
    }
    const started = (
      event as { workflowExecutionStartedEventAttributes?: { parentWorkflowExecution?: unknown } | null }
    ).workflowExecutionStartedEventAttributes;
    if (started) actions += started.parentWorkflowExecution ? 2 : 1;
  }
  return { events: events.length, actions };
}

/** Markdown, so that it can stand in the docs as it is. */
export function renderBench(rows: readonly BenchRow[]): string[] {
  const round = (value: number, digits = 0) => value.toFixed(digits);
  return [
    '| stores | succeeded | wall time | stores/min | actions per store | events per store | largest wave, events | effects | violations |',
    '| ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |',
    ...rows.map(
      (row) =>
        `| ${row.stores} | ${row.succeeded} | ${round(row.seconds)} s | ${round((row.succeeded * 60) / row.seconds)} | ${row.store.actions} | ${row.store.events} | ${Math.max(0, ...row.waves.map(({ events }) => events))} | ${row.effects} | ${row.violations} |`,
    ),
    '',
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
