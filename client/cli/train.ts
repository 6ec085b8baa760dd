import type { Command } from 'commander';
import type { Drift } from '#domain/drift.js';
import { ROLLBACK_STAGE, SHA256, shortDigest } from '#domain/naming.js';
import type { TrainView } from '#domain/messages/train.js';
import type { PlainAnswer } from '#workflows/messages.js';
import type { Operations, Reply } from '../operations.js';
import {
  answer,
  clockOf,
  fleetOf,
  withFleetOption,
  withSession,
  withTargetOptions,
  type Session,
  type TargetOptions,
} from './context.js';
import { askDrift, driftLines } from './drift.js';
import { DURATIONS, etaLines, etaOf, type Eta } from './eta.js';
import { CliFailure, wrongUsage } from './failure.js';
import type { Io } from './io.js';
import { fromLedger } from './ledger.js';
import type { AddCommands, CommandResult } from './main.js';
import { renderHistory } from './render-history.js';
import { newsLines, progressBlock } from './render-progress.js';
import { answerCommands, isOver, renderQuestion, renderTrain } from './render-train.js';
import { findRelease } from './releases.js';
import { loadRepo } from './repo.js';
import { reasoned, tell, type Said } from './say.js';
import { Screen } from './screen.js';
import type { ServiceFile } from './service-file.js';
import { printable, printableJson, timeOf } from './text.js';
import { addTrainPlanCommand } from './train-plan.js';

export const addTrainCommands: AddCommands = (program, io, result) => {
  const train = program.command('train').description('The weekly train: plan, start, watch and answer it.');
  addTrainPlanCommand(train, io);
  addStart(train, io);
  addShow(train, io, result);
  addDecision(train, io, result, 'approve');
  addDecision(train, io, result, 'reject');
  for (const spec of STEERING) addSteering(train, io, result, spec);
  for (const name of Object.keys(ANSWERS) as (keyof typeof ANSWERS)[]) addAnswer(train, io, result, name);
  addRollback(train, io, result);
  addHistory(train, io);
};

type FleetCommandOptions = TargetOptions;
const forFleet = (command: Command): Command => withFleetOption(withTargetOptions(command));

interface StartOptions extends FleetCommandOptions {
  stages?: string;
  release?: string;
  reason?: string;
  train?: string;
  commit?: string;
  by?: string;
}

function addStart(train: Command, io: Io): void {
  forFleet(train.command('start'))
    .description('Start a train now: build a release from the repo (or take an earlier one) through the stages.')
    .option('--stages <names>', 'only these stages, separated by commas, e.g. canary,wave-1 (default: all)')
    .option('--release <release>', 'a release built before, by version or manifest digest (default: build one)')
    .option('--train <id>', 'name of the train (default: the ISO week, e.g. 2026-w48)')
    .option('--commit <hash>', 'full commit to build from (default: the tip of the branch)')
    .option('--reason <text>', 'why it is started by hand')
    .option('--by <name>', 'who starts it (default: your user name)')
    .addHelpText(
      'after',
      `
Examples:
  edge train start
  edge train start --stages canary --release 2026.47.1 --train fix-openssl --reason "CVE-2026-1234"`,
    )
    .action(async (options: StartOptions) => {
      await withSession(io, options, async (session) => {
        const fleet = fleetOf(io, options, session.target.service);
        const stages = options.stages === undefined ? undefined : namesOf(options.stages);
        if (stages !== undefined) await refuseUnknownStages(stages, session.target.service);
        const release =
          options.release === undefined ? undefined : await findRelease(io, session.target, fleet, options.release);
        const started = await session.operations.startTrain({
          fleet,
          requestedBy: options.by ?? io.user,
          ...(stages === undefined ? {} : { stages }),
          ...(options.train === undefined ? {} : { train: options.train }),
          ...(options.commit === undefined ? {} : { commit: options.commit }),
          ...(options.reason === undefined ? {} : { reason: options.reason }),
          ...(release === undefined ? {} : { release }),
        });
        const name = started.train ?? (await nameOf(io, session.operations, fleet));
        answer(io, options, { ...started, fleet, train: name }, [
          name === undefined
            ? `A train of fleet ${fleet} is started; no control worker has taken it up yet.`
            : `Train ${printable(name)} of fleet ${fleet} is started.`,
          `Follow it: edge train show --watch${session.target.suffix}`,
        ]);
      });
    });
}

const NAME_WITHIN = 5_000;

