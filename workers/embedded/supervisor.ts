/**
 * The embedded service: everything that a fleet needs, on one machine and under one process.
 * Temporal, ledger, lab and workers are processes of their own, kept alive by this one and ending with it;
 * all that they must remember is in `dir`, so that the next start goes on where the last one was, however it ended.
 */
import { existsSync, mkdirSync, readdirSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { pathToFileURL } from 'node:url';
import { SEARCH_ATTRIBUTES } from '#domain/naming.js';
import { startRegistry } from '../registry.js';
import { cacheFolder } from './cache-folder.js';
import { baseEnvironment, centralEnvironment } from './child-environment.js';
import { lockFolder } from '../folder-lock.js';
import { type ChildEvent, ManagedChild, endLeftovers } from './managed-child.js';
import { startPglite } from './pglite.js';
import { refuseTakenPorts, rememberPorts } from './ports.js';
import { ensureReleaseKey } from './release-key.js';
import { findTemporalCli } from './temporal-cli.js';
import { startTemporal } from './temporal.js';

const HOST = '127.0.0.1';
const NAMESPACE = 'default';
/** Store workers of a practice fleet share processes: few enough for memory, enough to use more than one core. */
const STORES_PER_PROCESS = 30;
const MAX_STORE_PROCESSES = 4;
const PORT_NAMES = [
  'temporal',
  'temporalUi',
  'temporalHttp',
  'temporalMetrics',
  'ledger',
  'registry',
  'labControl',
] as const;

type ServicePorts = Partial<Record<(typeof PORT_NAMES)[number], number>>;

interface LabOptions {
  /** How many times faster than real the practice fleet lives. */
  speed: number;
  /** Stores whose worker is a process of its own, named `store:<id>`, so that it can be killed alone. */
  ownProcess?: readonly string[];
}

export interface ServiceOptions {
  /** State, logs and addresses. */
  dir: string;
  /** The GitOps repo. */
  repo: string;
  branch?: string;
  /** The fleet's name, for those who look for this service. */
  fleet?: string;
  /** A practice fleet of the repo's stores, with their store workers. */
  lab?: LabOptions;
  /** Folder of the build whose programs are run; default: the one that this file is part of. */
  build?: string;
  ports?: ServicePorts;
  /** The environment to take settings from; `process.env` of the caller. */
  env: NodeJS.ProcessEnv;
  log: (line: string) => void;
  onEvent?: (event: ChildEvent) => void;
  /** Gives up a start that waits for a Temporal CLI to be downloaded or built, which takes minutes. */
  signal?: AbortSignal;
}

export interface Service {
  pid: number;
  temporal: { address: string; ui: string; namespace: string; server: string; origin: string };
  databaseUrl: string;
  registry: string;
  lab?: { control: string };
  releaseKeys: string;
  logs: string;
  /** Names of the processes: `temporal`, `ledger`, `control`, `release`, `lab`, `stores-<n>`, `store:<id>`. */
  processes(): string[];
  /** Signals a process; a killed one is started again. False when it is not running; throws for an unknown name. */
  kill(name: string, signal: NodeJS.Signals): boolean;
  stop(): Promise<void>;
}

/** Resolves when all is ready. Throws one sentence, and leaves nothing running, when it cannot be. */
export async function startService(options: ServiceOptions): Promise<Service> {
  const dir = resolve(options.dir);
  const lock = await lockFolder(dir, 'service.lock', { patienceMs: 0 });
  if (lock.kind === 'busy') {
    throw new Error(`The service in ${dir} is already run by ${lock.holder}. Stop it first, or choose another folder.`);
  }
  const supervisor = new Supervisor({ ...options, dir });
  try {
    const service = await supervisor.start();
    return {
      ...service,
      stop: async () => {
        await supervisor.stop();
        lock.release();
      },
    };
  } catch (error) {
    await supervisor.stop();
    lock.release();
    throw error;
  }
}

class Supervisor {
  readonly #options: ServiceOptions;
  readonly #dir: string;
  readonly #onEvent: (event: ChildEvent) => void;
  readonly #children = new Map<string, ManagedChild>();
  /** Ends in the reverse of this order, each group at once: first those who use, last those who are used. */
  readonly #groups: (() => Promise<unknown>)[][] = [[], []];

  constructor(options: ServiceOptions) {
    this.#options = options;
    this.#dir = options.dir;
    this.#onEvent = options.onEvent ?? (() => undefined);
  }

  async start(): Promise<Omit<Service, 'stop'>> {
    const options = this.#options;
    const repo = resolve(options.repo);
    if (!existsSync(repo)) throw new Error(`The repo ${repo} does not exist. Make one with \`edge init\`.`);
    const branch = options.branch ?? 'main';
    // What a killed supervisor announced is no longer so.
    rmSync(this.#serviceFile, { force: true });
    endLeftovers(this.#dir);
    const ports = await rememberPorts(this.#dir, PORT_NAMES, options.ports);
    await refuseTakenPorts(this.#dir, ports);
    const key = ensureReleaseKey(this.#dir);
    const addresses = {
      temporal: `${HOST}:${ports.temporal}`,
      registry: `${HOST}:${ports.registry}`,
    };

    const central = {
      ...centralEnvironment(options.env),
      EDGE_TEMPORAL_ADDRESS: addresses.temporal,
      EDGE_TEMPORAL_NAMESPACE: NAMESPACE,
      EDGE_REPO: repo,
      EDGE_BRANCH: branch,
      EDGE_OBJECTS: pathToFileURL(this.#objects).href,
    };

    // Each starts as soon as what it cannot do without is there. The lab needs no more than addresses.
    const temporal = this.#startTemporal(ports);
    const ledger = this.#startLedger(ports.ledger);
    const lab = options.lab && this.#startLab(options.lab, { repo, ...addresses, ports, keys: key.publicKeys });
    const [temporalFacts, databaseUrl] = await allOrFirstFailure([
      temporal,
      ledger,
      lab,
      this.#startRegistry(ports.registry),
      Promise.all([temporal, ledger]).then(([, url]) =>
        this.#startWorker('control', ['control.js'], {
          ...central,
          EDGE_DATABASE_URL: url,
          // There is one, so whatever build it runs is the one that workflows go on with.
          EDGE_TAKE_OVER: 'always',
        }),
      ),
      Promise.all([temporal, ledger]).then(([, url]) =>
        this.#startWorker('release', ['release.js'], {
          ...central,
          EDGE_DATABASE_URL: url,
          EDGE_RELEASE_KEY_FILE: key.privateKey,
        }),
      ),
      Promise.all([temporal, lab]).then(() => options.lab && this.#startStores(options.lab)),
    ]);

    const service = {
      pid: process.pid,
      temporal: temporalFacts,
      databaseUrl,
      registry: `http://${addresses.registry}`,
      ...(options.lab ? { lab: { control: `http://${HOST}:${ports.labControl}` } } : {}),
      releaseKeys: key.publicKeys,
      logs: join(this.#dir, 'logs'),
    };
    this.#announce({ ...service, repo, branch, fleet: options.fleet });
    return {
      ...service,
      processes: () => [...this.#children.keys()],
      kill: (name, signal) => this.#child(name).kill(signal),
    };
  }

  async stop(): Promise<void> {
    rmSync(this.#serviceFile, { force: true });
    for (const group of this.#groups.toReversed()) await Promise.all(group.map((end) => end()));
  }

  get #objects(): string {
    return join(this.#dir, 'objects');
  }

  get #labDir(): string {
    return join(this.#dir, 'lab');
  }

  get #serviceFile(): string {
    return join(this.#dir, 'service.json');
  }

  async #startTemporal(ports: Required<ServicePorts>): Promise<Service['temporal']> {
    const { env, log, signal } = this.#options;
    const cli = await findTemporalCli({ env, say: log, signal });
    const server = await startTemporal({
      cli,
      env,
      dir: this.#dir,
      ports,
      namespace: NAMESPACE,
      searchAttributes: Object.values(SEARCH_ATTRIBUTES),
      keep: true,
      onEvent: this.#onEvent,
    });
    this.#adopt(server.process, 0);
    return {
      address: server.address,
      ui: server.uiUrl ?? '',
      namespace: NAMESPACE,
      server: cli.server,
      origin: cli.origin,
    };
  }

  async #startLedger(port: number): Promise<string> {
    const server = await startPglite({
      dir: this.#dir,
      port,
      main: this.#built('workers/embedded/pglite-main.js'),
      env: baseEnvironment(this.#options.env),
      template: join(cacheFolder(this.#options.env), 'pglite'),
      keep: true,
      onEvent: this.#onEvent,
    });
    this.#adopt(server.process, 0);
    return server.databaseUrl;
  }

  async #startRegistry(port: number): Promise<void> {
    mkdirSync(this.#objects, { recursive: true });
    const registry = await startRegistry({ dir: this.#objects, host: HOST, port });
    this.#groups[0]?.push(() => registry.close());
  }

  async #startLab(
    { speed }: LabOptions,
    to: { repo: string; temporal: string; registry: string; ports: Required<ServicePorts>; keys: string },
  ): Promise<void> {
    const lab = this.#node('lab', 'lab/main.js', baseEnvironment(this.#options.env), [
      ...['--repo', to.repo, '--state', this.#labDir, '--speed', String(speed)],
      ...['--temporal', to.temporal, '--registry', to.registry],
      ...['--control-port', String(to.ports.labControl), '--release-keys', to.keys],
    ]);
    this.#adopt(lab, 0);
    await lab.start();
  }

  async #startStores({ ownProcess = [] }: LabOptions): Promise<void> {
    const env = { ...baseEnvironment(this.#options.env), ...logLevel(this.#options.env) };
    const folder = join(this.#labDir, 'enrolment');
    const enrolment = ['--enrolment', folder];
    const offsite = join(this.#labDir, 'enrolment-central', 'offsite-worker.json');
    const staging = join(this.#labDir, 'enrolment-staging', 'staging.json');
    const others = ownProcess.length > 0 ? ['--except', ownProcess.join(',')] : [];
    const shared = readdirSync(folder).length - ownProcess.length;
    const processes = Math.min(MAX_STORE_PROCESSES, Math.ceil(shared / STORES_PER_PROCESS));
    const shares = Array.from({ length: processes }, (_, index) => index + 1);
    await allOrFirstFailure([
      ...shares.map((n) =>
        this.#startWorker(`stores-${n}`, ['store.js', ...enrolment, ...others, '--share', `${n}/${processes}`], env),
      ),
      ...ownProcess.map((id) => this.#startWorker(`store:${id}`, ['store.js', ...enrolment, '--only', id], env)),
      ...(existsSync(offsite) ? [this.#startWorker('offsite', ['offsite.js', '--config', offsite], env)] : []),
      ...(existsSync(staging) ? [this.#startWorker('staging', ['staging.js', '--config', staging], env)] : []),
    ]);
  }

  async #startWorker(name: string, [file = '', ...args]: string[], env: NodeJS.ProcessEnv): Promise<void> {
    const child = this.#node(name, `workers/${file}`, env, args);
    this.#adopt(child, 1);
    await child.start();
  }

  #node(name: string, file: string, env: NodeJS.ProcessEnv, args: string[]): ManagedChild {
    return new ManagedChild({
      name,
      command: process.execPath,
      args: ['--enable-source-maps', this.#built(file), ...args],
      env,
      cwd: this.#dir,
      dir: this.#dir,
      readyTimeoutMs: 120_000,
      keep: true,
      onEvent: this.#onEvent,
    });
  }

  #adopt(child: ManagedChild, group: 0 | 1): void {
    this.#children.set(child.name, child);
    this.#groups[group]?.push(() => child.stop());
  }

  #child(name: string): ManagedChild {
    const child = this.#children.get(name);
    if (child) return child;
    throw new Error(`There is no process ${name}; there are ${[...this.#children.keys()].join(', ')}.`);
  }

  /** The processes run what is built, whether this file is run from its source or from dist/. */
  #built(file: string): string {
    if (this.#options.build !== undefined) return join(this.#options.build, file);
    const root = join(import.meta.dirname, '..', '..');
    return import.meta.filename.endsWith('.ts') ? join(root, 'dist', file) : join(root, file);
  }

  /** For the CLI and other programs on this machine. */
  #announce(facts: object): void {
    writeFileSync(`${this.#serviceFile}.new`, `${JSON.stringify(facts, undefined, 2)}\n`);
    renameSync(`${this.#serviceFile}.new`, this.#serviceFile);
  }
}

const logLevel = (env: NodeJS.ProcessEnv): NodeJS.ProcessEnv =>
  env.EDGE_LOG_LEVEL === undefined ? {} : { EDGE_LOG_LEVEL: env.EDGE_LOG_LEVEL };

type Results<T extends readonly unknown[]> = { -readonly [P in keyof T]: Awaited<T[P]> };

/** Waits for all, so that nothing is still starting when the failure of one makes the rest be stopped. */
async function allOrFirstFailure<T extends readonly unknown[]>(work: readonly [...T]): Promise<Results<T>> {
  await Promise.allSettled(work);
  return Promise.all(work) as Promise<Results<T>>;
}
