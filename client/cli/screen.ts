import type { Io } from './io.js';
import { fit } from './text.js';

/**
 * A block of lines at the end of the output that is redrawn in place. On anything but a terminal the block is never
 * written: there, only the lines that stay are.
 */
export class Screen {
  readonly #io: Io;
  #drawn = 0;

  constructor(io: Io) {
    this.#io = io;
  }

  /** Replaces the block. */
  draw(lines: readonly string[]): void {
    if (!this.#io.terminal) return;
    const fitted = lines.map((line) => fit(line, this.#io.columns - 1));
    this.#io.write(this.#erasure() + fitted.map((line) => `${line}\n`).join(''));
    this.#drawn = fitted.length;
  }

  /** Writes lines that stay, above the block. */
  say(...lines: string[]): void {
    if (lines.length === 0) return;
    this.clear();
    for (const line of lines) this.#io.out(line);
  }

  clear(): void {
    if (this.#drawn === 0) return;
    this.#io.write(this.#erasure());
    this.#drawn = 0;
  }

  #erasure(): string {
    return this.#drawn === 0 ? '' : `\u001b[${this.#drawn}A\u001b[J`;
  }
}
