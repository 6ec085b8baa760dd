import type { NodeSim } from './node-sim.js';

/** Kernels that somebody chose by name. */
export interface Pins {
  /** Boots every time. */
  pinned?: string | undefined;
  /** Boots once. */
  next?: string | undefined;
}

/**
 * Which kernel boots. Pins are written to a file first and count when the boot partitions are written anew: by
 * `refresh`, or by the hooks of a kernel package.
 */
export class BootSim {
  pins: Pins = {};
  /** The pins as they stand on the boot partitions. */
  written: Pins = {};
  readonly #node: NodeSim;

  constructor(node: NodeSim) {
    this.#node = node;
  }

  get kernels(): string[] {
    return this.#node.packages.bootKernels;
  }

  /** What the boot loader would start now. */
  get chosen(): string | undefined {
    const { kernels } = this;
    return [this.written.next, this.written.pinned].find((abi) => abi && kernels.includes(abi)) ?? kernels.at(-1);
  }

  /** False when there is no such kernel. */
  pin(abi: string, once: boolean, by: string): boolean {
    if (!this.kernels.includes(abi)) return false;
    this.#node.enter('boot.pin');
    this.#change('boot.pin', once ? { ...this.pins, next: abi } : { ...this.pins, pinned: abi }, by);
    return true;
  }

  unpin(once: boolean, by: string): void {
    this.#node.enter('boot.unpin');
    const { pinned, next } = this.pins;
    this.#change('boot.unpin', once ? (pinned ? { pinned } : {}) : next ? { next } : {}, by);
  }

  refresh(by: string): void {
    this.#node.enter('boot.refresh');
    const before = this.written;
    this.sync();
    this.#node.record('boot.refresh', by, { before, after: this.written, detail: { boots: this.chosen } });
  }

  sync(): void {
    this.written = { ...this.pins };
  }

  /** The pin for one boot is used up by it. */
  booted(): void {
    if (this.written.next === undefined && this.pins.next === undefined) return;
    const { pinned } = this.pins;
    this.pins = pinned ? { pinned } : {};
    this.sync();
  }

  #change(effect: 'boot.pin' | 'boot.unpin', after: Pins, by: string): void {
    const before = this.pins;
    this.pins = after;
    this.#node.record(effect, by, { before, after });
  }
}
