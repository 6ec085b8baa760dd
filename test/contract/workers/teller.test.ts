import { execFileSync } from 'node:child_process';
import { chmod, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import pino from 'pino';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { parseDocument } from 'yaml';
import { initRepo } from '#client/repo/template.js';
import type { Notification } from '#domain/messages/train.js';
import { openGitRepo } from '#systems/git/repo.js';
import { createTeller } from '#workers/teller.js';

const notification: Notification = {
  event: 'approval-needed',
  fleet: 'edge',
  train: '2026-w48',
  stage: 'canary',
  reason: 'ApprovalPending',
  summary: 'Stage canary asks for an approval.',
  answers: ['approve', 'reject'],
};

let dir: string;
let repoDir: string;
beforeEach(async () => {
  dir = await mkdtemp(join(tmpdir(), 'edge-teller-'));
  repoDir = join(dir, 'repo');
  await initRepo(repoDir, { stores: 4 });
});
afterEach(() => rm(dir, { recursive: true, force: true }));

/** A repo whose fleet.yaml names this shell script as the command. */
async function telling(script: string, args: string[] = []) {
  const program = join(dir, 'tell');
  await writeFile(program, `#!/bin/sh\n${script}\n`);
  await chmod(program, 0o755);
  await commitFleet((fleet) => fleet.setIn(['notify', 'command'], [program, ...args]));
  return createTeller({ repo: openGitRepo({ dir: repoDir }), branch: 'main', log: pino({ enabled: false }) });
}

async function commitFleet(change: (fleet: ReturnType<typeof parseDocument>) => void): Promise<void> {
  const file = join(repoDir, 'fleet.yaml');
  const fleet = parseDocument(await readFile(file, 'utf8'));
  change(fleet);
  await writeFile(file, fleet.toString());
  const who = ['-c', 'user.name=Ann', '-c', 'user.email=ann@example.org'];
  execFileSync('git', ['-C', repoDir, ...who, 'commit', '--quiet', '--all', '--message', 'Tell people']);
}

describe('the notify command', () => {
  it('gets the notification as JSON on its standard input, and its own arguments', async () => {
    const tell = await telling(`cat > ${dir}/said; echo "$1" > ${dir}/args`, ['#ops; reboot']);
    await tell(notification);
    expect(JSON.parse(await readFile(join(dir, 'said'), 'utf8'))).toEqual(notification);
    expect(await readFile(join(dir, 'args'), 'utf8')).toBe('#ops; reboot\n');
  });

  it('gets nothing of the environment but PATH and HOME', async () => {
    const tell = await telling(`env > ${dir}/env`);
    process.env['EDGE_TEST_SECRET'] = 'canary-secret';
    try {
      await tell(notification);
    } finally {
      delete process.env['EDGE_TEST_SECRET'];
    }
    const names = (await readFile(join(dir, 'env'), 'utf8'))
      .trim()
      .split('\n')
      .map((line) => line.split('=')[0]);
    // The shell adds these by itself.
    expect(names.filter((name) => !['PWD', 'SHLVL', '_', 'OLDPWD'].includes(name ?? '')).toSorted()).toEqual([
      'HOME',
      'PATH',
    ]);
  });

  it('that fails is a failure, so that it is tried again', async () => {
    const tell = await telling('echo "no such channel" >&2; exit 3');
    await expect(tell(notification)).rejects.toThrow(/exit code 3/);
  });

  it('is the one that the repo names at that moment, and none is no failure', async () => {
    const tell = await telling(`touch ${dir}/first`);
    await commitFleet((fleet) => fleet.deleteIn(['notify', 'command']));
    await tell(notification);
    await expect(readFile(join(dir, 'first'))).rejects.toMatchObject({ code: 'ENOENT' });
  });

  it('cannot be found in a repo that is not valid, which is an error and not silence', async () => {
    const tell = await telling('exit 0');
    await commitFleet((fleet) => fleet.setIn(['stages'], 'none'));
    await expect(tell(notification)).rejects.toThrow(/Nobody was told: fleet\.yaml .* is not valid/);
  });
});
