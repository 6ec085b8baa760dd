import { readFile } from 'node:fs/promises';
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import { bootId, lines, readInstalled } from '#activities/store/facts.js';
import { parseSimulation } from '#activities/store/packages.js';
import { upgradeUnit } from '#domain/naming.js';
import { createSshRunner } from '#systems/ssh/client.js';
import type { SshOptions } from '#systems/ssh/types.js';
import { describeRunner, failureOf, useRunners } from '../contract/systems/ssh/runner-suite.js';
import { aNode } from './support/node.js';
import { opensshLacking, startOpenSsh, type OpenSsh } from './support/openssh.js';
import { isInstalled } from './support/programs.js';
import { aReleaseRef, OLD_PACKAGES, PACKAGES } from '../support/builders.js';
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
});

/**
 * What upgrades a node is the product's own code, and OpenSSH is real. systemd, sudo and apt are stand-ins: a systemd takes
 * the machine on which it is started for its own. They run a process that no connection holds, and answer like the real ones.
 */
describe.skipIf(lacking)('an upgrade over OpenSSH whose connection fails in mid-command', () => {
  type Link = 'cut' | 'mute';
  const LINKS: Link[] = ['cut', 'mute'];
  const ENDS = [
    {
      end: 'success',
      fails: undefined,
      answer: { kind: 'done' },
      packages: PACKAGES,
      units: [],
    },
    {
      end: 'failure',
      fails: 'E: Sub-process /usr/bin/dpkg returned an error code (1)',
      answer: {
        kind: 'failed',
        stop: { reason: 'UpgradeFailed', detail: ['E: Sub-process /usr/bin/dpkg returned an error code (1)'] },
      },
      packages: OLD_PACKAGES,
      units: [`${upgradeUnit(aReleaseRef().manifest)}.service`],
    },
  ];
  const cases = LINKS.flatMap((link) => ENDS.map((end) => ({ link, ...end })));

  it.concurrent.each(cases)(
    'runs once, and the next attempt adopts it, when the answer of its start is lost ($link, $end)',
    async ({ link, fails, answer, packages, units }) => {
      const node = await aNode();
      try {
        await node.holdAnswers('systemd-run');
        const first = failureOf(node.upgrade());
        await node.heldAnswers('systemd-run');
        node.sshd[link]();
        expect(await first).toMatchObject({ kind: 'OutcomeUnknown', retryable: true });

        await node.holdAnswers('systemctl');
        const second = node.upgrade();
        // It is told that the unit runs.
        await node.heldAnswers('systemctl');
        await node.aptEnds(fails);
        await node.answersAll();
        expect(await second).toMatchObject(answer);
        expect(await node.runs()).toEqual([expect.stringMatching(/^-y .*dist-upgrade$/)]);
        expect(await node.installed()).toEqual(packages);
        expect(await node.units()).toEqual(units);
      } finally {
        await node.close();
      }
    },
  );

  it.concurrent.each(cases)(
    'runs once, and is looked at again, by another worker too, when the answer of a look is lost ($link, $end)',
    async ({ link, fails, answer, packages, units }) => {
      const node = await aNode();
      try {
        const first = node.upgrade();
        await vi.waitUntil(async () => (await node.runs()).length > 0, SOON);
        await node.holdAnswers('systemctl');
        await node.heldAnswers('systemctl');
        node.sshd[link]();
        await node.answersAll();
        const second = node.upgrade();
        await node.aptEnds(fails);
        expect(await Promise.all([first, second])).toMatchObject([answer, answer]);
        expect(await node.runs()).toHaveLength(1);
        expect(await node.installed()).toEqual(packages);
        expect(await node.units()).toEqual(units);
      } finally {
        await node.close();
      }
    },
  );
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
