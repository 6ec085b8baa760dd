import { execa } from 'execa';
import { existsSync } from 'node:fs';
import { chmod, mkdir, mkdtemp, readFile, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { openGitRepo } from '#systems/git/repo.js';
import type { GitRepo } from '#systems/git/types.js';

const GIT_ENV = {
  GIT_CONFIG_GLOBAL: '/dev/null',
  GIT_AUTHOR_NAME: 'Ann',
  GIT_AUTHOR_EMAIL: 'ann@example.org',
  GIT_COMMITTER_NAME: 'Ann',
  GIT_COMMITTER_EMAIL: 'ann@example.org',
};

const promotion = {
  branch: 'main',
  tag: 'edge/2026-w48/canary',
  file: 'promotions/2026-w48/canary.json',
  content: '{"release":"2026.48.0"}\n',
  message: 'Promote 2026.48.0 to canary',
};

let root: string;
let work: string;
const git = async (dir: string, ...args: string[]): Promise<string> =>
  (await execa('git', ['-C', dir, ...args], { env: GIT_ENV })).stdout;

beforeEach(async () => {
  root = await mkdtemp(join(tmpdir(), 'edge-git-'));
  work = join(root, 'work');
  await execa('git', ['init', '-q', '-b', 'main', work], { env: GIT_ENV });
  await mkdir(join(work, 'clusters', 'store-001'), { recursive: true });
  await writeFile(join(work, 'fleet.yaml'), 'fleet: north\n');
  await writeFile(join(work, 'clusters', 'store-001', 'store.yaml'), 'id: store-001\n');
  await writeFile(join(work, 'clusters', 'store-001', 'bin.dat'), Buffer.from([0, 10, 255, 10]));
  await symlink('/etc/passwd', join(work, 'clusters', 'store-001', 'link'));
  await git(work, 'add', '-A');
  await git(work, 'commit', '-q', '-m', 'first');
});
afterEach(() => rm(root, { recursive: true, force: true }));

async function asBare(): Promise<string> {
  const bare = join(root, 'bare.git');
  await git(root, 'clone', '-q', '--bare', work, bare);
  return bare;
}

describe.each(['work tree', 'bare'])('a GitOps repo, %s', (form) => {
  let dir: string;
  let repo: GitRepo;
  beforeEach(async () => {
    dir = form === 'bare' ? await asBare() : work;
    repo = openGitRepo({ dir });
  });

  it('reads what a commit holds, not what lies in the folder', async () => {
    const head = await repo.head('main');
    await writeFile(join(work, 'fleet.yaml'), 'fleet: other\n');
    expect((await repo.read(head, 'fleet.yaml', 100)).toString()).toBe('fleet: north\n');
  });

  it('lists files with their sizes, below a folder or all, without links', async () => {
    const head = await repo.head('main');
    expect(await repo.list(head, '')).toEqual([
      { path: 'clusters/store-001/bin.dat', size: 4 },
      { path: 'clusters/store-001/store.yaml', size: 14 },
      { path: 'fleet.yaml', size: 13 },
    ]);
    expect(await repo.list(head, 'clusters/store-001')).toHaveLength(2);
    expect(await repo.list(head, 'clusters/store')).toEqual([]);
    expect(await repo.list(head, 'nowhere')).toEqual([]);
  });

  it('reads many files in one go, byte for byte, and leaves missing ones out', async () => {
    const head = await repo.head('main');
    const files = await repo.readMany(head, ['clusters/store-001/bin.dat', 'no such', 'fleet.yaml'], 100);
    expect([...files.keys()]).toEqual(['clusters/store-001/bin.dat', 'fleet.yaml']);
    expect(files.get('clusters/store-001/bin.dat')).toEqual(Buffer.from([0, 10, 255, 10]));
    expect(await repo.readMany(head, [], 100)).toEqual(new Map());
  });

  it('says what is missing or too large', async () => {
    const head = await repo.head('main');
    await expect(repo.read(head, 'nope', 10)).rejects.toMatchObject({ kind: 'FileMissing' });
    await expect(repo.read(head, 'clusters', 10)).rejects.toMatchObject({ kind: 'FileMissing' });
    await expect(repo.read(head, 'fleet.yaml', 12)).rejects.toMatchObject({ kind: 'FileTooLarge' });
    await expect(repo.head('nope')).rejects.toMatchObject({ kind: 'RefMissing' });
    await expect(repo.read('0'.repeat(40), 'fleet.yaml', 10)).rejects.toMatchObject({ kind: 'RefMissing' });
    await expect(repo.list('0'.repeat(40), '')).rejects.toMatchObject({ kind: 'RefMissing' });
  });

  it('knows which commits are on the branch', async () => {
    const head = await repo.head('main');
    const loose = await git(dir, 'commit-tree', `${head}^{tree}`, '-m', 'loose');
    expect(await repo.contains('main', head)).toBe(true);
    expect(await repo.contains('main', loose)).toBe(false);
    expect(await repo.contains('main', '0'.repeat(40))).toBe(false);
  });

  it('promotes: one commit with the file and one annotated tag, by edge-governor', async () => {
    const before = await repo.head('main');
    const commit = await repo.promote(promotion);
    expect(await repo.head('main')).toBe(commit);
    expect(await repo.tagCommit(promotion.tag)).toBe(commit);
    expect(await git(dir, 'rev-parse', `${commit}^`)).toBe(before);
    expect(await git(dir, 'cat-file', '-t', promotion.tag)).toBe('tag');
    expect(await git(dir, 'show', '-s', '--format=%an|%cn|%s', commit)).toBe(
      'edge-governor|edge-governor|Promote 2026.48.0 to canary',
    );
    expect(await git(dir, 'diff', '--name-status', before, commit)).toBe(`A\t${promotion.file}`);
    expect((await repo.read(commit, promotion.file, 100)).toString()).toBe(promotion.content);
    await git(dir, 'fsck', '--strict');
  });

  it('promotes once: a second call writes nothing and returns the same commit', async () => {
    const first = await repo.promote(promotion);
    expect(await repo.promote({ ...promotion, content: 'other', message: 'other' })).toBe(first);
    expect(await repo.head('main')).toBe(first);
  });

  it('after a crash between commit and tag it finds the commit and writes the tag', async () => {
    const first = await repo.promote(promotion);
    await git(dir, 'update-ref', '-d', `refs/tags/${promotion.tag}`);
    await repo.promote({ ...promotion, tag: 'edge/2026-w48/canary2', file: 'promotions/2.json' });
    const tip = await repo.head('main');
    expect(await repo.promote(promotion)).toBe(first);
    expect(await repo.head('main')).toBe(tip);
    expect(await repo.tagCommit(promotion.tag)).toBe(first);
  });

  it('does not mistake a longer tag or a quoted line for its own commit', async () => {
    await repo.promote({ ...promotion, tag: `${promotion.tag}0`, file: 'promotions/10.json' });
    await repo.promote({
      ...promotion,
      tag: 'edge/x/y',
      file: 'promotions/x.json',
      message: `As said before:\n\nEdge-Promotion: ${promotion.tag}\n\nand so on.`,
    });
    const before = await repo.head('main');
    const commit = await repo.promote(promotion);
    expect(await git(dir, 'rev-parse', `${commit}^`)).toBe(before);
  });

  it('gives one commit to many calls at the same time, and loses none of different ones', async () => {
    const same = await Promise.all([1, 2, 3].map(() => openGitRepo({ dir }).promote(promotion)));
    expect(new Set(same).size).toBe(1);
    const stages = ['a', 'b', 'c', 'd'];
    await Promise.all(
      stages.map((name) =>
        openGitRepo({ dir }).promote({ ...promotion, tag: `edge/t/${name}`, file: `p/${name}.json` }),
      ),
    );
    const files = (await repo.list(await repo.head('main'), 'p')).map(({ path }) => path);
    expect(files).toEqual(stages.map((name) => `p/${name}.json`));
  });

  it('takes up what someone else committed meanwhile', async () => {
    const tip = await repo.head('main');
    const other = await git(dir, 'commit-tree', `${tip}^{tree}`, '-p', tip, '-m', 'other');
    await git(dir, 'update-ref', 'refs/heads/main', other);
    const commit = await repo.promote(promotion);
    expect(await git(dir, 'rev-parse', `${commit}^`)).toBe(other);
  });

  describe('reverts the promotions of a train', () => {
    const rollback = {
      branch: 'main',
      promotions: 'edge/2026-w48',
      tag: 'edge/2026-w48/rollback',
      message: 'Roll back 2026-w48',
    };
    const wave = {
      ...promotion,
      tag: 'edge/2026-w48/wave-1',
      file: 'promotions/2026-w48/wave-1.json',
      message: 'Promote 2026.48.0 to wave-1',
    };
    const otherTrain = { ...promotion, tag: 'edge/2026-w480/canary', file: 'promotions/2026-w480/canary.json' };
    const log = async (range: string): Promise<string[]> =>
      (await git(dir, 'log', '--format=%B%x00', range))
        .split('\0')
        .map((text) => text.trim())
        .filter((text) => text !== '');

    it('newest first, one commit each as git revert writes them, and one annotated tag', async () => {
      const start = await repo.head('main');
      const canary = await repo.promote(promotion);
      await repo.promote(otherTrain);
      const wave1 = await repo.promote(wave);
      const before = await repo.head('main');

      const commit = await repo.revertPromotions(rollback);

      expect(await repo.head('main')).toBe(commit);
      expect(await repo.tagCommit(rollback.tag)).toBe(commit);
      expect(await git(dir, 'cat-file', '-t', rollback.tag)).toBe('tag');
      expect(await git(dir, 'tag', '--list', '--format=%(contents)', rollback.tag)).toContain('Roll back 2026-w48');
      expect(await log(`${before}..${commit}`)).toEqual([
        `Revert "Promote 2026.48.0 to canary"\n\nThis reverts commit ${canary}.\n\nEdge-Rollback: ${rollback.tag}`,
        `Revert "Promote 2026.48.0 to wave-1"\n\nThis reverts commit ${wave1}.\n\nEdge-Rollback: ${rollback.tag}`,
      ]);
      expect(await git(dir, 'diff', '--name-status', start, commit)).toBe(`A\t${otherTrain.file}`);
      await git(dir, 'fsck', '--strict');
    });

    it('with the very tree that git revert makes', async () => {
      await repo.promote(promotion);
      await repo.promote(wave);
      const clone = join(root, 'by-git');
      await git(root, 'clone', '-q', dir, clone);
      await git(clone, 'revert', '--no-edit', 'HEAD', 'HEAD~1');
      const commit = await repo.revertPromotions(rollback);
      expect(await git(dir, 'rev-parse', `${commit}^{tree}`)).toBe(await git(clone, 'rev-parse', 'HEAD^{tree}'));
    });

    it('puts back what a promoted file said before', async () => {
      await repo.promote({ ...promotion, tag: 'edge/2026-w47/canary', content: 'earlier\n' });
      await repo.promote(promotion);
      const commit = await repo.revertPromotions(rollback);
      expect((await repo.read(commit, promotion.file, 100)).toString()).toBe('earlier\n');
    });

    it('once: a second call writes nothing and returns the same commit, later promotions or not', async () => {
      await repo.promote(promotion);
      const commit = await repo.revertPromotions(rollback);
      const later = await repo.promote(otherTrain);
      expect(await repo.revertPromotions({ ...rollback, message: 'other' })).toBe(commit);
      expect(await repo.head('main')).toBe(later);
    });

    it('once for many calls at the same time, beside a promotion that comes in between', async () => {
      await repo.promote(promotion);
      await repo.promote(wave);
      const [first, second] = await Promise.all([
        openGitRepo({ dir }).revertPromotions(rollback),
        openGitRepo({ dir }).revertPromotions(rollback),
        openGitRepo({ dir }).promote(otherTrain),
      ]);
      expect(first).toBe(second);
      expect((await repo.list(await repo.head('main'), 'promotions')).map(({ path }) => path)).toEqual([
        otherTrain.file,
      ]);
      expect((await log('main')).filter((text) => text.startsWith('Revert'))).toHaveLength(2);
    });

    it('after a crash between commits and tag finds the commits and writes the tag', async () => {
      await repo.promote(promotion);
      const commit = await repo.revertPromotions(rollback);
      await git(dir, 'update-ref', '-d', `refs/tags/${rollback.tag}`);
      const tip = await repo.promote(otherTrain);
      expect(await repo.revertPromotions(rollback)).toBe(commit);
      expect(await repo.head('main')).toBe(tip);
    });

    it('leaving out what a person has reverted already', async () => {
      await repo.promote(promotion);
      await repo.promote(wave);
      const clone = join(root, 'by-hand');
      await git(root, 'clone', '-q', dir, clone);
      await git(clone, 'revert', '--no-edit', 'HEAD~1');
      await git(dir, 'fetch', '-q', clone, 'HEAD');
      await git(dir, 'update-ref', 'refs/heads/main', 'FETCH_HEAD');
      const before = await repo.head('main');
      const commit = await repo.revertPromotions(rollback);
      expect(await git(dir, 'rev-parse', `${commit}^`)).toBe(before);
      expect(await repo.list(commit, 'promotions')).toEqual([]);
    });

    it('or writes nothing at all when a promoted file was changed since', async () => {
      const canary = await repo.promote(promotion);
      await repo.promote(wave);
      // A person's change of a promoted file, under a tag of its own.
      await repo.promote({ ...promotion, tag: 'edge/by-hand/x', content: 'mended by hand\n' });
      const before = await repo.head('main');
      await expect(repo.revertPromotions(rollback)).rejects.toMatchObject({
        kind: 'Conflict',
        retryable: false,
        message: `${promotion.file} was changed after commit ${canary.slice(0, 12)} promoted it. Put it back or revert that commit by hand, then try again.`,
      });
      expect(await repo.head('main')).toBe(before);
      expect(await repo.tagCommit(rollback.tag)).toBeUndefined();
    });

    it('and says so when there are none', async () => {
      await repo.promote(otherTrain);
      await expect(repo.revertPromotions(rollback)).rejects.toMatchObject({
        kind: 'RefMissing',
        message: 'The branch main has no promotion below edge/2026-w48/ to revert.',
      });
    });
  });

  it('runs no hook of the repo', async () => {
    const hooks = join(dir, form === 'bare' ? 'hooks' : '.git/hooks');
    const witness = join(root, 'hook-ran');
    await mkdir(hooks, { recursive: true });
    for (const name of ['pre-commit', 'post-commit', 'reference-transaction', 'post-index-change', 'post-checkout']) {
      await writeFile(join(hooks, name), `#!/bin/sh\ntouch ${witness}\n`);
      await chmod(join(hooks, name), 0o755);
    }
    await repo.promote(promotion);
    expect(existsSync(witness)).toBe(false);
    // The hook is a working one: plain git runs it.
    await git(dir, 'update-ref', 'refs/heads/probe', await repo.head('main'));
    expect(existsSync(witness)).toBe(true);
  });
});

describe('a GitOps repo that someone works in', () => {
  it.each([
    ['a change', () => writeFile(join(work, 'fleet.yaml'), 'fleet: in-work\n')],
    ['a staged change', () => writeFile(join(work, 'fleet.yaml'), 'x\n').then(() => git(work, 'add', 'fleet.yaml'))],
    ['a new file', () => writeFile(join(work, 'clusters', 'new.yaml'), 'new')],
    ['a file that was removed', () => rm(join(work, 'fleet.yaml'))],
  ])('says that %s is not committed', async (_, change) => {
    expect(await openGitRepo({ dir: work }).hasUncommitted()).toBe(false);
    await change();
    expect(await openGitRepo({ dir: work }).hasUncommitted()).toBe(true);
    expect(await openGitRepo({ dir: await asBare() }).hasUncommitted()).toBe(false);
  });

  it('keeps what is staged and changed there, and adds the promoted file to both', async () => {
    await writeFile(join(work, 'staged.txt'), 'staged');
    await git(work, 'add', 'staged.txt');
    await writeFile(join(work, 'fleet.yaml'), 'fleet: in-work\n');
    const commit = await openGitRepo({ dir: work }).promote(promotion);
    expect(await git(work, 'status', '--porcelain')).toBe(' M fleet.yaml\nA  staged.txt');
    expect(await readFile(join(work, promotion.file), 'utf8')).toBe(promotion.content);
    expect(await git(work, 'diff', '--name-only', `${commit}^`, commit)).toBe(promotion.file);
  });

  it('does not write over a file that is already there', async () => {
    await mkdir(join(work, 'promotions', '2026-w48'), { recursive: true });
    await writeFile(join(work, promotion.file), 'mine');
    await openGitRepo({ dir: work }).promote(promotion);
    expect(await readFile(join(work, promotion.file), 'utf8')).toBe('mine');
  });

  const rollback = { branch: 'main', promotions: 'edge/2026-w48', tag: 'edge/2026-w48/rollback', message: 'back' };

  it('takes reverted promotions out of index and folder, and keeps what is staged and changed there', async () => {
    const repo = openGitRepo({ dir: work });
    await repo.promote(promotion);
    await writeFile(join(work, 'staged.txt'), 'staged');
    await git(work, 'add', 'staged.txt');
    await writeFile(join(work, 'fleet.yaml'), 'fleet: in-work\n');
    await repo.revertPromotions(rollback);
    expect(await git(work, 'status', '--porcelain')).toBe(' M fleet.yaml\nA  staged.txt');
    expect(existsSync(join(work, 'promotions'))).toBe(false);
  });

  it('puts an earlier content back into the folder', async () => {
    const repo = openGitRepo({ dir: work });
    await repo.promote({ ...promotion, tag: 'edge/2026-w47/canary', content: 'earlier\n' });
    await repo.promote(promotion);
    await repo.revertPromotions(rollback);
    expect(await readFile(join(work, promotion.file), 'utf8')).toBe('earlier\n');
    expect(await git(work, 'status', '--porcelain')).toBe('');
  });

  it('does not remove a promoted file that the person has changed or staged', async () => {
    const repo = openGitRepo({ dir: work });
    const second = { ...promotion, tag: 'edge/2026-w48/wave-1', file: 'promotions/2026-w48/wave-1.json' };
    await repo.promote(promotion);
    await repo.promote(second);
    await writeFile(join(work, promotion.file), 'mine');
    await writeFile(join(work, second.file), 'staged');
    await git(work, 'add', second.file);
    await repo.revertPromotions(rollback);
    expect(await readFile(join(work, promotion.file), 'utf8')).toBe('mine');
    expect(await readFile(join(work, second.file), 'utf8')).toBe('staged');
    expect(await git(work, 'diff', '--cached', '--name-only')).toBe(second.file);
  });

  it('leaves a work tree on another branch alone', async () => {
    await git(work, 'checkout', '-q', '-b', 'feature');
    await openGitRepo({ dir: work }).promote(promotion);
    expect(await git(work, 'status', '--porcelain')).toBe('');
    expect(existsSync(join(work, promotion.file))).toBe(false);
  });

  it('is not led astray by git variables of the caller', async () => {
    process.env['GIT_DIR'] = '/nowhere';
    try {
      expect(await openGitRepo({ dir: work }).head('main')).toMatch(/^[0-9a-f]{40}$/);
    } finally {
      delete process.env['GIT_DIR'];
    }
  });
});

it('says in a sentence that the folder is not a repo', async () => {
  await mkdir(join(root, 'empty'));
  await expect(openGitRepo({ dir: join(root, 'empty') }).head('main')).rejects.toMatchObject({ kind: 'GitFailed' });
  await expect(openGitRepo({ dir: join(root, 'absent') }).head('main')).rejects.toMatchObject({ kind: 'GitFailed' });
});
