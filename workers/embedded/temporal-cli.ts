/**
 * Finds the Temporal CLI, whose development server the embedded service runs.
 * In this order: what the user names, what is on the PATH, what an earlier start put into the cache,
 * the official download, and last a build from source, which needs only the Go module proxy.
 */
import { createWriteStream } from 'node:fs';
import { access, constants, mkdtemp, rename, rm } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { delimiter, isAbsolute, join, resolve } from 'node:path';
import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { execa } from 'execa';
import { EnvHttpProxyAgent, fetch } from 'undici';
import { z } from 'zod';
import { howItEnded, runProgram } from '#systems/programs/run.js';
import { cacheFolder } from './cache-folder.js';
import { withLock } from '../file-lock.js';

/** The newest version that `go install` accepts: later ones carry replace directives. */
const GO_VERSION = 'v1.5.1';
const GO_PACKAGE = `github.com/temporalio/cli/cmd/temporal@${GO_VERSION}`;
const GO_TIMEOUT_MS = 20 * 60_000;
/** The oldest server that the service has been run with. */
const MIN_SERVER = '1.29.0';
const DOWNLOAD_URL = 'https://temporal.download/cli/default';
const MAX_DOWNLOAD_BYTES = 500_000_000;
const PROGRESS_MS = 15_000;

export interface TemporalCli {
  path: string;
  /** Version of the server inside, e.g. `1.29.1`. */
  server: string;
  /** Where it comes from, in words. */
  origin: string;
}

export interface FindOptions {
  env: NodeJS.ProcessEnv;
  say: (line: string) => void;
  /** How long the download site may stay silent. */
  silenceMs?: number;
  downloadUrl?: string;
  /** Gives up a download or a build that is under way, and the waiting for that of another process. */
  signal?: AbortSignal | undefined;
}

/** Throws one sentence with the remedies when there is none and none can be had. */
export async function findTemporalCli(options: FindOptions): Promise<TemporalCli> {
  const { env, say, signal } = options;
  const cli = await firstOf(options);
  say(`Temporal server ${cli.server}: ${cli.path} (${cli.origin})`);
  return cli;

  async function firstOf({ silenceMs = 10_000, downloadUrl = DOWNLOAD_URL }: FindOptions): Promise<TemporalCli> {
    if (env.TEMPORAL_CLI) return named(resolve(env.TEMPORAL_CLI));
    const refused: string[] = [];
    const consider = async (path: string, origin: string): Promise<TemporalCli | undefined> => {
      const answer = await inspect(path);
      if (answer.kind === 'usable') return { path, server: answer.server, origin };
      refused.push(`${path} ${answer.problem}`);
      say(`Not used: ${path} ${answer.problem}.`);
      return undefined;
    };

    const onPath = await which('temporal', env);
    const cache = join(cacheFolder(env), 'temporal');
    const downloaded = join(cache, `sdk-${sdkVersion()}`, 'temporal');
    const built = join(cache, GO_VERSION, 'temporal');
    const present: [string | undefined, string][] = [
      [onPath, 'found on the PATH'],
      [await ifExecutable(downloaded), 'downloaded earlier'],
      [await ifExecutable(built), 'built with go earlier'],
    ];
    for (const [path, origin] of present) {
      const cli = path && (await consider(path, origin));
      if (cli) return cli;
    }

    const makers: [() => Promise<string>, string][] = [
      [() => download({ url: downloadUrl, target: downloaded, silenceMs, say, signal }), 'official download'],
      [() => build({ target: built, env, say, signal }), `built with go install ${GO_PACKAGE}`],
    ];
    for (const [make, origin] of makers) {
      if (signal?.aborted) break;
      try {
        const cli = await consider(await make(), origin);
        if (cli) return cli;
      } catch (error) {
        if (signal?.aborted) break;
        refused.push((error as Error).message);
        say(`Not possible: ${(error as Error).message}.`);
      }
    }
    if (signal?.aborted) throw new Error('interrupted before there was a Temporal CLI');
    throw new Error(
      `No Temporal CLI (${refused.join('; ')}). Install it (https://docs.temporal.io/cli), name one in TEMPORAL_CLI, ` +
        'allow downloads from temporal.download, or install Go and allow its module proxy.',
    );
  }

  async function named(path: string): Promise<TemporalCli> {
    const answer = await inspect(path);
    if (answer.kind === 'usable') return { path, server: answer.server, origin: 'named in TEMPORAL_CLI' };
    throw new Error(`TEMPORAL_CLI: ${path} ${answer.problem}. Name another one, or unset TEMPORAL_CLI.`);
  }
}

