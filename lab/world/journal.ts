import { appendFileSync, closeSync, existsSync, mkdirSync, openSync, readFileSync, truncateSync } from 'node:fs';
import { join } from 'node:path';

/** One real effect in the practice fleet. Written by the lab alone, never by what is being tested. */
export interface JournalEntry {
  seq: number;
  /** ISO instant. */
  at: string;
  store: string;
  node?: string;
  guest?: number;
  effect: string;
  /** Token id or SSH user that caused it; `lab`, `ha-manager`, `node` for what the store does by itself. */
  by: string;
  before?: unknown;
  after?: unknown;
  detail?: Record<string, unknown>;
}

export type JournalDraft = Omit<JournalEntry, 'seq' | 'at'>;

const FLUSH_AFTER_MS = 50;

/**
 * The journal of a lab: in memory, and as one JSON line per effect in `<stateDir>/journal.jsonl`.
 * Lines are gathered for some 50 ms before they are written; `close` writes the rest.
 */
export class Journal {
  readonly file: string;
  readonly entries: JournalEntry[] = [];
  readonly #listeners = new Set<(entry: JournalEntry) => void>();
  readonly #fd: number;
  #lines: string[] = [];
  #timer: NodeJS.Timeout | undefined;
  #closed = false;

  /**
   * With `newest` it goes on with the entries of the file, and with those that a killed lab could not write any more;
   * else the story begins anew, as the state of the stores does.
   */
  constructor(stateDir: string, newest?: readonly JournalEntry[]) {
    mkdirSync(stateDir, { recursive: true });
    this.file = join(stateDir, 'journal.jsonl');
    if (newest) {
      for (const line of wholeLines(this.file)) this.entries.push(JSON.parse(line) as JournalEntry);
      const known = this.entries.length;
      for (const entry of newest) if (entry.seq === this.entries.length + 1) this.entries.push(entry);
      this.#lines = this.entries.slice(known).map((entry) => JSON.stringify(entry));
    }
    this.#fd = openSync(this.file, newest ? 'a' : 'w', 0o600);
    this.flush();
  }

  record(draft: JournalDraft): JournalEntry {
    const entry: JournalEntry = { seq: this.entries.length + 1, at: new Date().toISOString(), ...draft };
    this.entries.push(entry);
    if (!this.#closed) {
      this.#lines.push(JSON.stringify(entry));
      this.#timer ??= setTimeout(() => this.flush(), FLUSH_AFTER_MS).unref();
    }
    for (const listener of this.#listeners) listener(entry);
    return entry;
  }

  after(seq: number): JournalEntry[] {
    return this.entries.slice(Math.max(0, seq));
  }

  onEntry(listener: (entry: JournalEntry) => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  flush(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    if (this.#lines.length === 0 || this.#closed) return;
    appendFileSync(this.#fd, `${this.#lines.join('\n')}\n`);
    this.#lines = [];
  }

  close(): void {
    if (this.#closed) return;
    this.flush();
    this.#closed = true;
    closeSync(this.#fd);
    this.#listeners.clear();
  }
}

/** The lines of a file. One that was cut off by the end of its writer is taken away, so that the next one does not continue it. */
export function wholeLines(file: string): string[] {
  if (!existsSync(file)) return [];
  const text = readFileSync(file);
  const end = text.lastIndexOf(0x0a) + 1;
  if (end < text.length) truncateSync(file, end);
  return text.subarray(0, end).toString('utf8').split('\n').filter(Boolean);
}
