/**
 * Temporal's development server on a file: for daily use on one machine, for the demo and for tests.
 * It survives `kill -9` with everything in it; a power cut can cost the last commits (synchronous=1).
 */
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { Connection } from '@temporalio/client';
import { msToTs } from '@temporalio/common/lib/time.js';
import { type ChildEvent, ManagedChild } from './managed-child.js';
import { refuseTakenPorts, rememberPorts } from './ports.js';
import type { TemporalCli } from './temporal-cli.js';

const HOST = '127.0.0.1';
/** A store's operations stay one list in the Temporal UI for this long; the ledger keeps the rest. */
const RETENTION_MS = 30 * 24 * 3_600_000;
/** IndexedValueType of the Temporal API. */
const KEYWORD = 2;

/**
 * The server's own limits are those of one tenant on a shared cluster: 1,200 pollers are fewer than 500 stores bring
 * with two kinds of tasks. One partition, because a task queue here has one poller, which would otherwise
 * find its task only after asking three empty partitions.
 */
const DYNAMIC_CONFIG: Record<string, number | boolean> = {
  'frontend.namespaceCount': 20_000,
  'frontend.namespaceRPS': 20_000,
  'frontend.rps': 20_000,
  'frontend.namespaceRPS.visibility': 1_000,
  'frontend.persistenceMaxQPS': 20_000,
  'history.rps': 30_000,
  'history.persistenceMaxQPS': 50_000,
  'matching.rps': 20_000,
  'matching.persistenceMaxQPS': 20_000,
  'matching.numTaskqueueReadPartitions': 1,
  'matching.numTaskqueueWritePartitions': 1,
  'worker.schedulerNamespaceStartWorkflowRPS': 300,
};

const PORT_NAMES = ['temporal', 'temporalUi', 'temporalHttp', 'temporalMetrics'] as const;
type TemporalPorts = Partial<Record<(typeof PORT_NAMES)[number], number>>;

export interface TemporalOptions {
  cli: TemporalCli;
  env: NodeJS.ProcessEnv;
  /** Holds the server's file, its log and its remembered ports. */
  dir: string;
  ports?: TemporalPorts;
  namespace: string;
  /** Names of the search attributes, all of type Keyword. */
  searchAttributes: readonly string[];
  /** No web page; saves memory in tests. */
  headless?: boolean;
  /** Start it again when it ends unasked. */
  keep?: boolean;
  onEvent?: (event: ChildEvent) => void;
}

export interface TemporalServer {
  /** `host:port` of the gRPC service. */
  address: string;
  namespace: string;
  /** Undefined when headless. */
  uiUrl: string | undefined;
  process: ManagedChild;
  /** Starts it again, on the same addresses and file, after it was killed or stopped. */
  restart(): Promise<void>;
  stop(): Promise<void>;
}

/** Resolves when it answers and namespace, retention and search attributes are as wanted. */
export async function startTemporal(options: TemporalOptions): Promise<TemporalServer> {
  const { cli, dir, namespace, searchAttributes, headless = false } = options;
  mkdirSync(dir, { recursive: true });
  const ports = await rememberPorts(dir, PORT_NAMES, options.ports);
  const address = `${HOST}:${ports.temporal}`;
  const child = new ManagedChild({
    name: 'temporal',
    command: cli.path,
    args: argsOf({ file: join(dir, 'temporal.db'), ports, namespace, searchAttributes, headless }),
    env: serverEnvironment(options.env),
    cwd: dir,
    dir,
    isReady: () => answers(address, namespace),
    keep: options.keep ?? false,
    onEvent: options.onEvent ?? (() => undefined),
  });
  child.endLeftover();
  await refuseTakenPorts(dir, headless ? { temporal: ports.temporal } : ports);
  await child.start();
  try {
    const added = await prepareNamespace(address, namespace, searchAttributes);
    // A running server caches the list for up to a minute, in which it refuses the new names.
    if (added) await restart(child);
  } catch (error) {
    await child.stop();
    throw error;
  }
  return {
    address,
    namespace,
    uiUrl: headless ? undefined : `http://${HOST}:${ports.temporalUi}`,
    process: child,
    restart: () => restart(child),
    stop: () => child.stop(),
  };
}

async function restart(child: ManagedChild): Promise<void> {
  await child.stop();
  await child.start();
}

interface ServerArgs {
  file: string;
  ports: Required<TemporalPorts>;
  namespace: string;
  searchAttributes: readonly string[];
  headless: boolean;
}

function argsOf({ file, ports, namespace, searchAttributes, headless }: ServerArgs): string[] {
  return [
    ...['server', 'start-dev', '--ip', HOST, '--port', `${ports.temporal}`, '--http-port', `${ports.temporalHttp}`],
    // The metrics cannot be turned off; a port of our own at least does not collide.
    ...['--metrics-port', `${ports.temporalMetrics}`],
    ...(headless ? ['--headless'] : ['--ui-port', `${ports.temporalUi}`]),
    ...['--db-filename', file, '--sqlite-pragma', 'journal_mode=WAL', '--sqlite-pragma', 'synchronous=1'],
    ...['--namespace', namespace, '--log-level', 'warn', '--log-format', 'json'],
    ...searchAttributes.flatMap((name) => ['--search-attribute', `${name}=Keyword`]),
    ...Object.entries(DYNAMIC_CONFIG).flatMap(([key, value]) => ['--dynamic-config-value', `${key}=${value}`]),
  ];
}

/** Without the user's TEMPORAL_* variables, which would point the CLI at another server. */
function serverEnvironment(env: NodeJS.ProcessEnv): NodeJS.ProcessEnv {
  const { PATH, HOME, TMPDIR } = env;
  return { PATH, HOME, TMPDIR };
}

async function answers(address: string, namespace: string): Promise<boolean> {
  const connection = Connection.lazy({ address, connectTimeout: '2s' });
  try {
    await connection.withDeadline(Date.now() + 2_000, () =>
      connection.workflowService.describeNamespace({ namespace }),
    );
    return true;
  } catch {
    return false;
  } finally {
    await connection.close();
  }
}

/**
 * The command line's `--namespace` and `--search-attribute` count only when the file is made, and its retention is a day.
 * True when search attributes had to be added to an existing file.
 */
async function prepareNamespace(address: string, namespace: string, names: readonly string[]): Promise<boolean> {
  const connection = await Connection.connect({ address, connectTimeout: '10s' });
  try {
    await connection.workflowService.updateNamespace({
      namespace,
      config: { workflowExecutionRetentionTtl: msToTs(RETENTION_MS) },
    });
    const { customAttributes } = await connection.operatorService.listSearchAttributes({ namespace });
    const present = customAttributes ?? {};
    const wrong = names.filter((name) => name in present && present[name] !== KEYWORD);
    if (wrong.length > 0) {
      throw new Error(
        `Search attributes ${wrong.join(', ')} of namespace ${namespace} are not of type Keyword. ` +
          'Remove them with `temporal operator search-attribute remove`, or start on a new folder.',
      );
    }
    const missing = names.filter((name) => !(name in present));
    if (missing.length === 0) return false;
    await connection.operatorService.addSearchAttributes({
      namespace,
      searchAttributes: Object.fromEntries(missing.map((name) => [name, KEYWORD])),
    });
    return true;
  } finally {
    await connection.close();
  }
}