type Inspection = { kind: 'usable'; server: string } | { kind: 'unusable'; problem: string };

async function inspect(path: string): Promise<Inspection> {
  const end = await runProgram(path, ['--version'], { timeoutMs: 20_000 });
  if (end.kind !== 'ended' || end.code !== 0) return { kind: 'unusable', problem: 'does not run' };
  const server = /\bserver (\d+\.\d+\.\d+)/i.exec(end.stdout.toString())?.[1];
  if (!server) return { kind: 'unusable', problem: 'does not answer --version as a Temporal CLI does' };
  if (isOlder(server, MIN_SERVER)) {
    return { kind: 'unusable', problem: `has server ${server}, older than ${MIN_SERVER}` };
  }
  return { kind: 'usable', server };
}

function isOlder(version: string, than: string): boolean {
  const parts = (text: string) => text.split('.').map(Number);
  const limit = parts(than);
  for (const [index, part] of parts(version).entries()) {
    const other = limit[index] ?? 0;
    if (part !== other) return part < other;
  }
  return false;
}

async function which(name: string, env: NodeJS.ProcessEnv): Promise<string | undefined> {
  for (const folder of (env.PATH ?? '').split(delimiter)) {
    // A relative entry of the PATH means another program in every folder one stands in.
    if (!isAbsolute(folder)) continue;
    const path = await ifExecutable(join(folder, name));
    if (path) return path;
  }
  return undefined;
}

async function ifExecutable(path: string): Promise<string | undefined> {
  return access(path, constants.X_OK).then(
    () => path,
    () => undefined,
  );
}

function sdkVersion(): string {
  const { version } = createRequire(import.meta.url)('@temporalio/testing/package.json') as { version: string };
  return version;
}

const downloadInfoSchema = z.object({
  archiveUrl: z.url({ protocol: /^https?$/ }),
  fileToExtract: z.string().min(1).max(200),
});

interface Making {
  target: string;
  say: (line: string) => void;
  signal: AbortSignal | undefined;
}

interface Download extends Making {
  url: string;
  silenceMs: number;
}

/** The question and the answer are those of the SDK's own test server; the site picks the CLI that fits the SDK. */
function download({ url, target, silenceMs, say, signal }: Download): Promise<string> {
  const waiting = (pid: number) => say(`Waiting for process ${pid}, which is downloading the Temporal CLI …`);
  const make = async () => {
    if (await ifExecutable(target)) return target;
    const silence = new Silence(silenceMs);
    const given = { signal: signal ? AbortSignal.any([signal, silence.signal]) : silence.signal };
    const folder = await mkdtemp(`${target}-`);
    const done = progress(`Downloading the Temporal CLI from ${new URL(url).host}`, say);
    try {
      const dispatcher = new EnvHttpProxyAgent();
      const answer = await fetch(`${url}?${question()}`, { dispatcher, ...given });
      if (!answer.ok) throw new Error(`answered ${answer.status}`);
      const { archiveUrl, fileToExtract } = downloadInfoSchema.parse(await answer.json());
      const archive = await fetch(archiveUrl, { dispatcher, ...given });
      if (!archive.ok || !archive.body) throw new Error(`answered ${archive.status} for the archive`);
      const file = join(folder, 'archive.tar.gz');
      await pipeline(Readable.fromWeb(archive.body), silence.watch(MAX_DOWNLOAD_BYTES), createWriteStream(file));
      await execa('tar', ['-xzf', file, '-C', folder, '--', fileToExtract], { stdin: 'ignore' });
      await rename(join(folder, fileToExtract), target);
      return target;
    } catch (error) {
      const why = silence.signal.aborted ? `silent for ${silenceMs / 1_000} s` : causeOf(error);
      throw new Error(`the download from ${new URL(url).host} failed (${why})`, { cause: error });
    } finally {
      silence.end();
      done();
      await rm(folder, { recursive: true, force: true });
    }
  };
  return withLock(`${target}.lock`, waiting, make, signal);
}

