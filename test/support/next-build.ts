import { createHash } from 'node:crypto';
import { cp, mkdtemp, readFile, rename, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect } from 'vitest';
import { buildOnce, ROOT } from './build.js';

/** A copy of the build that a service runs from, which becomes the next version of it under the service's feet. */
export interface NextBuild {
  /** Its dist/. */
  dist: string;
  /** What a control worker that starts now announces as its build. */
  buildId(): Promise<string>;
  bundle(): Promise<string>;
  /** Whoever starts from now on has these workflows; who runs keeps what it has read. */
  replaceBundle(code: string): Promise<void>;
  /** The same, of another file below dist/. */
  replace(file: string, change: (code: string) => string): Promise<void>;
  remove(): Promise<void>;
}

export async function copyOfBuild(): Promise<NextBuild> {
  await buildOnce();
  const root = await mkdtemp(join(tmpdir(), 'edge-another-build-'));
  const dist = join(root, 'dist');
  await cp(join(ROOT, 'dist'), dist, { recursive: true });
  await cp(join(ROOT, 'package.json'), join(root, 'package.json'));
  await symlink(join(ROOT, 'node_modules'), join(root, 'node_modules'));

  const read = (file: string) => readFile(join(dist, file), 'utf8');
  const put = async (file: string, text: string) => {
    await writeFile(join(dist, `${file}.new`), text);
    await rename(join(dist, `${file}.new`), join(dist, file));
  };
  const marks = async () => JSON.parse(await read('workflow-bundle.json')) as { sha256: string };
  return {
    dist,
    buildId: async () => (await marks()).sha256.slice(0, 12),
    bundle: () => read('workflow-bundle.js'),
    async replaceBundle(code) {
      const sha256 = createHash('sha256').update(code).digest('hex');
      await put('workflow-bundle.js', code);
      await put('workflow-bundle.json', JSON.stringify({ ...(await marks()), sha256 }));
    },
    replace: async (file, change) => put(file, change(await read(file))),
    remove: () => rm(root, { recursive: true, force: true }),
  };
}

/** Fails when the text does not stand in the code exactly once: the test is to be brought up to date. */
export function replacedOnce(code: string, text: string, by: string): string {
  expect(code.split(text).length, `${text} stands in the build once`).toBe(2);
  return code.replace(text, () => by);
}
