import type { CephFacts } from '#domain/facts.js';

/**
 * Ceph of one store, through a command runner on any node with an admin keyring.
 *
 * Every call has a timeout, since `ceph` hangs without a manager or a quorum. Output is parsed even when the exit code
 * is not zero, because `osd ok-to-stop` says "no" that way. What cannot be parsed throws `CephUnreadable`.
 */
export interface CephClient {
  /** With `room`, how full each OSD is as well, at the price of one more command. */
  facts(options?: { room?: boolean }): Promise<CephFacts>;
  /**
   * One cheap look: everything seems to be up, in and clean. For waiting loops; the proof is `facts()`.
   */
  looksSettled(): Promise<boolean>;
  /** Flags on CRUSH hosts, by host: the cheap proof that a flag was set or is gone. */
  hostFlags(): Promise<Record<string, string[]>>;
  /** Joint answer for all these OSDs. `unknown` when placement groups have no state yet: ask again. */
  osdOkToStop(osds: number[]): Promise<{ answer: 'yes' | 'no' | 'unknown'; detail: string }>;
  monOkToStop(mon: string): Promise<{ answer: 'yes' | 'no'; detail: string }>;
  /** noout on one CRUSH host. Setting what is set, and unsetting what is not, succeeds. */
  setHostNoout(host: string): Promise<void>;
  unsetHostNoout(host: string): Promise<void>;
}
