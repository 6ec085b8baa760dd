import { cp, mkdir, readFile, rm, symlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { ROOT } from '../support/build.js';
import type { SteeringPlan } from './plan.js';
import type { RunKind } from './table.js';

export interface Edit {
  /** Below dist/. */
  file: string;
  find: string;
  put: string;
}

const STEPS = 'activities/store/node-steps.js';
const OPERATION = 'activities/store/operation.js';
/** What control workers run of the workflows; the files that it was made of are not read. */
const WORKFLOWS = 'workflow-bundle.js';

/** A build that lacks a safeguard. */
export interface Broken {
  edits: readonly Edit[];
  /** Kinds of run that get to the place. */
  kinds: readonly RunKind[];
  /** Only runs get there in which people say this to a part of the train. */
  told?: SteeringPlan['how'];
  /** Rules that only what it lacks would break: any other finding is no sign that the suite has noticed. */
  shows: readonly string[];
}

const NO_LOOK: Edit = {
  file: 'activities/backup/dump.js',
  find: 'has = await backedUp(task, target);',
  put: 'has = [];',
};

const PATCHES: readonly RunKind[] = ['train', 'meeting'];

/**
 * Builds that lack one of the safeguards. The suite has to catch each of them, or it would not have noticed that the
 * safeguard is gone.
 */
export const BROKEN_BUILDS = {
  'no-fence': {
    edits: [
      { file: OPERATION, find: 'const notOurs = staleness(task);', put: 'const notOurs = undefined;' },
      { file: OPERATION, find: 'return task.fence <= held.fence ?', put: 'return task.fence < 0 ?' },
    ],
    kinds: PATCHES,
    // Two that both think the store is theirs: each does what the other has done, or takes its marks away.
    shows: ['one-holder', 'nothing-twice', 'one-node-at-a-time', 'maintenance-first', 'nothing-left-set'],
  },
  'no-adoption': {
    edits: [
      {
        file: STEPS,
        find: "const recorded = state.step(key)?.intent?.['bootId'];",
        put: 'const recorded = undefined;',
      },
    ],
    kinds: PATCHES,
    shows: ['nothing-twice'],
  },
  'no-undo': {
    edits: [
      {
        file: OPERATION,
        find: 'const { undone, leftSet } = await undo(held.marks);',
        put: 'const { undone, leftSet } = { undone: [], leftSet: [] };',
      },
    ],
    kinds: PATCHES,
    shows: ['nothing-left-set'],
  },
  'no-recheck': {
    edits: [
      {
        file: STEPS,
        find: "if (decision.kind === 'proceed')\n            return { node",
        put: 'if (decision)\n            return { node',
      },
    ],
    kinds: PATCHES,
    shows: ['clean-before-reboot', 'empty-before-reboot', 'one-node-at-a-time', 'quorum-kept'],
  },
  'blind-post': {
    edits: [
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
    kinds: PATCHES,
    shows: ['nothing-twice'],
  },
  'ignored-pause': {
    edits: [
      {
        file: WORKFLOWS,
        find: 'const mayStart = () => !steering.paused && !aborted',
        put: 'const mayStart = () => !aborted',
      },
      {
        file: WORKFLOWS,
        find: 'const able = waiting.filter(({ id }) => !steering.pausedStores.includes(id));',
        put: 'const able = waiting;',
      },
      { file: WORKFLOWS, find: 'if (!state.paused || state.stop)', put: 'if (state)' },
    ],
    kinds: PATCHES,
    told: 'pause',
    shows: ['steered'],
  },
  'no-vzdump-adoption': {
    edits: [
      {
        file: 'activities/backup/dump.js',
        find: 'const known = intent && (intent.upid ?? (await search(task, key, intent)));',
        put: 'const known = undefined;',
      },
      NO_LOOK,
    ],
    kinds: ['night', 'restores', 'meeting'],
    shows: ['dumped-twice'],
  },
  'no-removal': {
    edits: [
      {
        file: 'activities/restore/remove.js',
        find: 'const found = await findGuest(deps, task.as);',
        put: 'const found = undefined;',
      },
    ],
    kinds: ['restores'],
    shows: ['nothing-restored-left'],
  },
} as const satisfies Record<string, Broken>;

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
