import type { ResultRow } from '#domain/messages/ledger.js';
import { openLedger } from '#systems/ledger/client.js';
import type { Ledger, LedgerReader } from '#systems/ledger/types.js';
import { stateDir, type Target } from './context.js';
import { CliFailure } from './failure.js';
import type { Io } from './io.js';
import { readServiceFile } from './service-file.js';
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
    storeHistory: async (store: string, limit: number): Promise<ResultRow[]> =>
      (await fromLedger(io, target, (ledger) => ledger.storeHistory(store, limit))) ?? [],
  };
}

/** How a question gets to the ledger; tests give their own. */
export type AskLedger = typeof fromLedger;

/** For commands that have no answer without the ledger. `about`: what nothing is known of then. */
export async function askLedger<T>(
  ask: AskLedger,
  io: Io,
  options: { dir?: string },
  about: string,
  question: (ledger: LedgerReader) => Promise<T>,
): Promise<T> {
  const target = { service: readServiceFile(stateDir(io, options)) };
  if (databaseUrlOf(io, target) === undefined)
    throw new CliFailure(
      `What is known of ${about} is in the ledger. Start \`edge up\` here, or name the ledger with EDGE_DATABASE_URL.`,
    );
  const found = await ask(io, target, question);
  if (found === undefined) throw new CliFailure(`The ledger did not answer, so nothing is known of ${about}.`);
  return found;
}
