import { appendFileSync, closeSync, existsSync, mkdirSync, openSync, readFileSync } from 'node:fs';
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

  /** `resume` goes on with the entries of the file; else the story begins anew, as the state of the stores does. */
  constructor(stateDir: string, resume = false) {
    mkdirSync(stateDir, { recursive: true });
    this.file = join(stateDir, 'journal.jsonl');
    if (resume) for (const entry of readEntries(this.file)) this.entries.push(entry);
    this.#fd = openSync(this.file, resume ? 'a' : 'w', 0o600);
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

function readEntries(file: string): JournalEntry[] {
  if (!existsSync(file)) return [];
  const lines = readFileSync(file, 'utf8').split('\n').filter(Boolean);
  return lines.map((line) => JSON.parse(line) as JournalEntry);
}
