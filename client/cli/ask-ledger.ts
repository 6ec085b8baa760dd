import type { LedgerReader } from '#systems/ledger/types.js';
import { stateDir } from './context.js';
import { CliFailure } from './failure.js';
import type { Io } from './io.js';
import { databaseUrlOf, type fromLedger } from './ledger.js';
import { readServiceFile } from './service-file.js';

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
