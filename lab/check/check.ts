import type { StoreSnapshot } from '../control/snapshot.js';
import type { JournalEntry } from '../world/journal.js';
import type { Evidence } from './evidence.js';
import { RULES } from './rules.js';

interface Violation {
  store: string;
  summary: string;
  /** Number of the journal entry, when one entry is at fault. */
  seq?: number;
}

export interface CheckReport {
  rules: { id: string; title: string; violations: Violation[] }[];
  /** Effects that the journal holds, faults apart. */
  effects: number;
}

/** What a rule knows of one site. */
export interface StoreCase {
  id: string;
  kind: 'store' | 'staging';
  entries: readonly JournalEntry[];
  atStart: StoreSnapshot;
  now: StoreSnapshot;
  evidence: Evidence;
}

export interface Found {
  summary: string;
  entry?: JournalEntry;
}

export interface Rule {
  id: string;
  title: string;
  /** Also about the staging site, which is no store. */
  everywhere?: true;
  check(store: StoreCase): Found[];
}

/**
 * Proves the safety rules from the journal, store by store. Meant for the end of a run: in the middle of one, marks that
 * are rightly set count as left behind.
 */
export function checkJournal(
  entries: readonly JournalEntry[],
  facts: {
    atStart: StoreSnapshot[];
    now: StoreSnapshot[];
    staging?: StoreSnapshot | undefined;
    evidence: Evidence;
  },
): CheckReport {
  const byStore = new Map<string, JournalEntry[]>();
  for (const entry of entries) {
    const own = byStore.get(entry.store);
    if (own) own.push(entry);
    else byStore.set(entry.store, [entry]);
  }
  const starts = new Map(facts.atStart.map((snapshot) => [snapshot.id, snapshot]));
  const caseOf = (now: StoreSnapshot, kind: StoreCase['kind']): StoreCase => ({
    id: now.id,
    kind,
    entries: byStore.get(now.id) ?? [],
    atStart: starts.get(now.id) ?? now,
    now,
    evidence: facts.evidence,
  });
  const stores = facts.now.map((now) => caseOf(now, 'store'));
  const all = facts.staging ? [...stores, caseOf(facts.staging, 'staging')] : stores;
  return {
    rules: RULES.map(({ id, title, everywhere, check }) => ({
      id,
      title,
      violations: (everywhere ? all : stores).flatMap((store) =>
        check(store).map(({ summary, entry }) => ({
          store: store.id,
          summary,
          ...(entry === undefined ? {} : { seq: entry.seq }),
        })),
      ),
    })),
    effects: entries.filter(({ effect }) => !effect.startsWith('fault.')).length,
  };
}
