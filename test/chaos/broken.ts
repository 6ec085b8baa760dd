import { cp, mkdir, readFile, rm, symlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { ROOT } from '../support/build.js';

export interface Edit {
  /** Below dist/. */
  file: string;
  find: string;
  put: string;
}

const STEPS = 'activities/store/node-steps.js';
const OPERATION = 'activities/store/operation.js';

/**
 * Builds that lack one of the safeguards. The suite has to catch each of them, or it would not have noticed that the
 * safeguard is gone.
 */
export const BROKEN_BUILDS = {
  'no-fence': [
    { file: OPERATION, find: 'const notOurs = staleness(task);', put: 'const notOurs = undefined;' },
    { file: OPERATION, find: 'return task.fence <= held.fence ?', put: 'return task.fence < 0 ?' },
  ],
  'no-adoption': [
    { file: STEPS, find: "const recorded = state.step(key)?.intent?.['bootId'];", put: 'const recorded = undefined;' },
  ],
  'no-undo': [
    {
      file: OPERATION,
      find: 'const { undone, leftSet } = await undo(held.marks);',
      put: 'const { undone, leftSet } = { undone: [], leftSet: [] };',
    },
  ],
  'no-recheck': [
    {
      file: STEPS,
      find: "if (decision.kind === 'proceed')\n            return { node",
      put: 'if (decision)\n            return { node',
    },
  ],
  'blind-post': [
    {
      file: 'systems/proxmox/client.js',
      find: "await api.post(`/nodes/${segment(node)}/status`, { command: 'reboot' });",
      put: `for (;;) {
                try {
                    await api.post(\`/nodes/\${segment(node)}/status\`, { command: 'reboot' });
                    return;
                } catch (error) {
                    await new Promise((again) => setTimeout(again, 100));
                }
            }`,
    },
  ],
} as const satisfies Record<string, Edit[]>;

export type BrokenBuild = keyof typeof BROKEN_BUILDS;
export const BROKEN_NAMES = Object.keys(BROKEN_BUILDS) as BrokenBuild[];

/** A copy of dist/ with these edits, in which it is run. Throws when the place of an edit is not found exactly once. */
export async function makeBuild(dir: string, edits: readonly Edit[]): Promise<string> {
  await rm(dir, { recursive: true, force: true });
  await mkdir(dir, { recursive: true });
  await cp(join(ROOT, 'dist'), join(dir, 'dist'), { recursive: true });
  await cp(join(ROOT, 'package.json'), join(dir, 'package.json'));
  await symlink(join(ROOT, 'node_modules'), join(dir, 'node_modules'));
  for (const { file, code } of await edited(edits)) await writeFile(join(dir, 'dist', file), code);
  return dir;
}

/** The files of dist/ as the edits leave them. Throws when the place of an edit is not found exactly once. */
export async function edited(edits: readonly Edit[]): Promise<{ file: string; code: string }[]> {
  const codes = new Map<string, string>();
  for (const { file, find, put } of edits) {
    const code = codes.get(file) ?? (await readFile(join(ROOT, 'dist', file), 'utf8'));
    const times = code.split(find).length - 1;
    if (times !== 1)
      throw new Error(
        `This build cannot be made: dist/${file} has ${times} places like "${find}", not one. Bring test/chaos up to date.`,
      );
    codes.set(
      file,
      code.replace(find, () => put),
    );
  }
  return [...codes].map(([file, code]) => ({ file, code }));
}
