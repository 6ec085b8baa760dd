import { open } from 'node:fs/promises';
import { join } from 'node:path';
import type { LabEntry } from '#client/cli/lab-client.js';
import type { Practice } from '../support/practice.js';

export type Journal = Awaited<ReturnType<typeof follow>>;

/** The journal of these sites as it grows, from this moment on. From its file: to be asked so often costs the fleet. */
export async function follow(practice: Practice, sites: readonly string[]) {
  const file = await open(join(practice.dir, 'edge', 'lab', 'journal.jsonl'));
  let { size: offset } = await file.stat();
  const entries: LabEntry[] = [];
  return {
    entries,
    async more(): Promise<LabEntry[]> {
      const { size } = await file.stat();
      if (size === offset) return [];
      const { buffer } = await file.read(Buffer.alloc(size - offset), 0, size - offset, offset);
      // The rest of a line that is being written is read the next time.
      const end = buffer.lastIndexOf(0x0a) + 1;
      offset += end;
      const lines = buffer.subarray(0, end).toString('utf8').split('\n').filter(Boolean);
      const own = lines.map((line) => JSON.parse(line) as LabEntry).filter(({ store }) => sites.includes(store));
      entries.push(...own);
      return own;
    },
    close: () => file.close(),
  };
}
