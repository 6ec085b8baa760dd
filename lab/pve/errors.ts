/** A refusal with a status of its own; any other error that a handler throws is a 500 with its text. */
export class PveError extends Error {
  readonly status: number;
  readonly errors: Record<string, string> | undefined;

  constructor(status: number, message: string, errors?: Record<string, string>) {
    super(message);
    this.name = 'PveError';
    this.status = status;
    this.errors = errors;
  }
}

export const parameterError = (errors: Record<string, string>): PveError =>
  new PveError(400, 'Parameter verification failed.', errors);

export const permissionError = (what: string): PveError => new PveError(403, `Permission check failed (${what})`);

/** What waits for something that will not answer, until the proxy in front gives up. */
export class Hangs extends Error {}
