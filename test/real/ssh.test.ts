import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import { bootId, lines, readInstalled } from '#activities/store/facts.js';
import { parseSimulation } from '#activities/store/packages.js';
import { createSshRunner } from '#systems/ssh/client.js';
import type { SshOptions } from '#systems/ssh/types.js';
import { describeRunner, failureOf, useRunners } from '../contract/systems/ssh/runner-suite.js';
import { opensshLacking, startOpenSsh, type OpenSsh } from './support/openssh.js';
import { isInstalled } from './support/programs.js';
import { SOON } from '../support/soon.js';

const lacking = opensshLacking();
if (lacking) console.warn(lacking);

let sshd: OpenSsh;
const kept = useRunners();
const overSsh = (change: Partial<SshOptions> = {}) => {
  const { host, port, user, privateKey, hostKey } = sshd;
  return kept(createSshRunner({ host, port, user, privateKey, hostKey, ...change }));
};

describe.skipIf(lacking)('with a stock OpenSSH server', () => {
  beforeAll(async () => {
    sshd = await startOpenSsh();
  });
  afterAll(() => sshd?.close());

  describeRunner('over OpenSSH', () => overSsh());

  const logins = async () => (await sshd.log()).match(/Accepted publickey/g)?.length ?? 0;

  describe('its host key', () => {
    it('is the pinned one, whichever others it offers', async () => {
      const before = await logins();
      expect((await overSsh().run(['echo', 'in'])).stdout).toBe('in\n');
      expect(await logins()).toBe(before + 1);
    });

    it('is refused when another one is pinned, before anything is sent', async () => {
      const before = await logins();
      const failure = await failureOf(overSsh({ hostKey: sshd.stranger.publicBlob }).run(['true']));
      expect(failure).toMatchObject({ kind: 'HostKeyMismatch', retryable: false });
      await vi.waitUntil(async () => /\[preauth\]$/m.test(await sshd.log()), SOON);
      expect(await logins()).toBe(before);
    });
  });

  it('does not let a stranger in', async () => {
    const failure = await failureOf(overSsh({ privateKey: sshd.stranger.privateKey }).run(['true']));
    expect(failure).toMatchObject({ kind: 'AuthRefused', retryable: false });
  });

  describe('a link that fails in mid-command', () => {
    /** Says that it began, waits for leave to end, says that it ended. */
    const WORK = 'echo begun > "$0/work"; until [ -e "$0/leave" ]; do sleep 0.05; done; echo ended > "$0/work"';
    const workIn = async (name: string) => {
      const runner = overSsh();
      const folder = join(sshd.folder, name);
      await runner.run(['mkdir', folder]);
      const work = runner.run(['sh', '-c', WORK, folder], { timeoutMs: 60_000 });
      const state = async () => (await runner.run(['cat', join(folder, 'work')])).stdout.trim();
      await vi.waitUntil(async () => (await state()) === 'begun', SOON);
      return { runner, folder, work, state };
    };

    it('leaves its outcome unknown; it goes on, and the next look finds it', async () => {
      const { runner, folder, work, state } = await workIn('cut');
      const failure = failureOf(work);
      sshd.cut();
      expect(await failure).toMatchObject({ kind: 'OutcomeUnknown', retryable: true });
      expect(await state()).toBe('begun');
      await runner.run(['touch', join(folder, 'leave')]);
      await vi.waitUntil(async () => (await state()) === 'ended', SOON);
    });

    it('is noticed without any sign from the other side, and again nothing is called done', async () => {
      const { runner, folder, work, state } = await workIn('mute');
      const failure = failureOf(work);
      sshd.mute();
      expect(await failure).toMatchObject({ kind: 'OutcomeUnknown', retryable: true });
      expect(await state()).toBe('begun');
      await runner.run(['touch', join(folder, 'leave')]);
      await vi.waitUntil(async () => (await state()) === 'ended', SOON);
    });
  });
});

describe.skipIf(lacking ?? !isInstalled('dpkg-query'))('what is read of a Debian node over OpenSSH', () => {
  beforeAll(async () => {
    sshd = await startOpenSsh();
  });
  afterAll(() => sshd?.close());

  it('is its boot id', async () => {
    expect(`${await bootId(overSsh())}\n`).toBe(await readFile('/proc/sys/kernel/random/boot_id', 'utf8'));
  });

  it('are the packages that are installed, and no others', async () => {
    const installed = await readInstalled(overSsh(), ['bash', 'libc6', 'no-such-package']);
    expect(installed).toEqual({
      bash: expect.stringMatching(/^\d/) as string,
      libc6: expect.stringMatching(/^\d/) as string,
    });
  });

  it('is what apt would do, from its simulation', async () => {
    const simulation = parseSimulation(await lines(overSsh(), ['apt-get', '-s', 'remove', 'openssh-server']));
    expect(simulation.remove).toContain('openssh-server');
  });
});
