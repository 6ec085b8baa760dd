import { execFileSync } from 'node:child_process';
import { mkdir, mkdtemp, readdir, readFile, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join, relative } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterEach, beforeEach, describe, expect, it, onTestFinished, vi } from 'vitest';
import { checkRepo, folderSource } from '#client/repo/check.js';
import { initRepo, renderRepo } from '#client/repo/template.js';

const EXAMPLE = fileURLToPath(new URL('../../../../examples/edge-infra', import.meta.url));

let root: string;
beforeEach(async () => {
  root = await mkdtemp(join(tmpdir(), 'edge-repo-'));
});
afterEach(() => rm(root, { recursive: true, force: true }));
const git = (dir: string, ...args: string[]): string =>
  execFileSync('git', ['-C', dir, ...args])
    .toString()
    .trim();

describe('the example repo', () => {
  it('passes the check as it lies in the folder', async () => {
    const { problems, stores, fleet } = await checkRepo(folderSource(EXAMPLE));
    expect(problems).toEqual([]);
    expect([fleet?.fleet, stores.length]).toEqual(['example', 8]);
  });

  it('is what the template writes, file by file', async () => {
    const rendered = renderRepo({ stores: 8, fleet: 'example' });
    const entries = await readdir(EXAMPLE, { recursive: true, withFileTypes: true });
    const present = entries
      .filter((entry) => entry.isFile())
      .map((entry) => relative(EXAMPLE, join(entry.parentPath, entry.name)));
    expect(present.toSorted()).toEqual([...rendered.keys()].toSorted());
    for (const [path, content] of rendered) expect(await readFile(join(EXAMPLE, path), 'utf8')).toBe(content);
  });
});

describe('initRepo', () => {
  it('writes a repo with one commit on main that passes its check', async () => {
    const dir = join(root, 'new', 'edge-infra');
    const commit = await initRepo(dir, { stores: 3, lab: true, compressed: true });
    expect(git(dir, 'rev-parse', 'main')).toBe(commit);
    expect(git(dir, 'status', '--porcelain')).toBe('');
    expect(git(dir, 'log', '--format=%an: %s')).toBe('edge-governor: Lay out the fleet: 3 stores');
    const { problems, stores } = await checkRepo(folderSource(dir));
    expect([problems, stores.length]).toEqual([[], 3]);
  });

  it('says that git is missing before it makes anything', async () => {
    vi.stubEnv('PATH', root);
    onTestFinished(() => void vi.unstubAllEnvs());
    await expect(initRepo(join(root, 'new'), { stores: 3 })).rejects.toThrow('git does not run here. Install git.');
    expect(await readdir(root)).toEqual([]);
  });

  it('never writes into a folder that holds something', async () => {
    await writeFile(join(root, 'mine'), 'mine');
    await expect(initRepo(root, { stores: 3 })).rejects.toThrow(/is not empty/);
    expect(await folderSource(root).list()).toEqual([{ path: 'mine', size: 4 }]);
  });
});

describe('a folder as a source', () => {
  it('has its own files and those of the folders that are checked, and no links', async () => {
    for (const folder of ['.git', 'node_modules', 'clusters/store-001'])
      await mkdir(join(root, folder), { recursive: true });
    for (const file of ['.git/config', 'node_modules/x', 'clusters/store-001/store.yaml', 'a'])
      await writeFile(join(root, file), 'x');
    await symlink('/etc/passwd', join(root, 'fleet.yaml'));
    await symlink('/etc', join(root, 'clusters/store-002'));
    const listed = await folderSource(root).list();
    expect(listed.map(({ path }) => path).toSorted()).toEqual(['a', 'clusters/store-001/store.yaml']);
  });
});
