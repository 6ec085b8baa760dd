import net from 'node:net';
import { afterAll, afterEach, beforeAll, describe, expect, it, vi } from 'vitest';
import { createSshRunner } from '#systems/ssh/client.js';
import { CommandError } from '#systems/ssh/errors.js';
import type { CommandErrorKind } from '#systems/ssh/errors.js';
import { createLocalRunner } from '#systems/ssh/local.js';
import type { CommandRunner } from '#systems/ssh/types.js';
import { ed25519, startSshd } from './real-sshd.js';
import type { RealSshd } from './real-sshd.js';

let sshd: RealSshd;
beforeAll(async () => {
  sshd = await startSshd();
});
afterAll(() => sshd.close());

const open: CommandRunner[] = [];
const kept = <T extends CommandRunner>(runner: T): T => {
  open.push(runner);
  return runner;
};
afterEach(async () => {
  await Promise.all(open.splice(0).map((runner) => runner.close()));
});

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

async function failureOf(promise: Promise<unknown>): Promise<CommandError> {
  try {
    await promise;
  } catch (error) {
    expect(error).toBeInstanceOf(CommandError);
    return error as CommandError;
  }
  throw new Error('expected a failure');
}
const kindOf = async (promise: Promise<unknown>): Promise<CommandErrorKind> => (await failureOf(promise)).kind;

const implementations: [string, () => CommandRunner][] = [
  ['over SSH', () => overSsh()],
  ['on this machine', () => kept(createLocalRunner())],
];

describe.each(implementations)('a command runner %s', (_name, create) => {
  it('returns what the command printed, as it is', async () => {
    const result = await create().run(['printf', String.raw`a\n b \n`]);
    expect(result).toEqual({ code: 0, stdout: 'a\n b \n', stderr: '' });
  });

  it('hands over arguments without a shell seeing them', async () => {
    const words = ['$HOME', "it's", '; id', '', 'a b', '*', 'ü☃'];
    const result = await create().run(['printf', String.raw`%s\n`, ...words]);
    expect(result.stdout.split('\n').slice(0, -1)).toEqual(words);
  });

  it('treats a non-zero code as a result', async () => {
    const result = await create().run(['sh', '-c', 'echo out; echo err >&2; exit 16']);
    expect(result).toEqual({ code: 16, stdout: 'out\n', stderr: 'err\n' });
  });

  it('says 127 for a program that does not exist', async () => {
    expect((await create().run(['no-such-program-here'])).code).toBe(127);
  });

  it('gives the command its standard input and closes it', async () => {
    const text = `${'ä'.repeat(100_000)}\nend`;
    expect((await create().run(['cat'], { stdin: text })).stdout).toBe(text);
  });

  it('gives a command without input an end of file, not a terminal to wait at', async () => {
    expect(await create().run(['cat'])).toEqual({ code: 0, stdout: '', stderr: '' });
  });

  it('puts characters together that were split between packets', async () => {
    const result = await create().run(['sh', '-c', String.raw`printf '\342'; sleep 0.05; printf '\230\203'`]);
    expect(result.stdout).toBe('☃');
  });

  it('runs commands side by side', async () => {
    const runner = create();
    const results = await Promise.all(Array.from({ length: 8 }, (_, i) => runner.run(['echo', String(i)])));
    expect(results.map((result) => result.stdout.trim())).toEqual(['0', '1', '2', '3', '4', '5', '6', '7']);
  });

  it('gives up on a command that does not end', async () => {
    expect(await kindOf(create().run(['sleep', '60'], { timeoutMs: 200 }))).toBe('CommandTimeout');
  });

  it('can be used again after that', async () => {
    const runner = create();
    await failureOf(runner.run(['sleep', '60'], { timeoutMs: 100 }));
    expect((await runner.run(['echo', 'on'])).stdout).toBe('on\n');
  });

  it('gives up when told to', async () => {
    const abort = new AbortController();
    const running = kindOf(create().run(['sleep', '60'], { signal: abort.signal }));
    abort.abort();
    expect(await running).toBe('Aborted');
  });

  it('starts nothing when told to give up before', async () => {
    expect(await kindOf(create().run(['sleep', '60'], { signal: AbortSignal.abort() }))).toBe('Aborted');
  });

  it('keeps no more output than it promises', async () => {
    const flood = create().run(['head', '-c', '12000000', '/dev/zero']);
    expect(await kindOf(flood)).toBe('OutputTooLarge');
  });

  it('runs nothing once it is closed', async () => {
    const runner = create();
    await runner.close();
    expect(await kindOf(runner.run(['echo', 'x']))).toBe('Unreachable');
  });

  it('names the program in its errors and keeps the arguments out', async () => {
    const failure = await failureOf(create().run(['sleep', '60', '--token=canary-secret'], { timeoutMs: 1 }));
    expect(failure.message).toContain('sleep');
    expect(failure.message).not.toContain('canary-secret');
  });
});

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
    await vi.waitUntil(() => sshd.commands.includes('sleep 60'));
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
    await vi.waitFor(async () => expect(await again()).toBe('back\n'));
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
