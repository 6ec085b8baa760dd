/**
 * The process that holds the embedded ledger: `pglite-main.js --data DIR --port N [--template DIR]`.
 * A process of its own, so that neither a killed worker nor a busy page takes the database with it.
 */
import { cp, mkdir, mkdtemp, rename, rm } from 'node:fs/promises';
import { existsSync, readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { PGlite } from '@electric-sql/pglite';
import { PGLiteSocketServer } from '@electric-sql/pglite-socket';

const HOST = '127.0.0.1';
const MAX_CONNECTIONS = 100;

const { values } = parseArgs({
  options: { data: { type: 'string' }, port: { type: 'string' }, template: { type: 'string' } },
});
if (!values.data || !values.port) throw new Error('usage: pglite-main.js --data DIR --port N [--template DIR]');

if (!existsSync(values.data)) await createData(values.data, values.template);
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

/** Appears whole or not at all: a database that was cut short while it was created does not open. */
async function createData(data: string, templates: string | undefined): Promise<void> {
  if (templates === undefined) return createEmpty(data);
  const template = join(templates, pgliteVersion());
  if (!existsSync(template)) await createEmpty(template);
  await mkdir(dirname(data), { recursive: true });
  const draft = await mkdtemp(`${data}-`);
  await cp(template, draft, { recursive: true });
  await rename(draft, data);
}

async function createEmpty(target: string): Promise<void> {
  await mkdir(dirname(target), { recursive: true });
  const draft = await mkdtemp(`${target}-`);
  const fresh = await PGlite.create(draft);
  await fresh.close();
  // Another process may have made it meanwhile; one is as good as the other.
  await rename(draft, target).catch(async (error: unknown) => {
    if (!existsSync(target)) throw error;
    await rm(draft, { recursive: true, force: true });
  });
}

/** A data folder belongs to the version that made it. */
function pgliteVersion(): string {
  const entry = fileURLToPath(import.meta.resolve('@electric-sql/pglite'));
  const { version } = JSON.parse(readFileSync(join(dirname(entry), '..', 'package.json'), 'utf8')) as {
    version: string;
  };
  return version;
}

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
