import { vi } from 'vitest';
import type { PbsSim } from '#lab/world/pbs/pbs-sim.js';
import type { Task } from '#lab/world/tasks.js';

/** The central server, with copies of more stores than the practice fleet of a test has, and verifications that end when a test says so. */

const DATASTORE = 'offsite';

/** Each of them has one copy of one guest: that of a guest of store-001. */
export function copyForEach(central: PbsSim, stores: readonly string[]): void {
  const copies = central.datastore(DATASTORE);
  const [copied] = copies.groups('store-001');
  const snapshot = copied?.snapshots[0];
  if (!copied || !snapshot) throw new Error('The central server has no copy of store-001.');
  for (const ns of stores) {
    copies.addNamespace('', ns);
    const { type, id, owner } = copied;
    const { verification: _, ...unverified } = snapshot;
    copies.adopt(copies.groupFor({ ns, type, id, owner }), unverified);
  }
}

export function endByHand({ timing }: PbsSim): void {
  const real = timing.of.bind(timing);
  vi.spyOn(timing, 'of').mockImplementation((name) => (name === 'verifySnapshot' ? 3_600_000 : real(name)));
}

/** The verification that runs for longest ends, well or badly. */
export function endOne({ tasks }: PbsSim): void {
  const upid = tasks.running.find(({ type }) => type === 'verify_snapshot')?.upid ?? '';
  // Each half of it.
  tasks.finish(upid);
  tasks.finish(upid);
}

/** Whose copy it verifies. */
export const storeOf = ({ id }: Task): string => /store-\d+/.exec(id)?.[0] ?? '';
