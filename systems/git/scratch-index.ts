import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

/** Trees are built in an index of their own: a person's work tree and staged changes are never part of a commit of ours. */
export async function withScratchIndex<T>(work: (env: { GIT_INDEX_FILE: string }) => Promise<T>): Promise<T> {
  const scratch = await mkdtemp(join(tmpdir(), 'edge-git-index-'));
  try {
    return await work({ GIT_INDEX_FILE: join(scratch, 'index') });
  } finally {
    await rm(scratch, { recursive: true, force: true });
  }
}
