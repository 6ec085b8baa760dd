import { createHmac, randomBytes } from 'node:crypto';
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

/**
 * All secrets of a lab grow from one random seed, kept in its state folder: keys and tokens are the same after a
 * restart, and 1,500 nodes need no key files.
 */
export class Seed {
  readonly #seed: Buffer;

  constructor(stateDir: string) {
    const file = join(stateDir, 'seed');
    mkdirSync(stateDir, { recursive: true });
    try {
      this.#seed = readFileSync(file);
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error;
      this.#seed = randomBytes(32);
      writeFileSync(file, this.#seed, { mode: 0o600, flag: 'wx' });
    }
    if (this.#seed.length !== 32) {
      throw new Error(`${file} does not hold 32 bytes. Remove it; keys and enrolment of this lab will be new.`);
    }
  }

  /** 32 bytes that belong to a purpose, e.g. `ssh-host/store-001/n1`. */
  bytes(purpose: string): Buffer {
    return createHmac('sha256', this.#seed).update(purpose).digest();
  }

  uuid(purpose: string): string {
    const hex = this.bytes(purpose).toString('hex');
    return `${hex.slice(0, 8)}-${hex.slice(8, 12)}-4${hex.slice(13, 16)}-a${hex.slice(17, 20)}-${hex.slice(20, 32)}`;
  }
}
