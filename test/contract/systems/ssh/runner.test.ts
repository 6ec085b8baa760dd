import net from 'node:net';
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import { createSshRunner } from '#systems/ssh/client.js';
import { createLocalRunner } from '#systems/ssh/local.js';
import { ed25519, startShellServer } from './shell-server.js';
import type { ShellServer } from './shell-server.js';
import { describeRunner, failureOf, kindOf, useRunners } from './runner-suite.js';
import { SOON } from '../../../support/soon.js';

let sshd: ShellServer;
beforeAll(async () => {
  sshd = await startShellServer();
});
afterAll(() => sshd.close());

const kept = useRunners();

const overSsh = (options: { hostKey?: string; privateKey?: string; port?: number; connectTimeoutMs?: number } = {}) =>
  kept(
    createSshRunner({
      host: sshd.host,
      port: sshd.port,
      user: 'edge-governor',
      privateKey: sshd.userKey,
      hostKey: sshd.hostKey,
      ...options,
    }),
  );

describeRunner('over SSH', () => overSsh());
describeRunner('on this machine', () => kept(createLocalRunner()));

describe('the SSH runner', () => {
  it('connects once for many commands', async () => {
    const before = sshd.sessions();
    const runner = overSsh();
    await Promise.all([runner.run(['true']), runner.run(['true']), runner.run(['true'])]);
    await runner.run(['true']);
    expect(sshd.sessions() - before).toBe(1);
  });

  it('sends nothing to a host with another key', async () => {
    const before = sshd.sessions();
    const other = ed25519().public.split(' ')[1] ?? '';
    expect(await failureOf(overSsh({ hostKey: other }).run(['true']))).toMatchObject({
      kind: 'HostKeyMismatch',
      retryable: false,
    });
    expect(sshd.sessions()).toBe(before);
  });

  it('makes no connection without a pinned key', () => {
    expect(() => overSsh({ hostKey: '' })).toThrow(/No host key is pinned/);
  });

  it('says so when its own key is not accepted', async () => {
    expect(await kindOf(overSsh({ privateKey: ed25519().private }).run(['true']))).toBe('AuthRefused');
  });

  it('is Unreachable when nothing listens: nothing ran', async () => {
    const free = net.createServer();
    await new Promise<void>((resolve) => free.listen(0, '127.0.0.1', resolve));
    const { port } = free.address() as net.AddressInfo;
    await new Promise((resolve) => free.close(resolve));
    expect(await failureOf(overSsh({ port }).run(['true']))).toMatchObject({ kind: 'Unreachable', retryable: true });
  });

  it('is Unreachable when what listens says nothing', async () => {
    const mute = net.createServer();
    await new Promise<void>((resolve) => mute.listen(0, '127.0.0.1', resolve));
    const { port } = mute.address() as net.AddressInfo;
    expect(await kindOf(overSsh({ port, connectTimeoutMs: 200 }).run(['true']))).toBe('Unreachable');
    mute.close();
  });

  it('does not know the outcome when the link is cut in the middle', async () => {
    const runner = overSsh();
    await runner.run(['true']);
    const running = kindOf(runner.run(['sleep', '60']));
    await vi.waitUntil(() => sshd.commands.includes('sleep 60'), SOON);
    sshd.cut();
    expect(await running).toBe('OutcomeUnknown');
  });

  it('does not know the outcome when the shell there was killed', async () => {
    expect(await kindOf(overSsh().run(['sh', '-c', 'kill -9 $PPID']))).toBe('OutcomeUnknown');
  });

  it('connects anew after the link was cut', async () => {
    const runner = overSsh();
    await runner.run(['true']);
    const before = sshd.sessions();
    sshd.cut();
    const again = async () => (await runner.run(['echo', 'back'])).stdout;
    // The cut may not have been noticed yet by the first command after it.
    await vi.waitFor(async () => expect(await again()).toBe('back\n'), SOON);
    expect(sshd.sessions() - before).toBe(1);
  });
});

describe('the local runner', () => {
  it('does not know the outcome of a command that a signal ended', async () => {
    expect(await kindOf(kept(createLocalRunner()).run(['sh', '-c', 'kill -9 $$']))).toBe('OutcomeUnknown');
  });

  it('adds its own environment', async () => {
    const runner = kept(createLocalRunner({ env: { EDGE_TEST: 'yes' } }));
    expect((await runner.run(['sh', '-c', 'echo $EDGE_TEST'])).stdout).toBe('yes\n');
  });
});
