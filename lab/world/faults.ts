import { randomUUID } from 'node:crypto';
import type { Journal } from './journal.js';
import type { Timers } from './timers.js';
import type { Timing } from './timing.js';

/**
 * What can be made to go wrong. Two sorts:
 * - *events* take effect when the fault begins (at once, or when its `step` is reached) and are undone when it ends;
 * - *traps* wait to be met: the place that could fail asks `bite`, and `step` narrows which places count.
 */
const EVENT_KINDS = [
  'wan-cut',
  'disk-full',
  'clock-skew',
  'guest-unhealthy',
  'bad-cache',
  'osd-down',
  'mgr-down',
  'foreign-noout',
  'node-crash',
] as const;
const TRAP_KINDS = [
  'node-stays-down',
  'wrong-kernel',
  'slow-recovery',
  'stuck-recovery',
  'apt-fail',
  'lock-contention',
  'lost-answer',
  'proxy-595',
  'proxy-596',
  'token-expired',
  'command-hangs',
  'migration-fails',
] as const;
export const FAULT_KINDS = [...EVENT_KINDS, ...TRAP_KINDS] as const;
export type FaultKind = (typeof FAULT_KINDS)[number];
export type Moment = 'before' | 'during' | 'after';

export interface FaultSpec {
  id?: string | undefined;
  /** A store id, or `*` for every store; an event with a step and `*` befalls the first store that gets there. */
  store: string;
  node?: string | undefined;
  kind: FaultKind;
  /**
   * The effect it belongs to, by its name in the journal: `guest.migrate`, `ha.maintenance.enable`, `ceph.noout.set`,
   * `apt.update`, `apt.download`, `packages.install`, `node.reboot.request`, `node.up`, `guest.config.write`, …
   */
  step?: string | undefined;
  /** Events with a step only; default `before`. */
  moment?: Moment | undefined;
  /** Traps only: how often it bites; default without limit. */
  times?: number | undefined;
  /** Milliseconds of a real store (divided by the speed); default until it is removed. */
  durationMs?: number | undefined;
  /** `factor` (slow-recovery), `vmid` (guest-unhealthy, bad-cache), `osd` (osd-down), `seconds` (clock-skew), `host` (foreign-noout), `silent` (wan-cut). */
  params?: Record<string, string | number | boolean> | undefined;
}

export interface Fault extends FaultSpec {
  id: string;
  state: 'armed' | 'active' | 'over';
  bites: number;
}

export interface Place {
  store: string;
  node?: string | undefined;
  step?: string | undefined;
}

type Handler = (fault: Fault, store: string, node: string | undefined) => void;

const isEvent = (kind: FaultKind): boolean => (EVENT_KINDS as readonly string[]).includes(kind);

export class Faults {
  readonly #faults = new Map<string, Fault>();
  /** Armed or active faults by store, so that an idle fleet asks nothing. */
  readonly #byStore = new Map<string, Fault[]>();
  readonly #begun = new Map<Fault, { store: string; node: string | undefined }[]>();
  readonly #journal: Journal;
  readonly #timers: Timers;
  readonly #timing: Timing;
  #begin: Handler = () => undefined;
  #end: Handler = () => undefined;
  #stores: () => Iterable<string> = () => [];

  constructor(journal: Journal, timers: Timers, timing: Timing) {
    this.#journal = journal;
    this.#timers = timers;
    this.#timing = timing;
    journal.onEntry((entry) => this.reached(entry.store, entry.node, entry.effect, 'after'));
  }

  /** The world says here what events do, and what happens when any fault ends. */
  connect(stores: () => Iterable<string>, begin: Handler, end: Handler): void {
    this.#stores = stores;
    this.#begin = begin;
    this.#end = end;
  }

