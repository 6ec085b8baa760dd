import type { Command } from 'commander';
import { plural } from '#domain/counted.js';
import type { ReleaseSource } from '#domain/fleet.js';
import type { Surveyed } from '#domain/messages/survey.js';
import { planStages } from '#domain/plan.js';
import { localDate } from '#domain/windows.js';
import { openGitRepo } from '#systems/git/repo.js';
import type { Ledger } from '#systems/ledger/types.js';
import {
  answer,
  clockOf,
  hasTarget,
  repoOf,
  stateDir,
  withSession,
  withTargetOptions,
  type TargetOptions,
} from './context.js';
import { DURATIONS } from './eta.js';
import { wrongUsage } from './failure.js';
import type { Io } from './io.js';
import { fromLedger } from './ledger.js';
import { previewPlan, type KnownRelease, type PreviewInput } from './plan-preview.js';
import { renderPlan } from './render-plan.js';
import { loadFleetAt, loadRepo } from './repo.js';
import { readServiceFile } from './service-file.js';
import { printable } from './text.js';

interface PlanOptions extends TargetOptions {
  repo?: string;
  stages?: string;
  stores?: boolean;
  ask: boolean;
}

export function addTrainPlanCommand(train: Command, io: Io): void {
  withTargetOptions(train.command('plan'))
    .description('Show what a train started now would do to which store. Asks the stores, and only looks.')
    .option('--repo <dir>', 'the GitOps repo (default: EDGE_REPO, else that of `edge up`)')
    .option('--stages <names>', 'only these stages, separated by commas')
    .option('--stores', 'one row for each store, instead of one for stores that are alike')
    .option('--no-ask', 'do not ask the stores; say what the repo and the ledger know')
    .addHelpText(
      'after',
      '\nStores are asked when the service can be reached; nothing changes there.\n\nExample:\n  edge train plan --repo ./edge-infra --stages canary',
    )
    .action(async (options: PlanOptions) => {
      const clock = clockOf(io, options);
      const repo = await loadRepo(repoOf(io, options));
      if (await openGitRepo({ dir: repo.dir }).hasUncommitted())
        io.err(`${printable(repo.dir)} has changes that are not committed. A train takes what is; so does this plan.`);
      const selected = options.stages?.split(',').map((name) => name.trim());
      const service = readServiceFile(stateDir(io, options));
      const facts = await fromLedger(io, { service }, (ledger) => whatIsKnown(ledger, repo.dir));
      const preview: Omit<PreviewInput, 'surveyed'> = {
        fleet: repo.fleet,
        stores: repo.stores,
        now: clock.now,
        selected,
        known: facts?.known ?? new Map<string, KnownRelease>(),
        durations: facts?.durations ?? [],
      };
      const asked = options.ask ? await askStores(io, options, preview) : [];
      const plan = previewPlan({ ...preview, surveyed: new Map(asked.map((answered) => [answered.store, answered])) });
      const unknown = selected?.find((name) => !repo.fleet.stages.some((stage) => stage.name === name));
      if (unknown !== undefined) throw wrongUsage(plan.problems[0] ?? 'A stage of --stages does not exist.');
      answer(
        io,
        options,
        { commit: repo.commit, ...plan },
        renderPlan(plan, { now: clock.now, everyStore: options.stores === true }),
      );
    });
}

/** A store that does not take its task for so long is off the WAN for the purpose of a plan. */
const OFFLINE_AFTER = 10_000;

/** What the stores of the plan say; none when no service runs here or it does not answer, which is said on stderr. */
async function askStores(io: Io, options: PlanOptions, preview: Omit<PreviewInput, 'surveyed'>): Promise<Surveyed[]> {
  if (!hasTarget(io, options)) return [];
  const { fleet, stores, selected, now } = preview;
  const today = localDate(now, fleet.timeZone);
  const planned = new Set(planStages({ fleet, stores, today, selected }).stages.flatMap((stage) => stage.stores));
  const asked = stores.filter(({ id }) => planned.has(id));
  if (asked.length === 0) return [];
  io.err(`Asking ${plural(asked.length, 'store')} (--no-ask: leave them alone) …`);
  try {
    return await withSession(io, options, ({ operations }) =>
      operations.survey({
        fleet: fleet.fleet,
        wanted: {
          packages: Object.fromEntries(fleet.release.packages.map(({ name, version }) => [name, version])),
          kernel: fleet.release.kernel,
        },
        stores: asked.map(({ id, nodes }) => ({ store: id, nodes: nodes.map(({ name }) => name) })),
        offlineAfter: OFFLINE_AFTER,
      }),
    );
  } catch (error) {
    io.err(`The stores could not be asked: ${printable((error as Error).message)} What follows is from the ledger.`);
    return [];
  }
}

const MAX_TRAINS = 20;

/** The release that each store took last, by the newest trains, with its pins as they stand in that train's commit. */
async function whatIsKnown(
  ledger: Ledger,
  repoDir: string,
): Promise<{ known: Map<string, KnownRelease>; durations: number[] }> {
  const known = new Map<string, KnownRelease>();
  for (const train of await ledger.trains(MAX_TRAINS)) {
    if (train.commit === undefined) continue;
    const fresh = (await ledger.results(train.id)).filter(
      ({ store, outcome }) => outcome === 'succeeded' && !known.has(store),
    );
    if (fresh.length === 0) continue;
    const release = await pinsAt(repoDir, train.commit);
    if (release === undefined) continue;
    for (const { store } of fresh) known.set(store, release);
  }
  return { known, durations: await ledger.durations(DURATIONS) };
}

/** Undefined when the commit is no longer there or its fleet.yaml is not valid: then nothing is known of it. */
async function pinsAt(repoDir: string, commit: string): Promise<KnownRelease | undefined> {
  const release: ReleaseSource | undefined = (await loadFleetAt(repoDir, commit))?.release;
  return release && { version: release.version, packages: release.packages, kernel: release.kernel };
}
