import { createHash } from 'node:crypto';
import { readFile, readdir } from 'node:fs/promises';
import { join } from 'node:path';
import type pg from 'pg';
import { LedgerError } from './errors.js';
import { inTransaction } from './transaction.js';

const FOLDER = join(import.meta.dirname, 'migrations');
/** Any number, the same in every version: whoever holds it migrates. */
const ADVISORY_LOCK = 7_203_114_508;

/** Applies what is missing, once, however many processes start at the same time. All or nothing. */
export async function migrate(pool: pg.Pool, folder = FOLDER): Promise<void> {
  const files = (await readdir(folder)).filter((name) => /^\d{4}-[a-z0-9-]+\.sql$/.test(name)).sort();
  const scripts = await Promise.all(
    files.map(async (name) => ({ name, sql: await readFile(join(folder, name), 'utf8') })),
  );
  await inTransaction(pool, 'migrate', async (client) => {
    await client.query('SELECT pg_advisory_xact_lock($1)', [ADVISORY_LOCK]);
    await client.query(
      'CREATE TABLE IF NOT EXISTS ledger_migrations (name text PRIMARY KEY, sha256 text NOT NULL, applied_at timestamptz NOT NULL DEFAULT now())',
    );
    const { rows } = await client.query<{ name: string; sha256: string }>('SELECT name, sha256 FROM ledger_migrations');
    const applied = new Map(rows.map(({ name, sha256 }) => [name, sha256]));
    for (const { name, sql } of scripts) {
      const sha256 = createHash('sha256').update(sql).digest('hex');
      const before = applied.get(name);
      if (before === sha256) continue;
      if (before !== undefined) {
        throw new LedgerError(
          `systems/ledger/migrations/${name} was changed after this database applied it. Put it back and add a new file.`,
          { retryable: false },
        );
      }
      await client.query(sql);
      await client.query('INSERT INTO ledger_migrations (name, sha256) VALUES ($1, $2)', [name, sha256]);
    }
  });
}
