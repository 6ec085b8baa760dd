import { join } from 'node:path';
import type { Command } from 'commander';
import { wrongUsage } from '../failure.js';
import { storeCount } from '../init.js';
import type { AddCommands } from '../main.js';
import { printableJson } from '../text.js';
import { DEFAULT_SPEED, speedOf } from '../up.js';
import { measureAnsible } from './ansible-side.js';
import { renderBeside, renderKilled } from './beside.js';
import { isProven, renderBench, renderNightBench, wentWell, type BenchRow, type NightRow } from './figures.js';
import { measureNight } from './night-side.js';
import { PLAYBOOK } from './playbook-run.js';
import { ansiblePrograms } from './python.js';
import { isSound, type Side } from './side.js';
import { measureTrain } from './train-side.js';

interface BenchOptions {
  stores: string;
  speed: string;
  backup?: boolean;
  ansible?: boolean;
  kill?: boolean;
  patience?: string;
  json?: boolean;
}

/** The share of all nodes whose reboot was asked for when `--kill` strikes: in the middle of a wave of every fleet. */
const KILL_AT = 0.4;

export const addBenchCommand: AddCommands = (program, io, result) => {
  describe(program.command('bench')).action(async (options: BenchOptions) => {
    if (options.kill && !options.ansible)
      throw wrongUsage('--kill is a part of the comparison: give --ansible as well.');
    if (options.patience !== undefined && !options.ansible)
      throw wrongUsage('--patience is a part of the comparison: give --ansible as well.');
    if (options.patience !== undefined && options.kill)
      throw wrongUsage(
        'A run that is killed and started again is followed to its end: leave out --kill or --patience.',
      );
    if (options.backup && options.ansible)
      throw wrongUsage('The playbook makes no backups: give --backup or --ansible.');
    const speed = speedOf(options.speed);
    const factor = options.patience === undefined ? undefined : patienceOf(options.patience);
    const sizes = options.stores.split(',').map(storeCount);
    const print = (value: unknown, lines: string[]) => {
      if (options.json) io.out(printableJson(value));
      else for (const line of lines) io.out(line);
    };
    if (options.ansible) {
      // First, so that what is missing is said before anything is measured.
      const programs = await ansiblePrograms(io, join(PLAYBOOK, 'requirements.txt'));
      const pairs: [Side, Side][] = [];
      for (const stores of sizes) {
        const measure = { stores, speed, ...(options.kill ? { killAt: KILL_AT } : {}) };
        const { side } = await measureTrain(io, measure);
        const ansible = await measureAnsible(io, {
          ...measure,
          programs,
          ...(factor === undefined ? {} : { patience: { factor, seconds: side.seconds } }),
        });
        pairs.push([side, ansible]);
        if (!options.kill && !(isSound(side) && isSound(ansible))) result.exitCode = 1;
      }
      print(
        pairs,
        pairs.flatMap((pair) => [...renderBeside(pair), ...(options.kill ? renderKilled(pair) : [])]),
      );
      return;
    }
    if (options.backup) {
      const nights: NightRow[] = [];
      for (const stores of sizes) nights.push(await measureNight(io, { stores, speed }));
      if (!nights.every(isProven)) result.exitCode = 1;
      print(nights, renderNightBench(nights));
      return;
    }
    const rows: BenchRow[] = [];
    for (const stores of sizes) rows.push((await measureTrain(io, { stores, speed })).row);
    if (!rows.every(wentWell)) result.exitCode = 1;
    print(rows, renderBench(rows));
  });
};

const describe = (command: Command): Command =>
  command
    .description(
      'Measure calm trains or nights of backups over practice fleets: time, Temporal actions, history sizes, CPU and ' +
        'memory. Exit code 0 only when every store succeeded and the journal of the practice fleet proves it safe.',
    )
    .option('--stores <numbers>', 'sizes of the fleets, one after another', '60,500')
    .option('--speed <factor>', 'how many times faster than real the practice fleet lives', DEFAULT_SPEED)
    .option('--backup', 'a night of backups instead of a train, over stores of four guests')
    .option('--ansible', 'beside a playbook that does the same on a fleet of its own (installs ansible-core from PyPI)')
    .option('--kill', 'with --ansible: both are killed (SIGKILL) in the middle of their work and started again')
    .option(
      '--patience <factor>',
      'with --ansible: the playbook is ended when it has taken so many times as long as the train (default: no limit; ' +
        '500 stores take it more than an hour)',
    )
    .option('--json', 'print the figures as JSON')
    .addHelpText(
      'after',
      '\nExamples:\n  edge bench\n  edge bench --stores 60 --json\n  edge bench --backup --stores 12,60,500\n' +
        '  edge bench --ansible --stores 60\n  edge bench --ansible --stores 500 --patience 2.5\n' +
        '  edge bench --ansible --kill --stores 12',
    );

function patienceOf(text: string): number {
  const factor = Number(text);
  if (/^\d{1,3}(\.\d{1,2})?$/.test(text) && factor >= 1) return factor;
  throw wrongUsage('--patience takes a factor of at least 1, such as 2.5.');
}
