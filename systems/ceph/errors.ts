/** An answer of Ceph that was not given in time, or cannot be understood. Never to be taken for healthy. */
export class CephUnreadable extends Error {
  readonly kind = 'CephUnreadable';
  readonly retryable = true;

  constructor(message: string, cause?: unknown) {
    super(message, cause === undefined ? undefined : { cause });
    this.name = 'CephUnreadable';
  }
}

/** Ceph refused a change. */
export class CephRefused extends Error {
  readonly kind = 'CephRefused';
  readonly retryable = true;

  constructor(message: string) {
    super(message);
    this.name = 'CephRefused';
  }
}
