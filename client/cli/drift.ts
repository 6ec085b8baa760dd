import { number, plural } from '#domain/counted.js';
import { driftOf, driftWords, type Drift } from '#domain/drift.js';
import type { Target } from './context.js';
import type { Io } from './io.js';
import { fromLedger } from './ledger.js';
import { columns, printable } from './text.js';

/** Stores that are behind a release that was meant for them. Undefined when nobody can tell. */
export const askDrift = (
  io: Io,
  target: Pick<Target, 'service'>,
  of: { fleet: string } | { store: string },
): Promise<Drift[] | undefined> => fromLedger(io, target, async (ledger) => driftOf(await ledger.offers(of)));

const MAX_SHOWN = 20;

export function driftLines(drift: readonly Drift[], suffix: string): string[] {
  if (drift.length === 0) return [];
  const hidden = drift.length - MAX_SHOWN;
  return [
    `Drift: ${plural(drift.length, 'store')} behind the newest release meant for ${drift.length === 1 ? 'it' : 'them'}. The next train takes ${drift.length === 1 ? 'it' : 'them'}.`,
    ...columns(drift.slice(0, MAX_SHOWN).map((one) => [printable(one.store), printable(driftWords(one))])),
    ...(hidden > 0 ? [`  and ${number(hidden)} more: edge train show --json${suffix}`] : []),
  ];
}

export const storeDriftLine = (drift: readonly Drift[]): string[] =>
  drift.map((one) => `Drift: it did not get ${printable(driftWords(one))}. The next train takes it.`);
