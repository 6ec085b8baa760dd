import { NODE_EFFECTS } from './effects.js';
import type { Outcome, Side } from './side.js';

/** The two sides beside each other. Markdown, so that it can stand in the docs as it is. Pure. */
export function renderBeside(sides: readonly Side[]): string[] {
  const [ours, theirs] = sides;
  const row = (what: string, tell: (side: Side) => string) => `| ${what} | ${sides.map(tell).join(' | ')} |`;
  const heads = [
    `| ${sides[0]?.stores ?? 0} stores, ${sides[0]?.nodes ?? 0} nodes |`,
    ...sides.map(({ name }) => ` ${name} |`),
  ];
  const ratio = ours && theirs ? theirs.seconds / ours.seconds : NaN;
  return [
    heads.join(''),
    `| --- |${sides.map(() => ' ---: |').join('')}`,
    row('wall time', ({ seconds, ended }) => `${ended ? 'ended after ' : ''}${seconds.toFixed(1)} s`),
    row('times as fast', (side) => (side !== ours ? '1' : theirs?.ended ? atLeast(theirs.ended) : ratio.toFixed(2))),
    row('stores finished', ({ outcome, stores, ended }) =>
      ended ? `${outcome.finished} of ${stores}` : String(outcome.finished),
    ),
    row('own CPU, without the practice fleet', ({ cpuSeconds }) =>
      cpuSeconds === undefined || Number.isNaN(cpuSeconds) ? 'not counted' : `${cpuSeconds.toFixed(0)} s`,
    ),
    row('stores in work at once, at most', ({ journal }) => String(journal.mostAtOnce)),
    row('a store, mean', ({ journal }) => `${journal.storeSeconds.toFixed(1)} s`),
    row('rules broken', ({ outcome, ended }) => `${brokenOf(outcome)}${ended ? ', so far' : ''}`),
    ...(sides.some(({ ended }) => ended) ? [row('left set', ({ outcome }) => listOf(outcome.leftSet))] : []),
    '',
    ...sides.flatMap((side) => (ours && side.ended ? [...endedLines(side, side.ended, ours), ''] : [])),
    `| effects, per node |${sides.map(({ name }) => ` ${name} |`).join('')}`,
    `| --- |${sides.map(() => ' ---: |').join('')}`,
    ...NODE_EFFECTS.map((effect) =>
      row(effect, ({ journal, nodes }) => ((journal.effects[effect] ?? 0) / nodes).toFixed(2)),
    ),
    '',
    `| steps of a node, mean |${sides.map(({ name }) => ` ${name} |`).join('')}`,
    `| --- |${sides.map(() => ' ---: |').join('')}`,
    ...(ours?.journal.steps ?? []).map(({ step }) =>
      row(step, ({ journal }) => `${(journal.steps.find((found) => found.step === step)?.seconds ?? 0).toFixed(2)} s`),
    ),
    '',
  ];
}

const atLeast = ({ patience }: NonNullable<Side['ended']>): string => `more than ${patience}`;

const endedLines = ({ name, seconds, stores, outcome }: Side, ended: NonNullable<Side['ended']>, ours: Side) => [
  `${name} was ended after ${seconds.toFixed(1)} s, at ${outcome.finished} of ${stores} stores: it had taken ` +
    `${atLeast(ended)} times as long as ${ours.name} for all of them.`,
  'That something is left set is to be expected of what is killed in its work; the rules are judged for what it had done.',
];

/** What became of the work of the killed ones. */
export function renderKilled(sides: readonly Side[]): string[] {
  const row = (what: string, tell: (side: Side) => string) => `| ${what} | ${sides.map(tell).join(' | ')} |`;
  /** The verdict before any person came. */
  const alone = ({ kill, outcome }: Side): Outcome => kill?.afterRestart ?? outcome;
  return [
    `| killed in the middle of its work |${sides.map(({ name }) => ` ${name} |`).join('')}`,
    `| --- |${sides.map(() => ' ---: |').join('')}`,
    row('reboots asked for, marks set on stores, when it was killed', ({ kill }) =>
      kill ? `${kill.atReboots}, ${kill.storesInWork}` : 'not killed',
    ),
    row('started again, it finished without hands', (side) =>
      side.kill === undefined
        ? 'not killed'
        : side.kill.hand === undefined && alone(side).finished === side.stores
          ? 'yes'
          : 'no',
    ),
    row('stores finished so', (side) => `${alone(side).finished} of ${side.stores}`),
    row('left set so', (side) => listOf(alone(side).leftSet)),
    row('reboots and upgrades done twice', (side) => String(alone(side).twice)),
    row('what a person had to do', ({ kill }) => kill?.hand ?? 'nothing'),
    row('stores finished in the end', ({ outcome, stores }) => `${outcome.finished} of ${stores}`),
    row('left set in the end', ({ outcome }) => listOf(outcome.leftSet)),
    row('reboots and upgrades done twice in the end', ({ outcome }) => String(outcome.twice)),
    '',
  ];
}

const listOf = (marks: readonly string[]): string =>
  marks.length === 0 ? 'nothing' : `${marks.length} (${marks.slice(0, 3).join(', ')}${marks.length > 3 ? ', …' : ''})`;

const brokenOf = ({ broken, rules }: Outcome): string => {
  const names = Object.entries(broken).map(([id, count]) => `${id} ×${count}`);
  return names.length === 0 ? `0 of ${rules}` : names.join(', ');
};
