import { randomUUID } from 'node:crypto';
import { kindOf, momentsAt, type FaultKind, type Moment, type Step } from './fault-table.js';
import type { Journal } from './journal.js';
import type { Timers } from './timers.js';
import type { Timing } from './timing.js';

export interface FaultSpec {
  id?: string | undefined;
  /** A store id, or `*` for every store; an event with a step and `*` befalls the first store that gets there. */
  store: string;
  node?: string | undefined;
  kind: FaultKind;
  /** One of those that `FAULT_TABLE` gives for the kind. Without it an event begins at once, a trap bites wherever it can. */
  step?: Step | undefined;
  /** Default: the first of the kind at that step. */
  moment?: Moment | undefined;
  /** How often it strikes. Default: a trap without limit, an event once. */
  times?: number | undefined;
  /** Milliseconds of a real store (divided by the speed); default until it is removed. */
  durationMs?: number | undefined;
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
  step: Step;
  moment: Moment;
}

/** Where an event took hold, and had to be undone again. */
export interface Begun {
  store: string;
  node: string | undefined;
}

/** What a restart of the lab needs to go on with a fault. */
export interface SavedFault {
  fault: Fault;
  begun: Begun[];
  /** Milliseconds since the epoch. */
  endsAt: number | undefined;
}

type Handler = (fault: Fault, store: string, node: string | undefined) => void;

const isEvent = (kind: FaultKind): boolean => kindOf(kind).sort === 'event';

const momentOf = ({ kind, step, moment }: FaultSpec, at: Step): Moment | undefined =>
  moment ?? (isEvent(kind) ? 'before' : momentsAt(kind, step ?? at)[0]);

/** All faults of a lab. Each strike stands in the journal as `fault.active`, each end as `fault.over`. */
export class Faults {
  /** Rises with every change of the list. */
  changes = 0;
  readonly #faults = new Map<string, Fault>();
  /** Armed or active faults by store, so that an idle fleet asks nothing. */
  readonly #byStore = new Map<string, Fault[]>();
  readonly #begun = new Map<Fault, Begun[]>();
  readonly #endsAt = new Map<Fault, number>();
  /** Where a trap without limit was journaled already: once a place is enough. */
  readonly #told = new Map<Fault, Set<string>>();
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
    journal.onEntry(({ store, node, effect, seq }) => this.#reached(store, node, effect, 'after', seq));
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
    const fault: Fault = { ...spec, step: spec.step ?? kindOf(spec.kind).usual, id, state: 'armed', bites: 0 };
    this.#put(fault);
    if (!isEvent(fault.kind)) {
      fault.state = 'active';
      this.#limit(fault);
    } else if (fault.step === undefined) {
      fault.state = 'active';
      for (const store of fault.store === '*' ? this.#stores() : [fault.store]) this.#strike(fault, store, fault.node);
      this.#limit(fault);
    }
    return fault;
  }

  remove(id: string): boolean {
    const fault = this.#faults.get(id);
    if (!fault) return false;
    this.#finish(fault);
    this.#faults.delete(id);
    this.changes += 1;
    return true;
  }

  list(): Fault[] {
    return [...this.#faults.values()];
  }

  /**
   * Asked by a place that could fail. Returns the trap that bites there, counts it and journals `fault.active`.
   * A trap without a node bites on every node of its store, one without a step at every step of its kind.
   */
  bite(kind: FaultKind, place: Place): Fault | undefined {
    if (this.#faults.size === 0) return undefined;
    const fault = this.#of(place.store).find(
      (each) =>
        each.kind === kind &&
        each.state === 'active' &&
        (each.node === undefined || place.node === undefined || each.node === place.node) &&
        (each.step === undefined || each.step === place.step) &&
        momentOf(each, place.step) === place.moment,
    );
    if (!fault) return undefined;
    fault.bites += 1;
    this.changes += 1;
    if (fault.times !== undefined || this.#isNews(fault, place)) this.#record(fault, place);
    if (fault.times !== undefined && fault.bites >= fault.times) this.#finish(fault);
    return fault;
  }

  /** Told by the world at each moment of each effect: begins the events that wait for it. The moment after is told by the journal. */
  reached(store: string, node: string | undefined, step: Step, moment: 'before' | 'during'): void {
    this.#reached(store, node, step, moment, undefined);
  }

  /** The event of that kind that befalls the store at this moment. */
  on(kind: FaultKind, store: string): Fault | undefined {
    const begunHere = (fault: Fault): boolean => (this.#begun.get(fault) ?? []).some((place) => place.store === store);
    return this.#of(store).find((fault) => fault.kind === kind && fault.state === 'active' && begunHere(fault));
  }

  /** What is kept over a restart of the lab. */
  dump(): SavedFault[] {
    return this.list().map((fault) => ({
      fault,
      begun: this.#begun.get(fault) ?? [],
      endsAt: this.#endsAt.get(fault),
    }));
  }

  /** Goes on with what was kept. What active events did to the stores was kept with the stores. */
  load(saved: readonly SavedFault[]): void {
    for (const { fault, begun, endsAt } of saved) {
      this.#faults.set(fault.id, fault);
      if (fault.state === 'over') continue;
      this.#put(fault);
      if (begun.length > 0) this.#begun.set(fault, begun);
      if (endsAt !== undefined) this.#endAt(fault, endsAt);
    }
  }

  #reached(store: string, node: string | undefined, step: string, moment: Moment, seq: number | undefined): void {
    if (this.#faults.size === 0) return;
    for (const fault of this.#of(store)) {
      if (fault.state !== 'armed' || fault.step !== step || momentOf(fault, fault.step) !== moment) continue;
      if (fault.node !== undefined && fault.node !== node) continue;
      fault.state = 'active';
      this.#strike(fault, store, node, { step: fault.step, moment, seq });
      this.#limit(fault);
    }
  }

  #put(fault: Fault): void {
    this.changes += 1;
    this.#faults.set(fault.id, fault);
    this.#byStore.set(fault.store, [...(this.#byStore.get(fault.store) ?? []), fault]);
  }

  #of(store: string): Fault[] {
    const own = this.#byStore.get(store) ?? [];
    const all = this.#byStore.get('*') ?? [];
    return all.length === 0 ? own : [...own, ...all];
  }

  #strike(
    fault: Fault,
    store: string,
    node: string | undefined,
    at?: { step: Step; moment: Moment; seq: number | undefined },
  ): void {
    fault.bites += 1;
    this.changes += 1;
    this.#record(fault, { store, node, ...at });
    this.#begun.set(fault, [...(this.#begun.get(fault) ?? []), { store, node }]);
    this.#begin(fault, store, node);
  }

  #limit(fault: Fault): void {
    if (fault.durationMs !== undefined) this.#endAt(fault, Date.now() + this.#timing.scale(fault.durationMs));
  }

