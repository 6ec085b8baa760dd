import { z } from 'zod';
import { plural } from '#domain/counted.js';
import type { ReleaseSource } from '#domain/fleet.js';
import type { TrainView } from '#domain/messages/train.js';
import { rollbackTag } from '#domain/naming.js';
import { openGitRepo } from '#systems/git/repo.js';
import { commitNextRelease } from '../repo/next-release.js';
import { answerAsOperator, follow, OPERATOR, type Following, type Script } from './demo-run.js';
import { CliFailure } from './failure.js';
import type { LabEntry, LabReport } from './lab-client.js';
import { holds, verdictLine } from './render-lab.js';
import { loadRepo, type LoadedRepo } from './repo.js';
import { columns, printable } from './text.js';
import { formatDuration } from '#domain/durations.js';

/**
 * The drill: a good release reaches the pilots, then a bad one, which their health gate catches, and they go back.
 * Only this is done here: the second release is merged, its badness is put into the practice fleet (caches keep nothing
 * for as long as its packages are on a store), and the operator asks for the rollback and approves it. Whether a store
 * is well, and what it runs, is measured.
 */
export interface Drill extends Following {
  repo: LoadedRepo;
}

export interface DrillResult {
  good: ReleaseSource;
  bad: ReleaseSource;
  /** Undefined when the release of that moment is neither, or the nodes of the store differ. */
  pilots: { store: string; before?: string | undefined; canary?: string | undefined; now?: string | undefined }[];
  /** Stores of later stages, and whether anything was done to them. */
  others: { store: string; touched: boolean }[];
  git: { tag: string; isTagged: boolean; promotionsLeft: number };
  view: TrainView;
  report: LabReport;
  /** Milliseconds. */
  took: number;
}

export const DRILL = { stores: 7, pilots: 5 };
const CANARY = 'canary';

/** Undefined when a person interrupts. */
export async function drillRollback(drill: Drill): Promise<DrillResult | undefined> {
  const { io, operations, lab, fleet, say, repo } = drill;
  const since = io.now();
  const interrupted = io.interrupted();
  const operator: Script = { answer: (view) => answerAsOperator(operations, fleet, view) };

  say('First a good release, for the pilots alone:');
  await operations.startTrain({ fleet, requestedBy: OPERATOR, stages: [CANARY] });
  const first = await follow(drill, operator, since);
  if (interrupted.aborted) return undefined;
  if (first.view.state !== 'done') throw new CliFailure(`The good release did not arrive: ${first.view.doing}`);

  const good = repo.fleet.release;
  await commitNextRelease(repo.dir);
  const { release: bad } = (await loadRepo(repo.dir)).fleet;
  const runs = releaseOf(lab.state, [good, bad]);
  const { pilots, others } = divide(repo);
  const before = await mapAll(pilots, runs);

  say(`Then ${bad.version} is merged. In the practice fleet its packages spoil the caches, which nobody knows yet:`);
  await operations.startTrain({ fleet, requestedBy: OPERATOR });
  const spoil = spoiledBy(drill, await lastOf(lab));
  let canary: (string | undefined)[] = [];
  const { view, took } = await follow(
    drill,
    {
      async answer(seen) {
        if (seen.hold?.reason !== 'HealthGateFailed' || canary.length > 0) return operator.answer(seen);
        canary = await mapAll(pilots, runs);
        const reply = await operations.rollback({ fleet, by: OPERATOR, reason: seen.hold.summary });
        return [`${OPERATOR}: edge train rollback`, reply.sentence];
      },
      between: ({ last, entries }) => spoil(last, entries),
    },
    since,
  );
  if (interrupted.aborted) return undefined;

  const now = await mapAll(pilots, runs);
  const touched = new Set((await lab.journal(0)).map(({ store }) => store));
  return {
    good,
    bad,
    pilots: pilots.map((store, at) => ({ store, before: before[at], canary: canary[at], now: now[at] })),
    others: others.map((store) => ({ store, touched: touched.has(store) })),
    git: await reverted(repo.dir, view.train),
    view,
    report: await lab.check(),
    took,
  };
}

