import { randomUUID } from 'node:crypto';
import { PGlite } from '@electric-sql/pglite';
import { PGLiteSocketServer } from '@electric-sql/pglite-socket';
import pg from 'pg';

/** An empty database for one test file. */
export interface TestDatabase {
  url: string;
  drop(): Promise<void>;
}

export interface DatabaseKind {
  name: string;
  create(): Promise<TestDatabase>;
}

const pglite: DatabaseKind = {
  name: 'PGlite',
  async create() {
    const db = await PGlite.create();
    const server = new PGLiteSocketServer({ db, port: 0, maxConnections: 100 });
    await server.start();
    return {
      url: `postgresql://postgres@${server.getServerConn()}/postgres`,
      drop: async () => {
        await server.stop();
        await db.close();
      },
    };
  },
};

const postgres = (serverUrl: string): DatabaseKind => ({
  name: 'PostgreSQL',
  async create() {
    const name = `edge_test_${randomUUID().replaceAll('-', '')}`;
    await execute(serverUrl, `CREATE DATABASE ${name}`);
    const url = new URL(serverUrl);
    url.pathname = `/${name}`;
    return {
      url: url.href,
      drop: async () => {
        await execute(serverUrl, `DROP DATABASE ${name} WITH (FORCE)`);
      },
    };
  },
});

/** PGlite always; the PostgreSQL server of DATABASE_URL_TEST (its user may create databases) when it is set. */
export const databaseKinds: DatabaseKind[] = process.env.DATABASE_URL_TEST
  ? [pglite, postgres(process.env.DATABASE_URL_TEST)]
  : [pglite];

export async function execute(url: string, sql: string): Promise<Record<string, unknown>[]> {
  const client = new pg.Client({ connectionString: url });
  await client.connect();
  try {
    const { rows } = await client.query<Record<string, unknown>>(sql);
    return rows;
  } finally {
    await client.end();
  }
}
