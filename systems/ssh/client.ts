import { timingSafeEqual } from 'node:crypto';
import net from 'node:net';
import { NodeSSH } from 'node-ssh';
import ssh2 from 'ssh2';
import { CommandError } from './errors.js';
import type { CommandErrorKind } from './errors.js';
import { shellQuote } from './quote.js';
import type { CommandResult, CommandRunner, RunOptions, SshOptions } from './types.js';

const DEFAULT_TIMEOUT_MS = 30_000;
const DEFAULT_CONNECT_TIMEOUT_MS = 10_000;
const IDLE_CLOSE_MS = 20_000;
const KEEPALIVE_MS = 5_000;
const KEEPALIVE_MISSES = 3;
const MAX_OUTPUT_BYTES = 10 * 1024 * 1024;

/**
 * One node over SSH. Throws at once when the options cannot make a safe connection. Connects on first use, keeps the
 * connection for all commands, and leaves it when idle.
 */
export function createSshRunner(options: SshOptions): CommandRunner {
  return new SshRunner(options);
}

/**
 * A connection and the commands on it. A server opens only some channels per connection (OpenSSH: ten), and keeps the
 * one of a command that was given up for as long as that command runs there.
 */
interface Link {
  ssh: Promise<NodeSSH>;
  commands: number;
  /** Has run a command: a refusal means that there is no channel left, not that there is none at all. */
  lent: boolean;
  /** Refused a channel, and none was given back since. */
  full: boolean;
  /** Has a channel that may never be given back: it serves its commands to their end, and takes no others. */
  retired: boolean;
}

const GIVEN_UP: ReadonlySet<CommandErrorKind> = new Set(['CommandTimeout', 'Aborted', 'OutputTooLarge']);

class SshRunner implements CommandRunner {
  readonly #options: SshOptions;
  readonly #hostKey: Buffer;
  readonly #links = new Set<Link>();
  #running = 0;
  #idle: NodeJS.Timeout | undefined;
  #closed = false;

  constructor(options: SshOptions) {
    this.#options = options;
    this.#hostKey = Buffer.from(options.hostKey, 'base64');
    if (this.#hostKey.length === 0) {
      throw new CommandError(
        'HostKeyMismatch',
        `No host key is pinned for ${options.host}. Enrol the store to get it.`,
      );
    }
    if (ssh2.utils.parseKey(options.privateKey) instanceof Error) {
      throw new CommandError('AuthRefused', `The key for ${options.user}@${options.host} is no readable private key.`);
    }
  }