  #endAt(fault: Fault, endsAt: number): void {
    this.changes += 1;
    this.#endsAt.set(fault, endsAt);
    this.#timers.after(Math.max(0, endsAt - Date.now()), () => {
      const again = isEvent(fault.kind) && fault.step !== undefined && fault.bites < (fault.times ?? 1);
      if (fault.state !== 'active') return;
      if (again) this.#undo(fault, 'armed');
      else this.#finish(fault);
    });
  }

  #finish(fault: Fault): void {
    const wasActive = fault.state === 'active';
    fault.state = 'over';
    this.changes += 1;
    const rest = (this.#byStore.get(fault.store) ?? []).filter((other) => other !== fault);
    if (rest.length === 0) this.#byStore.delete(fault.store);
    else this.#byStore.set(fault.store, rest);
    if (wasActive) this.#undo(fault, 'over');
  }

  #undo(fault: Fault, state: 'armed' | 'over'): void {
    fault.state = state;
    this.changes += 1;
    const places = isEvent(fault.kind)
      ? (this.#begun.get(fault) ?? [])
      : [...(fault.store === '*' ? this.#stores() : [fault.store])].map((store) => ({ store, node: fault.node }));
    this.#begun.delete(fault);
    this.#endsAt.delete(fault);
    for (const { store, node } of places) {
      if (isEvent(fault.kind)) this.#journalEnd(fault, store, node);
      this.#end(fault, store, node);
    }
  }

  #isNews(fault: Fault, { store, node, step, moment }: Place): boolean {
    const told = this.#told.get(fault) ?? new Set<string>();
    this.#told.set(fault, told);
    const place = [store, node, step, moment].join(' ');
    if (told.has(place)) return false;
    told.add(place);
    return true;
  }

  /** `step` and `moment` say where it struck; `hit` is the number of the effect that it came after. */
  #record(
    fault: Fault,
    { store, node, step, moment, seq }: Partial<Place> & { store: string; seq?: number | undefined },
  ): void {
    const hit = moment === 'after' ? (seq ?? this.#lastOf(store, node, step)) : undefined;
    this.#journal.record({
      store,
      ...(node === undefined ? {} : { node }),
      effect: 'fault.active',
      by: 'lab',
      detail: {
        id: fault.id,
        kind: fault.kind,
        ...(step === undefined ? {} : { step, moment }),
        ...(hit === undefined ? {} : { hit }),
      },
    });
  }

  #journalEnd(fault: Fault, store: string, node: string | undefined): void {
    this.#journal.record({
      store,
      ...(node === undefined ? {} : { node }),
      effect: 'fault.over',
      by: 'lab',
      detail: { id: fault.id, kind: fault.kind },
    });
  }

  #lastOf(store: string, node: string | undefined, step: string | undefined): number | undefined {
    const { entries } = this.#journal;
    for (let i = entries.length - 1; i >= Math.max(0, entries.length - 200); i -= 1) {
      const entry = entries[i];
      if (entry?.store === store && entry.effect === step && (node === undefined || entry.node === node)) {
        return entry.seq;
      }
    }
    return undefined;
  }
}