/** A train names itself once a worker has taken it up; without a worker it has no name yet. */
async function nameOf(io: Io, operations: Operations, fleet: string): Promise<string | undefined> {
  const giveUp = io.now().getTime() + NAME_WITHIN;
  try {
    for (;;) {
      const { train } = await operations.trainView(fleet);
      if (train !== '') return train;
      if (io.now().getTime() > giveUp) return undefined;
      await io.pause(200);
    }
  } catch {
    return undefined;
  }
}

/** A train would only find out after its build; here the repo of the service is at hand, if it is this machine's. */
async function refuseUnknownStages(stages: readonly string[], service: ServiceFile | undefined): Promise<void> {
  if (service?.repo === undefined) return;
  const { fleet } = await loadRepo(service.repo, service.branch);
  const names = fleet.stages.map(({ name }) => name);
  const unknown = stages.find((stage) => !names.includes(stage));
  if (unknown === undefined) return;
  throw wrongUsage(`${printable(unknown)} is not a stage of ${fleet.fleet}. Its stages: ${names.join(', ')}.`);
}

const namesOf = (list: string): string[] =>
  list
    .split(',')
    .map((name) => name.trim())
    .filter((name) => name !== '');

interface ShowOptions extends FleetCommandOptions {
  watch?: boolean;
  all?: boolean;
}

function addShow(train: Command, io: Io, result: CommandResult): void {
  forFleet(train.command('show'))
    .description('Show what the train does, what it waits for, what went wrong, and what you can do.')
    .option('--watch', 'follow it until it ends; exit code 1 when it does not end as done')
    .option('--all', 'name every store that did not succeed, not only the first 20')
    .addHelpText(
      'after',
      `
Examples:
  edge train show
  edge train show --all
  edge train show --watch
  edge train show --json | jq .notSucceeded`,
    )
    .action(async (options: ShowOptions) => {
      const clock = clockOf(io, options);
      await withSession(io, options, async (session) => {
        const fleet = fleetOf(io, options, session.target.service);
        const durations = (await fromLedger(io, session.target, (ledger) => ledger.durations(DURATIONS))) ?? [];
        const render = (view: TrainView, eta: Eta | undefined, drift: readonly Drift[]) =>
          renderTrain(view, {
            clock: { ...clock, now: io.now() },
            suffix: session.target.suffix,
            columns: io.columns,
            eta: etaLines(eta),
            drift: driftLines(drift, session.target.suffix),
            all: options.all === true,
          });
        const view = options.watch
          ? await watch(io, options, session, fleet)
          : await session.operations.trainView(fleet);
        const eta = etaOf(view, durations, io.now());
        // Before its end a train is still at work on what would be named here.
        const drift = isOver(view) ? await askDrift(io, session.target, { fleet }) : undefined;
        const facts = {
          ...view,
          ...(eta ? { eta } : {}),
          ...(drift ? { drift } : {}),
          commands: answerCommands(view, session.target.suffix),
        };
        // A watched train was already told as JSON, line by line.
        if (!(options.watch && options.json)) answer(io, options, facts, render(view, eta, drift ?? []));
        if (options.watch && view.state !== 'done') result.exitCode = 1;
      });
    });
}

const WATCH_EVERY = 1_000;
const HISTORY = 20;

async function watch(io: Io, options: ShowOptions, session: Session, fleet: string): Promise<TrainView> {
  const screen = new Screen(io);
  const interrupted = io.interrupted();
  let before: TrainView | undefined;
  for (;;) {
    const view = await session.operations.trainView(fleet);
    if (options.json) {
      const line = printableJson(view, 0);
      if (before === undefined || line !== printableJson(before, 0)) io.out(line);
    } else {
      const { zone } = clockOf(io, options);
      const time = timeOf(io.now(), { zone, now: io.now() });
      const news = [...newsLines(before, view), ...newAnswers(before, view, session.target.suffix)];
      screen.say(...news.map((line) => `${time}  ${line}`));
      screen.draw(progressBlock(view, io.now()));
    }
    before = view;
    if (isOver(view) || interrupted.aborted) break;
    await io.pause(WATCH_EVERY);
    if (interrupted.aborted) break;
  }
  screen.clear();
  return before;
}

/** A person who watches a train that begins to wait can answer at once. */
function newAnswers(before: TrainView | undefined, view: TrainView, suffix: string): string[] {
  if (view.hold === undefined || view.hold.since === before?.hold?.since) return [];
  return answerCommands(view, suffix).map(({ command }) => `  ${command}`);
}

