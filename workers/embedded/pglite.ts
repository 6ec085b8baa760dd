/** The embedded ledger: PostgreSQL as WebAssembly (PGlite) on a folder, served to several processes on 127.0.0.1. */
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { type ChildEvent, ManagedChild } from './managed-child.js';
import { rememberPorts } from './ports.js';

/** The first start creates the cluster: up to 15 s alone on a slow machine, more beside other work. */
const READY_TIMEOUT_MS = 120_000;

export interface PgliteOptions {
  /** Holds the data, the log and the remembered port. */
  dir: string;
  port?: number;
  /** The built `pglite-main.js`. */
  main: string;
  env: NodeJS.ProcessEnv;
  /** Folder for an empty database to copy, since to create one takes seconds; filled on first use. */
  template?: string;
  keep?: boolean;
  onEvent?: (event: ChildEvent) => void;
}

export interface PgliteServer {
  /** For `openLedger`; there is no password, the port is open on this machine only. */
  databaseUrl: string;
  process: ManagedChild;
  stop(): Promise<void>;
}

/** Resolves when it takes connections. */
export async function startPglite(options: PgliteOptions): Promise<PgliteServer> {
  const { dir, main, env } = options;
  mkdirSync(dir, { recursive: true });
  const fixed = options.port === undefined ? {} : { ledger: options.port };
  const { ledger: port } = await rememberPorts(dir, ['ledger'], fixed);
  const child = new ManagedChild({
    name: 'ledger',
    command: process.execPath,
    args: [
      ...[main, '--data', join(dir, 'ledger'), '--port', String(port)],
      ...(options.template === undefined ? [] : ['--template', options.template]),
    ],
    env,
    cwd: dir,
    dir,
    readyTimeoutMs: READY_TIMEOUT_MS,
    keep: options.keep ?? false,
    onEvent: options.onEvent ?? (() => undefined),
  });
  await child.start();
  return {
    databaseUrl: `postgresql://postgres@127.0.0.1:${port}/postgres`,
    process: child,
    stop: () => child.stop(),
  };
}
