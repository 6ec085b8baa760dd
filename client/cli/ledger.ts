import type { ResultRow } from '#domain/messages/ledger.js';
import type { StoreOperationKind } from '#domain/naming.js';
import { openLedger } from '#systems/ledger/client.js';
import type { Ledger } from '#systems/ledger/types.js';
import type { Target } from './context.js';
import type { Io } from './io.js';
import { printable } from './text.js';

export function databaseUrlOf(io: Io, target: Pick<Target, 'service'>): string | undefined {
  return target.service?.databaseUrl ?? io.env['EDGE_DATABASE_URL'];
}

/**
 * Reads from the ledger and closes it again. Undefined when there is none, or when it cannot be read, which is said on
 * stderr: the ledger adds to what Temporal knows, so that its absence need not end a command.
 */
export async function fromLedger<T>(
  io: Io,
  target: Pick<Target, 'service'>,
  read: (ledger: Ledger) => Promise<T>,
): Promise<T | undefined> {
  const url = databaseUrlOf(io, target);
  if (url === undefined) return undefined;
  try {
    const ledger = await openLedger(url, { connections: 1 });
    try {
      return await read(ledger);
    } finally {
      await ledger.close();
    }
  } catch (error) {
    io.err(
      `The ledger cannot be read, so earlier operations may be missing here: ${printable((error as Error).message)}`,
    );
    return undefined;
  }
}

/** The history of stores as the operations facade asks for it; opened for each question. */
export function lazyLedger(io: Io, target: Pick<Target, 'service'>) {
  return {
    storeHistory: async (store: string, limit: number, operation?: StoreOperationKind): Promise<ResultRow[]> =>
      (await fromLedger(io, target, (ledger) => ledger.storeHistory(store, limit, operation))) ?? [],
    newestOfEach: async (store: string): Promise<ResultRow[]> =>
      (await fromLedger(io, target, (ledger) => ledger.newestOfEach(store))) ?? [],
  };
}
