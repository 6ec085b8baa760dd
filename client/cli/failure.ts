/** A command that cannot go on: one sentence for people, and how the process ends. */
export class CliFailure extends Error {
  /** 1 = failed, 2 = wrong usage. */
  readonly exitCode: 1 | 2;
  readonly problems: readonly string[];

  constructor(message: string, options: { exitCode?: 1 | 2; problems?: readonly string[]; cause?: unknown } = {}) {
    super(message, { cause: options.cause });
    this.name = 'CliFailure';
    this.exitCode = options.exitCode ?? 1;
    this.problems = options.problems ?? [];
  }
}

export const wrongUsage = (message: string): CliFailure => new CliFailure(message, { exitCode: 2 });
