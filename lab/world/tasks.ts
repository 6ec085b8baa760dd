import type { Timers } from './timers.js';

export interface Task {
  readonly upid: string;
  readonly node: string;
  readonly pid: number;
  readonly pstart: number;
  /** Seconds since the epoch. */
  readonly starttime: number;
  readonly type: string;
  readonly id: string;
  readonly user: string;
  /** Seconds since the epoch; absent while it runs. */
  endtime?: number;
  /** `OK`, `WARNINGS: n`, an error text, `unexpected status`; absent while it runs. */
  exitstatus?: string;
  readonly log: string[];
}

export interface TaskStart {
  type: string;
  /** Usually a vmid; may be empty. */
  id: string;
  /** `user@realm` or `user@realm!token`. */
  user: string;
  /** Real milliseconds of this lab. */
  durationMs: number;
  /** The effect, at the end. Throws to fail the task with its message; returns a number of warnings, if any. */
  run: (log: (line: string) => void) => number | undefined | void;
  /** Called when the task ended in any way, with its exit status. */
  ended?: (exitstatus: string) => void;
  log?: string[];
  /** Goes on with a task that was begun before a restart of the lab. */
  task?: Task | undefined;
}

const hex = (value: number): string => value.toString(16).toUpperCase().padStart(8, '0');
const KEPT = 500;

/** The tasks of one node, oldest first. */
export class TaskList {
  readonly node: string;
  readonly all: Task[] = [];
  readonly #timers: Timers;
  /** The node's own: it may be wrong. */
  readonly #clock: () => number;
  readonly #running = new Map<
    string,
    { task: Task; cancel: () => void; work: () => void; end: (exit: string) => void }
  >();
  #nextPid = 1_200;

  constructor(node: string, timers: Timers, clock: () => number = Date.now) {
    this.node = node;
    this.#timers = timers;
    this.#clock = clock;
  }

  get running(): Task[] {
    return [...this.#running.values()].map(({ task }) => task);
  }

  find(upid: string): Task | undefined {
    return this.all.find((task) => task.upid === upid);
  }

  start(request: TaskStart): Task {
    const task = request.task ?? this.#create(request);
    const end = (exit: string, lastLine?: string): void => {
      this.#running.delete(task.upid);
      if (lastLine !== undefined) task.log.push(lastLine);
      task.endtime = Math.floor(this.#clock() / 1_000);
      task.exitstatus = exit;
      request.ended?.(exit);
    };
    const work = (): void => {
      try {
        const warnings = request.run((line) => task.log.push(line));
        if (typeof warnings === 'number' && warnings > 0) end(`WARNINGS: ${warnings}`, `TASK WARNINGS: ${warnings}`);
        else end('OK', 'TASK OK');
      } catch (error) {
        const message = (error as Error).message.replace(/\n/g, ' ');
        end(message, `TASK ERROR: ${message}`);
      }
    };
    // No last TASK line: that is how Proxmox itself finds out that a task died with its node.
    const cancel = this.#timers.after(request.durationMs, work, () => end('unexpected status'));
    this.#running.set(task.upid, { task, cancel, work, end: (exit) => end(exit, `TASK ERROR: ${exit}`) });
    return task;
  }

  /** Puts the tasks of before a restart of the lab in place. Those that ran and that nobody goes on with have died. */
  load(saved: readonly Task[]): void {
    this.all.splice(0, this.all.length, ...saved);
    for (const { pid } of saved) this.#nextPid = Math.max(this.#nextPid, pid);
  }

  buryDead(): void {
    for (const task of this.all) {
      if (task.exitstatus !== undefined || this.#running.has(task.upid)) continue;
      task.endtime = Math.floor(this.#clock() / 1_000);
      task.exitstatus = 'unexpected status';
    }
  }

  #create(request: TaskStart): Task {
    const pid = (this.#nextPid += 3);
    const now = this.#clock();
    const pstart = Math.floor(now / 10) % 0x0fff_ffff;
    const starttime = Math.floor(now / 1_000);
    const task: Task = {
      upid: `UPID:${this.node}:${hex(pid)}:${hex(pstart)}:${hex(starttime)}:${request.type}:${request.id}:${request.user}:`,
      node: this.node,
      pid,
      pstart,
      starttime,
      type: request.type,
      id: request.id,
      user: request.user,
      log: [...(request.log ?? [])],
    };
    this.all.push(task);
    if (this.all.length > KEPT) this.all.shift();
    return task;
  }

  /** What the task waited for is there: its effect follows at once. Nothing when the task has ended already. */
  finish(upid: string): void {
    const entry = this.#running.get(upid);
    entry?.cancel();
    entry?.work();
  }

  /** Like DELETE on a task: ends it with `interrupted by signal`. False when it does not run. */
  abort(upid: string): boolean {
    const entry = this.#running.get(upid);
    if (!entry) return false;
    entry.cancel();
    entry.end('interrupted by signal');
    return true;
  }
}
