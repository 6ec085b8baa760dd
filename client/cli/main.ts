import { Command, CommanderError } from 'commander';
import { OperationError } from '../operation-errors.js';
import { addBackupCommands } from './backup.js';
import { addRestoreCommands } from './restore.js';
import { addBenchCommand } from './bench/command.js';
import { addDemoCommand } from './demo.js';
import { addDoctorCommand } from './doctor.js';
import { CliFailure } from './failure.js';
import { addFleetCommands } from './fleet.js';
import { addInitCommand } from './init.js';
import { processIo, type Io } from './io.js';
import { addJanitorCommands } from './janitor.js';
import { addLabCommands } from './lab.js';
import { addRunbookCommand } from './runbook.js';
import { addSchedulesCommands } from './schedules.js';
import { addStoreCommands } from './store.js';
import { printable, printableJson } from './text.js';
import { addTrainCommands } from './train.js';
import { addUpCommand } from './up.js';
import { addWorkersCommands } from './workers.js';

/** Exit codes of every command: 0 done, 1 failed, 2 wrong usage. */
export type ExitCode = 0 | 1 | 2;

/** Runs one command of `edge` in this process and returns its exit code; nothing is thrown. */
export function main(argv: string[]): Promise<number> {
  return run(argv, processIo());
}

export async function run(argv: readonly string[], io: Io): Promise<ExitCode> {
  const result: CommandResult = { exitCode: 0 };
  try {
    await program(io, result).parseAsync([...argv], { from: 'user' });
    return result.exitCode;
  } catch (error) {
    return explain(error, io, argv.includes('--json'));
  }
}

/** What the command that ran left behind. */
export interface CommandResult {
  exitCode: ExitCode;
}

/** Adds commands to the program. */
export type AddCommands = (program: Command, io: Io, result: CommandResult) => void;

/** All commands with their options, as the help shows them. */
export function program(io: Io, result: CommandResult): Command {
  const edge = new Command('edge')
    .description(
      'Patches a fleet of Proxmox VE edge stores, wave by wave, and says what it does and what it waits for.',
    )
    .exitOverride()
    .configureOutput({
      writeOut: (text) => io.write(text),
      writeErr: (text) => io.err(printableLines(text)),
    })
    .showSuggestionAfterError()
    .showHelpAfterError('See the command with --help.')
    .addHelpText(
      'after',
      `
Examples:
  edge demo                       a whole train over 60 practice stores, by itself
  edge up --lab 60                the service on this machine, with a practice fleet
  edge train start --stages canary
  edge train show --watch
  edge store show store-014

Exit codes: 0 done, 1 failed, 2 wrong usage. Every command takes --json and --help.`,
    );
  for (const add of COMMANDS) add(edge, io, result);
  return edge;
}

const COMMANDS: readonly AddCommands[] = [
  addDemoCommand,
  addBenchCommand,
  addUpCommand,
  addInitCommand,
  addFleetCommands,
  addTrainCommands,
  addStoreCommands,
  addBackupCommands,
  addRestoreCommands,
  addJanitorCommands,
  addSchedulesCommands,
  addRunbookCommand,
  addWorkersCommands,
  addDoctorCommand,
  addLabCommands,
];

function explain(error: unknown, io: Io, json: boolean): ExitCode {
  if (error instanceof CommanderError) {
    if (error.exitCode === 0) return 0;
    // Commander has told people on standard error already; a program reads standard output.
    const wasHelp = error.code === 'commander.help';
    if (json && !wasHelp) io.out(printableJson({ error: error.message.replace(/^error: /, ''), problems: [] }));
    return 2;
  }
  const { message, problems, exitCode } = explained(error);
  if (json) io.out(printableJson({ error: message, problems }));
  else io.err(printable(message));
  return exitCode;
}

function explained(error: unknown): { message: string; problems: readonly string[]; exitCode: ExitCode } {
  if (error instanceof CliFailure) return error;
  if (error instanceof OperationError) {
    return {
      message: error.message,
      problems: error.problems,
      exitCode: error.kind === 'invalid-input' ? 2 : 1,
    };
  }
  const message = error instanceof Error ? error.message : String(error);
  return { message: `Unexpected: ${message}`, problems: [], exitCode: 1 };
}

/** Commander's own messages hold what the person typed. */
const printableLines = (text: string): string => text.trimEnd().split('\n').map(printable).join('\n');