/** Caches keep nothing from the moment at which the bad packages come until that at which they go. */
function spoiledBy({ lab }: Drill, after: number) {
  const spoiled = new Set<string>();
  const idOf = (store: string) => `spoiled-${store}`;
  return async (view: TrainView | undefined, entries: readonly LabEntry[]): Promise<string[]> => {
    const begun = entries.filter(({ seq, effect }) => seq > after && effect === 'packages.begin');
    const stores = [...new Set(begun.map(({ store }) => store))];
    if (view?.state !== 'rolling back') {
      for (const store of stores.filter((id) => !spoiled.has(id))) {
        spoiled.add(store);
        await lab.addFault({ id: idOf(store), kind: 'bad-cache', store });
      }
      return [];
    }
    const healed = stores.filter((id) => spoiled.delete(id));
    for (const store of healed) await lab.removeFault(idOf(store));
    return healed.map((store) => `${printable(store)} gets the older packages`);
  };
}

const lastOf = async (lab: Following['lab']): Promise<number> => (await lab.journal(0)).at(-1)?.seq ?? 0;

const storeSchema = z.looseObject({
  nodes: z.array(z.looseObject({ kernel: z.string(), packages: z.record(z.string(), z.string()) })).min(1),
});

/** The release whose packages all nodes of a store have and whose kernel they run. Ceph only ever goes forward. */
const releaseOf =
  (state: Following['lab']['state'], releases: readonly ReleaseSource[]) =>
  async (store: string): Promise<string | undefined> => {
    const { nodes } = storeSchema.parse(await state(store));
    const isOn = ({ kernel, packages }: ReleaseSource) =>
      nodes.every(
        (node) =>
          node.kernel.startsWith(kernel) &&
          packages.every(({ name, version }) => name.startsWith('ceph-') || node.packages[name] === version),
      );
    return releases.find(isOn)?.version;
  };

function divide({ stores }: LoadedRepo): { pilots: string[]; others: string[] } {
  const isPilot = ({ tags }: LoadedRepo['stores'][number]) => tags.includes('pilot');
  return {
    pilots: stores.filter(isPilot).map(({ id }) => id),
    others: stores.filter((store) => !isPilot(store)).map(({ id }) => id),
  };
}

async function reverted(dir: string, train: string): Promise<DrillResult['git']> {
  const git = openGitRepo({ dir });
  const tag = rollbackTag(train);
  const head = await git.head('main');
  const left = (await git.list(head, 'promotions')).filter(({ path }) => path.startsWith(`promotions/${train}/`));
  return { tag, isTagged: (await git.tagCommit(tag)) === head, promotionsLeft: left.length };
}

const mapAll = <T>(ids: readonly string[], work: (id: string) => Promise<T>): Promise<T[]> =>
  Promise.all(ids.map(work));

/** All pilots were on the bad release and are on the good one again, Git says so too, and nothing else was touched. */
export function isTakenBack({ good, bad, pilots, others, git, view, report }: DrillResult): boolean {
  const wentBack = pilots.every(
    ({ before, canary, now }) => before === good.version && canary === bad.version && now === good.version,
  );
  return (
    view.state === 'rolled back' &&
    pilots.length === DRILL.pilots &&
    wentBack &&
    others.every(({ touched }) => !touched) &&
    git.isTagged &&
    git.promotionsLeft === 0 &&
    holds(report)
  );
}

export function renderDrill(result: DrillResult): string[] {
  const { pilots, others, git, view, report, took } = result;
  const untouched = others.filter(({ touched }) => !touched).length;
  const at = (version: string | undefined) => printable(version ?? 'mixed');
  return [
    `${isTakenBack(result) ? 'Taken back' : 'NOT TAKEN BACK'} in ${formatDuration(Math.round(took / 1_000) * 1_000)}. ${printable(view.doing)}`,
    ...columns([
      ['store', 'before', 'canary', 'now'],
      ...pilots.map(({ store, before, canary, now }) => [printable(store), at(before), at(canary), at(now)]),
    ]),
    '  (what the nodes have installed and run, as the practice fleet itself says; Ceph packages only ever go forward)',
    `${untouched} of ${plural(others.length, 'store')} behind the canary untouched.`,
    `Git: tag ${printable(git.tag)} ${git.isTagged ? 'is the tip of main' : 'IS NOT the tip of main'}; ` +
      `${git.promotionsLeft === 0 ? 'all promotions of the train are reverted' : `${plural(git.promotionsLeft, 'promotion')} NOT reverted`}.`,
    `Practice fleet's own journal: ${verdictLine(report)}.`,
    ...report.rules
      .filter((rule) => rule.violations.length > 0)
      .map((rule) => `  BROKEN: ${printable(rule.title)} (${plural(rule.violations.length, 'time')})`),
  ];
}
