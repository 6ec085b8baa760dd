import { PVE_TASKS, type TaskForm } from './task-form.js';
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
  /** `OK`, `WARNINGS: n`, an error text, the word of the product for a lost one; absent while it runs. */
  exitstatus?: string;
  readonly log: string[];
}

/** Work in pieces: each yields how many milliseconds of this lab it takes. Returns a number of warnings, if any. */
export type Script<T = number | undefined | void> = Generator<number, T, void>;
export type Log = (line: string) => void;

/** Thrown by a script whose process dies: nothing is written any more. */
export class ProcessDies extends Error {}

interface TaskRequest {
  type: string;
  /** Usually a vmid; may be empty. */
  id: string;
  /** `user@realm` or `user@realm!token`. */
  user: string;
  /** Called when the task ended in any way, with its exit status. */
  ended?: ((exitstatus: string) => void) | undefined;
  log?: string[];
  /** Goes on with a task that was begun before a restart of the lab. */
  task?: Task | undefined;
}

export interface TaskStart extends TaskRequest {
  /** Real milliseconds of this lab. */
  durationMs: number;
  /** The effect, at the end. Throws to fail the task with its message; returns a number of warnings, if any. */
  run: (log: Log) => number | undefined | void;
}

export interface ScriptStart extends TaskRequest {
  /** Throws to fail the task with its message. */
  script: (log: Log, task: Task) => Script;
}

interface Running {
  task: Task;
  /** Of the piece under way. */
  cancel: () => void;
  next: () => void;
  end: (exit: string) => void;
}

const KEPT = 500;

/** The tasks of one node, oldest first. */
export class TaskList {
  readonly node: string;
  readonly all: Task[] = [];
  readonly #timers: Timers;
  /** The node's own: it may be wrong. */
  readonly #clock: () => number;
  readonly #form: TaskForm;
  readonly #running = new Map<string, Running>();
  #nextPid = 1_200;

  constructor(node: string, timers: Timers, clock: () => number = Date.now, form: TaskForm = PVE_TASKS) {
    this.node = node;
    this.#timers = timers;
    this.#clock = clock;
    this.#form = form;
  }

  get running(): Task[] {
    return [...this.#running.values()].map(({ task }) => task);
  }

  find(upid: string): Task | undefined {
    return this.all.find((task) => task.upid === upid);
  }

  start({ durationMs, run, ...request }: TaskStart): Task {
    return this.script({
      ...request,
      *script(log) {
        yield durationMs;
        return run(log);
      },
    });
  }

  /** The first piece begins at once, so what it refuses has failed the task already when this returns. */
  script(request: ScriptStart): Task {
    const { task, log, end } = this.open(request);
    const script = request.script(log, task);
    const entry = this.#running.get(task.upid);
    const runs = (): boolean => this.#running.has(task.upid);
    const next = (): void => {
      if (!runs()) return;
      try {
        const { done, value } = script.next();
        if (!done) {
          // No last line: that is how Proxmox itself finds out that a task died with its node.
          if (entry && runs()) entry.cancel = this.#timers.after(value, next, () => end(this.#form.lost));
        } else end(typeof value === 'number' && value > 0 ? `WARNINGS: ${value}` : 'OK');
      } catch (error) {
        end(error instanceof ProcessDies ? this.#form.lost : (error as Error).message);
      }
    };
    if (entry) entry.next = next;
    next();
    return task;
  }

  /** A task that somebody else carries on, and ends. */
  open(request: TaskRequest): { task: Task; log: Log; end: (exit: string) => void } {
    const task = request.task ?? this.#create(request);
    const log = (line: string): void => void task.log.push(this.#form.line(line, this.#clock()));
    const end = (text: string): void => {
      if (!this.#running.delete(task.upid)) return;
      const exit = text.replace(/\n/g, ' ');
      if (/^(OK|WARNINGS: \d+)$/.test(exit)) log(`TASK ${exit}`);
      else if (exit !== this.#form.lost) log(`TASK ERROR: ${exit}`);
      task.endtime = Math.floor(this.#clock() / 1_000);
      task.exitstatus = exit;
      request.ended?.(exit);
    };
    this.#running.set(task.upid, { task, cancel: () => undefined, next: () => undefined, end });
    return { task, log, end };
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
      task.exitstatus = this.#form.lost;
    }
  }

  #create(request: TaskRequest): Task {
    const pid = (this.#nextPid += 3);
    const now = this.#clock();
    const plain = {
      node: this.node,
      pid,
      pstart: Math.floor(now / 10) % 0x0fff_ffff,
      starttime: Math.floor(now / 1_000),
      type: request.type,
      id: request.id,
      user: request.user,
    };
    const task: Task = { upid: this.#form.upid(plain), ...plain, log: [] };
    task.log.push(...(request.log ?? []).map((line) => this.#form.line(line, now)));
    this.all.push(task);
    if (this.all.length > KEPT) this.all.shift();
    return task;
  }

  /** What the task waited for is there: it goes on at once. Nothing when the task has ended already. */
  finish(upid: string): void {
    const entry = this.#running.get(upid);
    entry?.cancel();
    entry?.next();
  }

  /** The machine loses its power: whatever runs is lost. */
  die(): void {
    for (const { cancel, end } of [...this.#running.values()]) {
      cancel();
      end(this.#form.lost);
    }
  }

  /** Like DELETE on a task. False when it does not run. */
  abort(upid: string): boolean {
    const entry = this.#running.get(upid);
    if (!entry) return false;
    entry.cancel();
    entry.end(this.#form.stopped);
    return true;
  }
}