interface DecisionOptions extends FleetCommandOptions {
  plan: string;
  by?: string;
  comment?: string;
}

function addDecision(train: Command, io: Io, result: CommandResult, decision: 'approve' | 'reject'): void {
  const approves = decision === 'approve';
  forFleet(train.command(decision))
    .description(
      approves
        ? 'Approve the stage that the train asks for, for exactly this plan.'
        : 'Reject the stage, or the rollback, that the train asks for; the train stands still.',
    )
    .argument('<stage>', 'name of the stage, e.g. canary')
    .requiredOption('--plan <hash>', 'hash of the plan you looked at, or its first 8 digits or more')
    .option('--by <name>', 'who decides (default: your user name)')
    .option('--comment <text>', 'kept with the decision')
    .addHelpText('after', `\nExample:\n  edge train ${decision} canary --plan 4f1c9a02`)
    .action(async (stage: string, options: DecisionOptions) => {
      await withSession(io, options, async ({ operations, target }) => {
        const fleet = fleetOf(io, options, target.service);
        const view = await operations.trainView(fleet);
        const planHash = fullPlanHash(options.plan, view);
        const by = options.by ?? io.user;
        const reply = await operations.decide(fleet, {
          stage,
          planHash,
          decision,
          by,
          via: 'cli',
          ...(options.comment === undefined ? {} : { comment: options.comment }),
        });
        tell(io, options, result, reply, { train: view.train, stage, planHash, decision, by }, [
          `Train ${printable(view.train)}, stage ${printable(stage)}, plan ${planHash}: ${decision} by ${printable(by)}.`,
        ]);
      });
    });
}

const MIN_PREFIX = 8;

/** The full hash that the digits stand for. Throws when they are not those of the plan that the train runs. */
export function fullPlanHash(typed: string, view: Pick<TrainView, 'train' | 'planHash' | 'hold'>): string {
  const digits = typed.toLowerCase().replace(/^sha256:/, '');
  if (!/^[0-9a-f]{1,64}$/.test(digits) || digits.length < MIN_PREFIX) {
    throw wrongUsage(`--plan takes the plan's hash, or at least its first ${MIN_PREFIX} digits: edge train show`);
  }
  const full = view.hold?.planHash ?? view.planHash;
  if (full === undefined || !SHA256.test(full)) {
    throw new CliFailure(`Train ${printable(view.train)} has no plan yet, so there is nothing to decide.`);
  }
  if (!full.startsWith(`sha256:${digits}`)) {
    throw new CliFailure(
      `Train ${printable(view.train)} runs plan ${shortDigest(full)}, not ${digits.slice(0, 12)}. ` +
        'Look at it before you decide: edge train show',
    );
  }
  return full;
}

const STEERING = [
  { name: 'pause', description: 'Start nothing new; stores in work end by themselves.' },
  { name: 'resume', description: 'Go on after a pause.' },
  { name: 'abort', description: 'End the train, a stage or a store; stores in work stop at the nearest safe point.' },
] as const;

interface SayOptions extends FleetCommandOptions, Partial<Said> {}

function addSteering(
  train: Command,
  io: Io,
  result: CommandResult,
  { name, description }: (typeof STEERING)[number],
): void {
  sayer(train, name, description)
    .option('--stage <name>', 'only this stage')
    .option('--store <id>', 'only this store')
    .addHelpText('after', `\nExamples:\n  edge train ${name} --reason "why"\n  edge train ${name} --store store-014`)
    .action(async (options: SayOptions & { stage?: string; store?: string }) => {
      const { stage, store } = options;
      await say(io, options, result, name, (operations, fleet, command) =>
        operations[name](fleet, {
          ...command,
          ...(stage === undefined ? {} : { stage }),
          ...(store === undefined ? {} : { store }),
        }),
      );
    });
}

const ANSWERS: Record<Exclude<PlainAnswer, 'rollback'>, string> = {
  'ask-again': 'Ask again for an approval that was rejected or came too late.',
  'retry-gate': 'Measure the health of the held stage again.',
  'retry-failed': 'Try again what failed: the stores of the held stage, a build, a promotion.',
  'retry-offline': 'Try the stores of the held stage again that were offline or cut off.',
  skip: 'Leave the stores that failed as they are, or go on without proof of health, and take the others.',
  finish: 'End a train, or its way back, that only waits for stores that are away.',
};