  add(spec: FaultSpec): Fault {
    const id = spec.id ?? `fault-${randomUUID().slice(0, 8)}`;
    if (this.#faults.has(id)) throw new Error(`Fault ${id} exists already. Remove it first or give another id.`);
    const fault: Fault = { ...spec, id, state: 'armed', bites: 0 };
    this.#faults.set(id, fault);
    this.#byStore.set(fault.store, [...(this.#byStore.get(fault.store) ?? []), fault]);
    if (!isEvent(fault.kind)) this.#activate(fault);
    else if (fault.step === undefined) this.#activate(fault, fault.store, fault.node);
    return fault;
  }

  remove(id: string): boolean {
    const fault = this.#faults.get(id);
    if (!fault) return false;
    this.#finish(fault);
    this.#faults.delete(id);
    return true;
  }

  list(): Fault[] {
    return [...this.#faults.values()];
  }

  /**
   * Asked by a place that could fail. Returns the trap that bites there, counts it and journals `fault.active`.
   * A trap without a node bites on every node of its store, one without a step at every step.
   */
  bite(kind: FaultKind, place: Place): Fault | undefined {
    const fault = this.find(kind, place);
    if (!fault) return undefined;
    fault.bites += 1;
    if (fault.bites === 1 || fault.times !== undefined) this.#record(fault, place.store, place.node, place.step);
    if (fault.times !== undefined && fault.bites >= fault.times) this.#finish(fault);
    return fault;
  }

  /** Like `bite`, without counting: for states that are looked at often. */
  find(kind: FaultKind, place: Place): Fault | undefined {
    if (this.#faults.size === 0) return undefined;
    return this.#of(place.store).find(
      (fault) =>
        fault.kind === kind &&
        fault.state === 'active' &&
        (fault.node === undefined || place.node === undefined || fault.node === place.node) &&
        (fault.step === undefined || fault.step === place.step),
    );
  }

  /** Told by the world at each moment of each effect: begins the events that wait for it. */
  reached(store: string, node: string | undefined, step: string, moment: Moment): void {
    if (this.#faults.size === 0) return;
    for (const fault of this.#of(store)) {
      if (fault.state !== 'armed' || fault.step !== step || (fault.moment ?? 'before') !== moment) continue;
      if (fault.node !== undefined && fault.node !== node) continue;
      this.#activate(fault, store, node);
    }
  }

  #of(store: string): Fault[] {
    const own = this.#byStore.get(store) ?? [];
    const all = this.#byStore.get('*') ?? [];
    return all.length === 0 ? own : [...own, ...all];
  }

  #activate(fault: Fault, store?: string, node?: string): void {
    fault.state = 'active';
    if (isEvent(fault.kind) && store !== undefined) {
      for (const id of store === '*' ? this.#stores() : [store]) {
        fault.bites += 1;
        this.#record(fault, id, node, fault.step);
        this.#begun.set(fault, [...(this.#begun.get(fault) ?? []), { store: id, node }]);
        this.#begin(fault, id, node);
      }
    }
    if (fault.durationMs === undefined) return;
    this.#timers.after(this.#timing.scale(fault.durationMs), () => this.#finish(fault));
  }

  #finish(fault: Fault): void {
    const wasActive = fault.state === 'active';
    fault.state = 'over';
    const rest = (this.#byStore.get(fault.store) ?? []).filter((other) => other !== fault);
    if (rest.length === 0) this.#byStore.delete(fault.store);
    else this.#byStore.set(fault.store, rest);
    if (!wasActive) return;
    const places = isEvent(fault.kind)
      ? (this.#begun.get(fault) ?? [])
      : [...(fault.store === '*' ? this.#stores() : [fault.store])].map((store) => ({ store, node: fault.node }));
    this.#begun.delete(fault);
    for (const { store, node } of places) this.#end(fault, store, node);
  }

  #record(fault: Fault, store: string, node: string | undefined, step: string | undefined): void {
    this.#journal.record({
      store,
      ...(node === undefined ? {} : { node }),
      effect: 'fault.active',
      by: 'lab',
      detail: { id: fault.id, kind: fault.kind, ...(step === undefined ? {} : { step }) },
    });
  }
}
