/**
 * Runs commands on one node. `argv` is an array; quoting for the remote shell is the runner's own business and happens
 * in one place (`quote.ts`).
 *
 * Obligations of every implementation:
 * - The host key is compared with a pinned one before anything is sent; no pinned key, no connection.
 * - A command that ended has a numeric `code`. A connection that was cut in mid-command throws `OutcomeUnknown`: it may have run.
 * - A connection that could not be opened throws `Unreachable`: nothing ran.
 * - A non-zero code is a result, not an error; stdout is there all the same.
 */
export interface CommandRunner {
  run(argv: string[], options?: RunOptions): Promise<CommandResult>;
  close(): Promise<void>;
}

export interface RunOptions {
  /** Milliseconds; default 30,000. On expiry the channel is closed and `CommandTimeout` is thrown. */
  timeoutMs?: number;
  /** Written to the command's standard input, which is then closed. */
  stdin?: string;
  signal?: AbortSignal;
}

export interface CommandResult {
  code: number;
  stdout: string;
  stderr: string;
}

export interface SshOptions {
  host: string;
  port: number;
  user: string;
  /** Private key, OpenSSH or PEM. */
  privateKey: string;
  /** Second field of the host's public key line: base64 of the key blob. */
  hostKey: string;
  /** Prefixed to every command that needs root, `['sudo', '-n']` in production. Default none. */
  connectTimeoutMs?: number;
}