function addAnswer(train: Command, io: Io, result: CommandResult, name: keyof typeof ANSWERS): void {
  sayer(train, name, ANSWERS[name])
    .addHelpText('after', `\nExample:\n  edge train ${name} --reason "why"`)
    .action((options: SayOptions) =>
      say(io, options, result, name, (operations, fleet, command) => operations.answer(fleet, name, command)),
    );
}

/** Milliseconds to wait for the plan. Stores in work come to a safe end first, and that may take longer. */
const PLAN_WITHIN = 20_000;

function addRollback(train: Command, io: Io, result: CommandResult): void {
  sayer(train, 'rollback', 'Take the release of a train back from every store that took it.')
    .option('--train <id>', 'a train that has ended (default: the one that runs, else the last that can be taken back)')
    .addHelpText(
      'after',
      `
Stores of a running train that are in work stop at the nearest safe point. Then the plan is shown: who goes back to
what, who cannot, and what is not taken back. Nothing goes back before that plan is approved, with
\`edge train approve rollback\`. A train that has ended goes back in the same way, unless a later one is still on its
stores; no other train of the fleet runs meanwhile.

Examples:
  edge train rollback --reason "checkout is slower since Tuesday"
  edge train rollback --train 2026-w48 --reason "orders are lost at night"`,
    )
    .action(async (options: SayOptions & { train?: string }) => {
      const clock = clockOf(io, options);
      await withSession(io, options, async ({ operations, target }) => {
        const fleet = fleetOf(io, options, target.service);
        const by = options.by ?? io.user;
        const named = options.train === undefined ? {} : { train: options.train };
        const reply = await operations.rollback({ fleet, ...named, ...reasoned(by, options.reason) });
        const facts = { fleet, command: 'rollback', by };
        if (reply.kind === 'refused') return tell(io, options, result, reply, facts, []);
        const view = await planOfRollback(io, operations, fleet);
        const asks = view.hold !== undefined && !isOver(view);
        const question = renderQuestion(view, { clock, suffix: target.suffix, columns: io.columns });
        answer(io, options, { ...facts, ...reply, hold: view.hold, commands: answerCommands(view, target.suffix) }, [
          printable(reply.sentence),
          ...(asks ? question : [printable(view.doing), `See it: edge train show --watch${target.suffix}`]),
        ]);
        if (view.hold?.reason === 'RollbackRefused' || view.state === 'failed') result.exitCode = 1;
      });
    });
}

/** The train as it is when it shows the plan, refuses one, or has not come so far in time. */
async function planOfRollback(io: Io, operations: Operations, fleet: string): Promise<TrainView> {
  const giveUp = io.now().getTime() + PLAN_WITHIN;
  for (;;) {
    const view = await operations.trainView(fleet);
    const hasPlan = view.hold?.stage === ROLLBACK_STAGE || view.hold?.reason === 'RollbackRefused';
    if (hasPlan || isOver(view) || io.now().getTime() > giveUp) return view;
    await io.pause(300);
  }
}

const sayer = (train: Command, name: string, description: string): Command =>
  forFleet(train.command(name))
    .description(description)
    .option('--by <name>', 'who says so (default: your user name)')
    .option('--reason <text>', 'kept with the answer');

async function say(
  io: Io,
  options: SayOptions,
  result: CommandResult,
  name: string,
  send: (operations: Operations, fleet: string, command: Said) => Promise<Reply>,
): Promise<void> {
  await withSession(io, options, async ({ operations, target }) => {
    const fleet = fleetOf(io, options, target.service);
    const by = options.by ?? io.user;
    const reply = await send(operations, fleet, reasoned(by, options.reason));
    tell(io, options, result, reply, { fleet, command: name, by }, []);
  });
}

function addHistory(train: Command, io: Io): void {
  forFleet(train.command('history'))
    .description('List the last trains of the fleet.')
    .addHelpText('after', '\nExample:\n  edge train history')
    .action(async (options: FleetCommandOptions) => {
      const clock = clockOf(io, options);
      await withSession(io, options, async ({ operations, target }) => {
        const fleet = fleetOf(io, options, target.service);
        const told = await fromLedger(io, target, (ledger) => ledger.trains(HISTORY));
        const rows = told?.filter((row) => row.fleet === fleet) ?? [];
        const trains = rows.length > 0 ? rows : await operations.history(fleet, HISTORY);
        answer(io, options, trains, renderHistory(fleet, trains, clock));
      });
    });
}
