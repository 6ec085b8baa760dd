interface Pending {
  handle: NodeJS.Timeout;
  interrupted: (() => void) | undefined;
}

/** Timers that end together: those of a node die with its power, those of the world at its close. */
export class Timers {
  readonly #pending = new Set<Pending>();
  readonly #changed: () => void;

  /** `changed` is called whenever something begins or ends. */
  constructor(changed: () => void = () => undefined) {
    this.#changed = changed;
  }

  /** Runs `run` after `ms`. `interrupted` is called instead when the timers are cleared before. Returns a cancel that calls neither. */
  after(ms: number, run: () => void, interrupted?: () => void): () => void {
    const entry: Pending = {
      interrupted,
      handle: setTimeout(() => {
        this.#pending.delete(entry);
        this.#changed();
        run();
      }, ms),
    };
    this.#pending.add(entry);
    this.#changed();
    return () => {
      clearTimeout(entry.handle);
      this.#pending.delete(entry);
    };
  }

  /** Drops all timers without telling anybody. */
  drop(): void {
    for (const entry of this.#pending) clearTimeout(entry.handle);
    this.#pending.clear();
  }

  /** Ends all timers now and tells those who asked. */
  interrupt(): void {
    const ended = [...this.#pending];
    this.drop();
    for (const entry of ended) entry.interrupted?.();
  }

  /** How many still run. */
  get size(): number {
    return this.#pending.size;
  }
}
