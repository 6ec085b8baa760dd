import { readFileSync } from 'node:fs';
import type { Command } from 'commander';
import { parse as parseYaml } from 'yaml';
import { plural } from '#domain/counted.js';
import { DURATION, parseDuration } from '#domain/durations.js';
import { answer, clockOf, stateDir, withCommonOptions, type CommonOptions } from './context.js';
import { CliFailure, wrongUsage } from './failure.js';
import type { Io } from './io.js';
import { createLabClient, type LabClient } from './lab-client.js';
import { addLabUp } from './lab-up.js';
import type { AddCommands, CommandResult } from './main.js';
import { holds, renderFaultKind, renderFaults, renderFaultTable, renderJournal, renderReport } from './render-lab.js';
import { readServiceFile } from './service-file.js';
import { printable, printableJson } from './text.js';

export const addLabCommands: AddCommands = (program, io, result) => {
  const lab = program
    .command('lab')
    .description('A practice fleet, alone or that of a running `edge up --lab`: break it, look at it, check it.');
  addLabUp(lab, io);
  addCheck(lab, io, result);
  addJournal(lab, io);
  addFault(lab, io);
  addFaults(lab, io);
  addWan(lab, io);
  addState(lab, io);
};

interface LabOptions extends CommonOptions {
  dir?: string;
  control?: string;
}

function forLab(command: Command): Command {
  return withCommonOptions(command)
    .option('--dir <dir>', 'state directory of the running `edge up` (default: .edge)')
    .option('--control <url>', "address of the practice fleet's control API (default: that of `edge up`)");
}

function labOf(io: Io, options: LabOptions): LabClient {
  const control = options.control ?? io.env['EDGE_LAB_CONTROL'] ?? readServiceFile(stateDir(io, options))?.lab?.control;
  if (control === undefined) {
    throw new CliFailure('No practice fleet is running here. Start one: edge up --lab 60');
  }
  if (!URL.canParse(control) || !control.startsWith('http://')) {
    throw wrongUsage('--control takes an address such as http://127.0.0.1:9180.');
  }
  return createLabClient(control);
}

function addCheck(lab: Command, io: Io, result: CommandResult): void {
  forLab(lab.command('check'))
    .description("Prove the safety rules from the practice fleet's own journal; exit code 1 when one is broken.")
    .addHelpText('after', '\nExample:\n  edge lab check')
    .action(async (options: LabOptions) => {
      const report = await labOf(io, options).check();
      answer(io, options, report, renderReport(report));
      if (!holds(report)) result.exitCode = 1;
    });
}

interface JournalOptions extends LabOptions {
  store?: string;
  effect?: string;
  after: string;
  last: string;
}

function addJournal(lab: Command, io: Io): void {
  forLab(lab.command('journal'))
    .description('Print what really happened in the practice fleet, one effect a line.')
    .option('--store <id>', 'only of this store')
    .option('--effect <name>', 'only effects whose name begins so, e.g. node.reboot')
    .option('--after <number>', 'only effects with a higher number', '0')
    .option('--last <number>', 'only so many of the newest', '200')
    .addHelpText('after', '\nExample:\n  edge lab journal --store store-014 --effect node')
    .action(async (options: JournalOptions) => {
      const clock = clockOf(io, options);
      const after = wholeNumber('--after', options.after);
      const last = wholeNumber('--last', options.last);
      const entries = (await labOf(io, options).journal(after))
        .filter((entry) => options.store === undefined || entry.store === options.store)
        .filter((entry) => options.effect === undefined || entry.effect.startsWith(options.effect));
      const shown = last === 0 ? [] : entries.slice(-last);
      answer(io, options, shown, [
        ...renderJournal(shown, clock),
        `${plural(shown.length, 'effect')} of ${entries.length} (times in ${clock.zone}).`,
      ]);
    });
}

interface FaultOptions extends LabOptions {
  store: string;
  node?: string;
  step?: string;
  moment?: string;
  times?: string;
  for?: string;
  id?: string;
  param?: string[];
}

function addFault(lab: Command, io: Io): void {
  const fault = lab.command('fault').description('Make something go wrong in the practice fleet, or right again.');
  addFaultAdd(fault, io);
  addFaultPlan(fault, io);
  addFaultRemove(fault, io);
}

function addFaultAdd(fault: Command, io: Io): void {
  forLab(fault.command('add'))
    .description('Set one fault.')
    .argument('<kind>', 'one of those that `edge lab faults` prints')
    .requiredOption('--store <id>', 'the store, or * for any')
    .option('--node <name>', 'only on this node')
    .option('--step <effect>', 'only at this effect, e.g. node.reboot.request')
    .option('--moment <moment>', 'before, during or after the step')
    .option('--times <number>', 'how often it strikes (default: a trap until it is removed, an event once)')
    .option('--for <duration>', 'how long, in the time of a real store, e.g. 20m')
    .option('--id <id>', 'a name of your own')
    .option('--param <name=value>', 'a setting of the fault; may be repeated', collect)
    .addHelpText(
      'after',
      `
Examples:
  edge lab fault add node-stays-down --store store-033 --node n2
  edge lab fault add wan-cut --store store-014 --step guest.migrate --moment during --for 20m`,
    )
    .action(async (kind: string, options: FaultOptions) => {
      const added = await labOf(io, options).addFault({
        kind,
        store: options.store,
        ...(options.id === undefined ? {} : { id: options.id }),
        ...(options.node === undefined ? {} : { node: options.node }),
        ...(options.step === undefined ? {} : { step: options.step }),
        ...(options.moment === undefined ? {} : { moment: options.moment }),
        ...(options.times === undefined ? {} : { times: wholeNumber('--times', options.times) }),
        ...(options.for === undefined ? {} : { durationMs: durationOf('--for', options.for) }),
        ...(options.param === undefined ? {} : { params: paramsOf(options.param) }),
      });
      answer(io, options, added, [
        `${printable(kind)} is set for ${printable(options.store)}. All of them: edge lab faults`,
      ]);
    });
}