function question(): URLSearchParams {
  return new URLSearchParams({
    arch: process.arch === 'x64' ? 'amd64' : process.arch,
    platform: process.platform === 'darwin' ? 'darwin' : 'linux',
    format: 'tar.gz',
    'sdk-name': 'sdk-typescript',
    'sdk-version': sdkVersion(),
  });
}

const causeOf = (error: unknown): string => {
  const { message, cause } = error as Error;
  return cause instanceof Error ? cause.message : message;
};

/** Aborts when nothing arrives for a while: a slow download may take its time, a blocked one may not. */
class Silence {
  readonly #abort = new AbortController();
  readonly #ms: number;
  #timer: NodeJS.Timeout;

  constructor(ms: number) {
    this.#ms = ms;
    this.#timer = setTimeout(() => this.#abort.abort(), ms);
  }

  get signal(): AbortSignal {
    return this.#abort.signal;
  }

  watch(maxBytes: number): (source: AsyncIterable<Uint8Array>) => AsyncIterable<Uint8Array> {
    const restart = () => {
      clearTimeout(this.#timer);
      this.#timer = setTimeout(() => this.#abort.abort(), this.#ms);
    };
    return async function* (source) {
      let bytes = 0;
      for await (const chunk of source) {
        restart();
        bytes += chunk.byteLength;
        if (bytes > maxBytes) throw new Error(`larger than ${maxBytes} bytes`);
        yield chunk;
      }
    };
  }

  end(): void {
    clearTimeout(this.#timer);
  }
}

interface Build extends Making {
  env: NodeJS.ProcessEnv;
}

async function build({ target, env, say, signal }: Build): Promise<string> {
  const go = await which('go', env);
  if (!go) throw new Error('Go is not installed, so it cannot be built');
  const waiting = (pid: number) => say(`Waiting for process ${pid}, which is building the Temporal CLI …`);
  const make = async () => {
    if (await ifExecutable(target)) return target;
    const folder = await mkdtemp(`${target}-`);
    const done = progress(`Building the Temporal CLI once (go install ${GO_PACKAGE}), about 5 minutes`, say);
    try {
      const end = await runProgram(go, ['install', GO_PACKAGE], {
        cwd: folder,
        env: { ...env, GOBIN: folder, GOFLAGS: '-buildvcs=false' },
        extendEnv: false,
        timeoutMs: GO_TIMEOUT_MS,
        ...(signal ? { signal } : {}),
      });
      if (end.kind !== 'ended' || end.code !== 0) throw new Error(`go install ${howItEnded(end)}`);
      await rename(join(folder, 'temporal'), target);
      return target;
    } finally {
      done();
      await rm(folder, { recursive: true, force: true });
    }
  };
  return withLock(`${target}.lock`, waiting, make, signal);
}

/** Says that something long has begun, and every 15 s that it goes on. */
function progress(what: string, say: (line: string) => void): () => void {
  const start = performance.now();
  say(`${what} …`);
  const timer = setInterval(
    () => say(`${what}: ${Math.round((performance.now() - start) / 1_000)} s so far …`),
    PROGRESS_MS,
  );
  return () => clearInterval(timer);
}