  async run(argv: string[], options: RunOptions = {}): Promise<CommandResult> {
    const line = shellQuote(argv);
    this.#running += 1;
    clearTimeout(this.#idle);
    try {
      for (;;) {
        if (options.signal?.aborted)
          throw new CommandError('Aborted', `${this.#place(argv)}: aborted before it was sent`);
        const result = await this.#runOn(this.#freeLink(), line, argv, options);
        if (result) return result;
      }
    } finally {
      this.#running -= 1;
      this.#closeWhenIdle();
    }
  }

  async close(): Promise<void> {
    this.#closed = true;
    clearTimeout(this.#idle);
    await Promise.all([...this.#links].map((link) => this.#leave(link)));
  }

  #freeLink(): Link {
    if (this.#closed) throw new CommandError('Unreachable', `The runner for ${this.#options.host} is closed.`);
    for (const link of this.#links) if (!link.full && !link.retired) return link;
    const link = { ssh: this.#connect(), commands: 0, lent: false, full: false, retired: false };
    this.#links.add(link);
    link.ssh.catch(() => this.#links.delete(link));
    return link;
  }

  /** Undefined when nothing was started: another connection may serve, or nobody waits any more. */
  async #runOn(link: Link, line: string, argv: string[], options: RunOptions): Promise<CommandResult | undefined> {
    link.commands += 1;
    try {
      const ssh = await link.ssh;
      if (!ssh.isConnected()) this.#links.delete(link);
      if (!ssh.isConnected() || options.signal?.aborted) return undefined;
      const result = await this.#execute(ssh, line, argv, { ...options, onChannel: () => (link.lent = true) });
      link.full = false;
      return result;
    } catch (error) {
      if (error instanceof ChannelRefused) {
        // Refused the first and only one: another connection will fare no better.
        if (!link.lent && link.commands === 1) throw new CommandError('Unreachable', error.message, error.cause);
        link.full = true;
        return undefined;
      }
      if (error instanceof CommandError && GIVEN_UP.has(error.kind)) link.retired = true;
      throw error;
    } finally {
      link.commands -= 1;
      if (link.commands === 0 && (link.full || link.retired)) await this.#leave(link);
    }
  }

  async #leave(link: Link): Promise<void> {
    this.#links.delete(link);
    const ssh = await link.ssh.catch(() => undefined);
    ssh?.dispose();
  }

  async #connect(): Promise<NodeSSH> {
    const { host, port, user, privateKey } = this.#options;
    const timeoutMs = this.#options.connectTimeoutMs ?? DEFAULT_CONNECT_TIMEOUT_MS;
    const place = `${user}@${host}:${port}`;
    const socket = await openSocket(host, port, timeoutMs, place);
    const ssh = new NodeSSH();
    let keyRefused = false;
    try {
      await ssh.connect({
        sock: socket,
        username: user,
        privateKey,
        readyTimeout: timeoutMs,
        keepaliveInterval: KEEPALIVE_MS,
        keepaliveCountMax: KEEPALIVE_MISSES,
        algorithms: { serverHostKey: ['ssh-ed25519'] },
        hostVerifier: (key: Buffer) => {
          const known = key.length === this.#hostKey.length && timingSafeEqual(key, this.#hostKey);
          keyRefused = !known;
          return known;
        },
      });
    } catch (error) {
      ssh.dispose();
      socket.destroy();
      if (keyRefused) {
        throw new CommandError(
          'HostKeyMismatch',
          `${place} shows another host key than the pinned one. Nothing was sent.`,
        );
      }
      if ((error as { level?: string }).level === 'client-authentication') {
        throw new CommandError('AuthRefused', `${place} does not accept the key of this store worker.`);
      }
      throw new CommandError('Unreachable', `${place}: ${textOf(error)}`, error);
    }
    // Without a listener, an error of an idle connection (a reset, a missed keepalive) would end the process.
    ssh.connection?.on('error', () => undefined);
    // Every command listens; their number is no sign of a leak.
    ssh.connection?.setMaxListeners(0);
    return ssh;
  }

  async #execute(
    ssh: NodeSSH,
    line: string,
    argv: string[],
    options: RunOptions & { onChannel: () => void },
  ): Promise<CommandResult> {
    const place = this.#place(argv);
    const connection = ssh.connection;
    const timeoutMs = options.timeoutMs ?? DEFAULT_TIMEOUT_MS;
    let outputBytes = 0;
    let closeChannel: () => void = () => undefined;
    let ended = false;

    let stop: (error: CommandError) => void = () => undefined;
    const stopped = new Promise<never>((_, reject) => {
      stop = (error) => {
        if (ended) return;
        ended = true;
        reject(error);
        closeChannel();
      };
    });
    const onLost = () => stop(new CommandError('OutcomeUnknown', `${place}: the connection was cut`));
    const onAbort = () => stop(new CommandError('Aborted', `${place}: aborted; it may still run`));
    const count = (chunk: Buffer) => {
      outputBytes += chunk.length;
      if (outputBytes > MAX_OUTPUT_BYTES) {
        stop(new CommandError('OutputTooLarge', `${place}: more than ${MAX_OUTPUT_BYTES} bytes of output`));
      }
    };
    const timer = setTimeout(
      () => stop(new CommandError('CommandTimeout', `${place}: no end within ${timeoutMs} ms; it may still run`)),
      timeoutMs,
    );
    connection?.once('close', onLost);
    options.signal?.addEventListener('abort', onAbort, { once: true });

    try {
      const result = await Promise.race([
        stopped,
        ssh.execCommand(line, {
          noTrim: true,
          // One byte per character, so that a character split between two packets survives; decoded below.
          encoding: 'latin1',
          onStdout: count,
          onStderr: count,
          ...(options.stdin === undefined ? {} : { stdin: options.stdin }),
          onChannel: (channel) => {
            options.onChannel();
            closeChannel = () => channel.close();
            if (ended) channel.close();
          },
        }),
      ]);
      ended = true;
      // A cut connection resolves like a success, only without a code; so does a command that a signal killed.
      if (result.code === null) {
        const why = result.signal ? `ended by ${result.signal}` : 'the connection was cut';
        throw new CommandError('OutcomeUnknown', `${place}: ${why}`);
      }
      return { code: result.code, stdout: utf8(result.stdout), stderr: utf8(result.stderr) };
    } catch (error) {
      if (error instanceof CommandError) throw error;
      // The host refused to open a channel, so nothing was started.
      if (error instanceof Error && 'reason' in error) {
        throw new ChannelRefused(`${place}: ${error.message}`, { cause: error });
      }
      // The line was handed over; whether it left this machine is not known.
      throw new CommandError('OutcomeUnknown', `${place}: ${textOf(error)}`, error);
    } finally {
      ended = true;
      clearTimeout(timer);
      connection?.removeListener('close', onLost);
      options.signal?.removeEventListener('abort', onAbort);
    }
  }

  #closeWhenIdle(): void {
    if (this.#running > 0 || this.#closed) return;
    clearTimeout(this.#idle);
    this.#idle = setTimeout(() => {
      for (const link of this.#links) void this.#leave(link);
    }, IDLE_CLOSE_MS);
    this.#idle.unref();
  }

  /** Names the program only: arguments may hold what does not belong in a log. */
  #place(argv: string[]): string {
    const program = argv.find((word) => !['sudo', '-n'].includes(word)) ?? argv[0] ?? '';
    return `${program} on ${this.#options.host}`;
  }
}

class ChannelRefused extends Error {}

/** The socket is opened here and not by the SSH library, which leaves Nagle's delay on. */
async function openSocket(host: string, port: number, timeoutMs: number, place: string): Promise<net.Socket> {
  return new Promise((resolve, reject) => {
    const socket = net.connect({ host, port, noDelay: true });
    const fail = (error: Error) => {
      socket.destroy();
      reject(new CommandError('Unreachable', `${place}: ${error.message}`, error));
    };
    socket.once('error', fail);
    socket.setTimeout(timeoutMs, () => fail(new Error(`no connection within ${timeoutMs} ms`)));
    socket.once('connect', () => {
      socket.setTimeout(0);
      socket.removeAllListeners('timeout');
      socket.removeListener('error', fail);
      resolve(socket);
    });
  });
}

const utf8 = (latin1: string): string => Buffer.from(latin1, 'latin1').toString('utf8');
const textOf = (error: unknown): string => (error instanceof Error ? error.message : String(error));