function addFaultPlan(fault: Command, io: Io): void {
  forLab(fault.command('plan'))
    .description('Set all faults of a file: a YAML or JSON list of {kind, store, node?, step?, moment?, times?, …}.')
    .argument('<file>', 'the plan')
    .addHelpText('after', '\nExample:\n  edge lab fault plan bad-night.yaml')
    .action(async (file: string, options: LabOptions) => {
      const added = await labOf(io, options).addFaults(planOf(file));
      answer(io, options, added, [`${plural(added.length, 'fault')} of ${printable(file)} set.`]);
    });
}

function addFaultRemove(fault: Command, io: Io): void {
  forLab(fault.command('remove'))
    .description('End a fault: what it did to the store is undone.')
    .argument('<id>', 'its id, as `edge lab faults` shows it')
    .addHelpText('after', '\nExample:\n  edge lab fault remove fault-1a2b3c4d')
    .action(async (id: string, options: LabOptions) => {
      await labOf(io, options).removeFault(id);
      answer(io, options, { removed: id }, [`${printable(id)} is over.`]);
    });
}

function planOf(file: string): unknown {
  let text: string;
  try {
    text = readFileSync(file, 'utf8');
  } catch (error) {
    throw new CliFailure(`${file} cannot be read. Name a file with a list of faults.`, { cause: error });
  }
  try {
    return parseYaml(text);
  } catch (error) {
    const [line] = error instanceof Error ? error.message.split('\n') : [];
    throw new CliFailure(`${file} is not YAML: ${line ?? ''}`, { cause: error });
  }
}

function addFaults(lab: Command, io: Io): void {
  forLab(lab.command('faults'))
    .description('List what can go wrong in the practice fleet, where and when, and the faults that are set.')
    .option('--kind <kind>', 'only this kind, with every step and setting')
    .addHelpText('after', '\nExamples:\n  edge lab faults\n  edge lab faults --kind lost-answer')
    .action(async (options: LabOptions & { kind?: string }) => {
      const client = labOf(io, options);
      const table = (await client.faultTable()).filter(
        ({ kind }) => options.kind === undefined || kind === options.kind,
      );
      if (table.length === 0) throw wrongUsage(`There is no fault ${options.kind ?? ''}. All of them: edge lab faults`);
      const faults = await client.faults();
      const known = options.kind === undefined ? renderFaultTable(table) : table.flatMap(renderFaultKind);
      answer(io, options, { kinds: table, set: faults }, [...known, '', ...renderFaults(faults)]);
    });
}

function addWan(lab: Command, io: Io): void {
  forLab(lab.command('wan'))
    .description("Cut or restore a practice store's link to the centre.")
    .argument('<store>', 'id of the store')
    .argument('<up|down>', 'down cuts it, up restores it')
    .addHelpText('after', '\nExample:\n  edge lab wan store-014 down')
    .action(async (store: string, state: string, options: LabOptions) => {
      if (state !== 'up' && state !== 'down')
        throw wrongUsage('The link is either up or down: edge lab wan store-014 down');
      await labOf(io, options).setWan(store, state === 'up');
      answer(io, options, { store, up: state === 'up' }, [`The link of ${printable(store)} is ${state}.`]);
    });
}

function addState(lab: Command, io: Io): void {
  forLab(lab.command('state'))
    .description('Print the state of the practice fleet, or of one store, as the simulation has it (JSON).')
    .option('--store <id>', 'only this store')
    .option('--timing', 'print instead how long things take, and the speed factor')
    .addHelpText('after', '\nExample:\n  edge lab state --store store-014')
    .action(async (options: LabOptions & { store?: string; timing?: boolean }) => {
      const client = labOf(io, options);
      const facts = options.timing ? await client.timing() : await client.state(options.store);
      io.out(printableJson(facts));
    });
}

const collect = (value: string, earlier: string[] | undefined): string[] => [...(earlier ?? []), value];

function wholeNumber(option: string, text: string): number {
  if (/^\d{1,9}$/.test(text)) return Number(text);
  throw wrongUsage(`${option} takes a whole number.`);
}

function durationOf(option: string, text: string): number {
  const duration = DURATION.test(text) ? parseDuration(text) : undefined;
  if (duration !== undefined) return duration;
  throw wrongUsage(`${option} takes a duration such as 90s, 20m or 4h.`);
}

function paramsOf(pairs: readonly string[]): Record<string, string | number | boolean> {
  return Object.fromEntries(
    pairs.map((pair) => {
      const at = pair.indexOf('=');
      if (at < 1) throw wrongUsage('--param takes name=value, e.g. factor=10.');
      const value = pair.slice(at + 1);
      return [pair.slice(0, at), paramOf(value)];
    }),
  );
}

function paramOf(text: string): string | number | boolean {
  if (text === 'true' || text === 'false') return text === 'true';
  return /^-?\d+(\.\d+)?$/.test(text) ? Number(text) : text;
}
