/**
 * The process that holds the embedded ledger: `pglite-main.js --data DIR --port N`.
 * A process of its own, so that neither a killed worker nor a busy page takes the database with it.
 */
import { mkdirSync } from 'node:fs';
import { parseArgs } from 'node:util';
import { PGlite } from '@electric-sql/pglite';
import { PGLiteSocketServer } from '@electric-sql/pglite-socket';

const HOST = '127.0.0.1';
const MAX_CONNECTIONS = 100;

const { values } = parseArgs({ options: { data: { type: 'string' }, port: { type: 'string' } } });
if (!values.data || !values.port) throw new Error('usage: pglite-main.js --data DIR --port N');

mkdirSync(values.data, { recursive: true });
const db = await PGlite.create(values.data);
endWhenBroken(db);
const server = new PGLiteSocketServer({ db, host: HOST, port: Number(values.port), maxConnections: MAX_CONNECTIONS });
await server.start();
console.log(JSON.stringify({ ready: true, address: server.getServerConn() }));

process.once('SIGTERM', () => {
  void server
    .stop()
    .then(() => db.close())
    .then(() => process.exit(0));
});

/**
 * When the database itself fails (not a statement), the socket server would leave every connection waiting for ever.
 * To end is better: the supervisor starts it again, and what was committed is on disk.
 */
function endWhenBroken(database: PGlite): void {
  const original = database.execProtocolRawStream.bind(database);
  database.execProtocolRawStream = (...args) =>
    original(...args).catch((error: unknown) => {
      console.error(JSON.stringify({ msg: 'the embedded database failed', error: String(error) }));
      process.exit(1);
    });
}
