import { NodeGone } from './node-gone.js';
import type { NodeSim } from './node-sim.js';
import type { CommandOutcome } from './packages-sim.js';

const LOG_LINES = 500;

export interface Unit {
  readonly name: string;
  readonly argv: readonly string[];
  readonly remainAfterExit: boolean;
  /** Who started it, for the journal. */
  readonly by: string;
  state: 'running' | 'exited' | 'failed';
  exitCode: number | undefined;
  readonly startedAt: number;
  endedAt: number | undefined;
}

/** Transient systemd units of one node. They vanish with a reboot; a failed one stays until it is reset. */
export class UnitsSim {
  readonly all = new Map<string, Unit>();
  /** What journald keeps: it outlives the unit and a reboot. */
  readonly logs = new Map<string, string[]>();
  readonly #node: NodeSim;

  constructor(node: NodeSim) {
    this.#node = node;
  }

  /** `name` with its suffix, e.g. `x.service`. Throws systemd's own text when the name is taken. */
  start(
    name: string,
    options: { argv: string[]; remainAfterExit: boolean; by: string },
    run: () => Promise<CommandOutcome>,
  ): Unit {
    if (this.all.has(name)) {
      throw new Error(
        `Failed to start transient service unit: Unit ${name} was already loaded or has a fragment file.`,
      );
    }
    this.#node.enter('unit.start');
    const unit: Unit = {
      name,
      argv: options.argv,
      remainAfterExit: options.remainAfterExit,
      by: options.by,
      state: 'running',
      exitCode: undefined,
      startedAt: Date.now(),
      endedAt: undefined,
    };
    this.all.set(name, unit);
    this.#log(name, `Started ${name} - ${options.argv.join(' ')}.`);
    this.#node.record('unit.start', options.by, { detail: { unit: name, argv: options.argv } });
    // A fault may have struck right after the start.
    if (this.all.get(name) === unit) this.follow(unit, options.by, run);
    return unit;
  }

  /** Runs the unit's program and ends the unit with it, unless the node goes first. */
  follow(unit: Unit, by: string, run: () => Promise<CommandOutcome>): void {
    const { bootId } = this.#node;
    run().then(
      (outcome) => {
        if (this.#node.bootId !== bootId || this.all.get(unit.name) !== unit || !this.#node.up) return;
        this.#end(unit, outcome, by);
      },
      (error: unknown) => {
        if (!(error instanceof NodeGone)) throw error;
      },
    );
  }

  /** `systemctl reset-failed`: forgets a failed unit. False when there is no such failed unit. */
  reset(name: string, by: string): boolean {
    if (this.all.get(name)?.state !== 'failed') return false;
    this.#node.enter('unit.reset');
    this.all.delete(name);
    this.#node.record('unit.reset', by, { detail: { unit: name } });
    return true;
  }

  /** `systemctl stop`: a unit that has ended well is forgotten, a failed one stays failed. False when it runs: not practised. */
  stop(name: string, by: string): boolean {
    const unit = this.all.get(name);
    if (!unit) return false;
    if (unit.state === 'running') return false;
    if (unit.state !== 'exited') return true;
    this.#node.enter('unit.stop');
    this.all.delete(name);
    this.#node.record('unit.stop', by, { detail: { unit: name } });
    return true;
  }

  get failed(): Unit[] {
    return [...this.all.values()].filter(({ state }) => state === 'failed');
  }

  #end(unit: Unit, outcome: CommandOutcome, by: string): void {
    this.#log(unit.name, ...`${outcome.stdout}${outcome.stderr}`.split('\n').filter((line) => line !== ''));
    if (outcome.code !== 0) {
      this.#log(unit.name, `${unit.name}: Main process exited, code=exited, status=${outcome.code}/n/a`);
      this.#log(unit.name, `${unit.name}: Failed with result 'exit-code'.`);
    }
    unit.exitCode = outcome.code;
    unit.endedAt = Date.now();
    unit.state = outcome.code === 0 ? 'exited' : 'failed';
    if (outcome.code === 0 && !unit.remainAfterExit) this.all.delete(unit.name);
    this.#node.record('unit.end', by, { detail: { unit: unit.name, exitCode: outcome.code } });
  }

  #log(name: string, ...lines: string[]): void {
    this.logs.set(name, [...(this.logs.get(name) ?? []), ...lines].slice(-LOG_LINES));
  }
}
