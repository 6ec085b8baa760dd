import type pg from 'pg';
import { toLedgerError } from './errors.js';

/**
 * Runs `work` in one transaction, a single statement too. The embedded database serves all its connections from one
 * session, and only a transaction keeps the messages of another connection from coming in between those of this one.
 * `doing` says what failed.
 */
export async function inTransaction<T>(
  pool: pg.Pool,
  doing: string,
  work: (client: pg.PoolClient) => Promise<T>,
  mode: 'read only' | 'read write' = 'read write',
): Promise<T> {
  const client = await pool.connect().catch((error: unknown) => {
    throw toLedgerError(doing, error);
  });
  try {
    await client.query(`BEGIN ${mode}`);
    const result = await work(client);
    await client.query('COMMIT');
    client.release();
    return result;
  } catch (error) {
    // Closing the connection rolls back; a ROLLBACK over a broken one would only fail again, or hang.
    client.release(true);
    throw toLedgerError(doing, error);
  }
}
