import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { run } from '#client/cli/main.js';
import { initRepo } from '#client/repo/template.js';
import { useTempDir } from '../../../support/temp-dir.js';
import { fakeIo } from '../../../unit/client/cli/fake-io.js';

const tempDir = useTempDir();

it('a plan is that of what is committed, and says so when the folder has more', async () => {
  const repo = join(await tempDir(), 'edge-infra');
  await initRepo(repo, { stores: 3 });
  const plan = async () => {
    const io = fakeIo({ cwd: repo });
    expect(await run(['train', 'plan', '--repo', repo, '--no-ask'], io)).toBe(0);
    return io;
  };
  const before = await plan();
  expect(before.stderr()).toBe('');
  await writeFile(join(repo, 'fleet.yaml'), 'not valid');
  const after = await plan();
  expect(after.stderr()).toBe(
    `${repo} has changes that are not committed. A train takes what is; so does this plan.\n`,
  );
  expect(after.stdout()).toBe(before.stdout());
});
