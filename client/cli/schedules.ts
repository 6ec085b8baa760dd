import type { Command } from 'commander';
import { applySchedules, desiredSchedules, planSchedules, readSchedules } from '../schedules.js';
import { answer, repoOf, withSession, withTargetOptions, type TargetOptions } from './context.js';
import type { Io } from './io.js';
import type { AddCommands, CommandResult } from './main.js';
import { renderChanges, summaryOf } from './render-schedules.js';
import { loadRepo } from './repo.js';

export const addSchedulesCommands: AddCommands = (program, io, result) => {
  const schedules = program
    .command('schedules')
    .description(
      'What fires the weekly train, the nightly backups and the janitor: as fleet.yaml asks for it, and as Temporal has it.',
    );
  addSchedulesCommand(schedules, io, result, 'plan');
  addSchedulesCommand(schedules, io, result, 'apply');
};

interface SchedulesOptions extends TargetOptions {
  repo?: string;
}

function addSchedulesCommand(schedules: Command, io: Io, result: CommandResult, verb: 'plan' | 'apply'): void {
  const applies = verb === 'apply';
  withTargetOptions(schedules.command(verb))
    .description(
      applies
        ? 'Create and update the schedules as fleet.yaml asks for; those of others are never touched.'
        : 'Show what `edge schedules apply` would change, and change nothing.',
    )
    .option('--repo <dir>', 'the GitOps repo (default: EDGE_REPO, else that of `edge up`)')
    .addHelpText('after', `\nExample:\n  edge schedules ${verb} --repo ./edge-infra`)
    .action(async (options: SchedulesOptions) => {
      const { fleet } = await loadRepo(repoOf(io, options));
      const desired = desiredSchedules(fleet);
      await withSession(io, options, async ({ client }) => {
        const existing = await readSchedules(
          client,
          desired.map(({ id }) => id),
        );
        const changes = planSchedules(existing, desired);
        // What is about to change is shown first: should applying fail half-way, people know what was under way.
        if (!options.json) for (const line of renderChanges(changes)) io.out(line);
        if (applies) await applySchedules(client, changes);
        answer(io, options, { applied: applies, changes }, [summaryOf(changes, applies)]);
        if (changes.some(({ kind }) => kind === 'foreign')) result.exitCode = 1;
      });
    });
}
