/** The commit cannot become a release; `problems` has every reason, each a sentence with its place. Never retryable. */
export class BuildRefused extends Error {
  override readonly name = 'BuildRefused';
  readonly kind = 'BuildFailed';
  readonly problems: string[];
  readonly retryable = false;

  constructor(problems: string[]) {
    super(`The release was not built: ${problems.length} problem(s), the first: ${problems[0] ?? 'unknown'}`);
    this.problems = problems;
  }
}

/** A signing or pinned key that cannot be used. The key itself is never part of the message. */
export class KeyError extends Error {
  override readonly name = 'KeyError';
  readonly kind = 'KeyUnusable';
  readonly retryable = false;
}

/** There is no scan report. Without one there is no release. */
export class ScanFailed extends Error {
  override readonly name = 'ScanFailed';
  readonly kind = 'ScanFailed';
  readonly retryable = false;
}

/** No store would take the target of the permit; `problems` says why. Never retryable. */
export class PermitRefused extends Error {
  override readonly name = 'PermitRefused';
  readonly kind = 'RollbackNotPermitted';
  readonly problems: string[];
  readonly retryable = false;

  constructor(problems: string[]) {
    super(`The rollback permit was not signed: ${problems.join(' ')}`);
    this.problems = problems;
  }
}
