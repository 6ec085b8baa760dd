import { afterEach, describe, expect, it } from 'vitest';
import { CommandError } from '#systems/ssh/errors.js';
import type { CommandErrorKind } from '#systems/ssh/errors.js';
import type { CommandRunner } from '#systems/ssh/types.js';

export async function failureOf(promise: Promise<unknown>): Promise<CommandError> {
  try {
    await promise;
  } catch (error) {
    expect(error).toBeInstanceOf(CommandError);
    return error as CommandError;
  }
  throw new Error('expected a failure');
}
export const kindOf = async (promise: Promise<unknown>): Promise<CommandErrorKind> => (await failureOf(promise)).kind;

/** Runners that are closed after each test. */
export function useRunners(): <T extends CommandRunner>(runner: T) => T {
  const open: CommandRunner[] = [];
  afterEach(async () => {
    await Promise.all(open.splice(0).map((runner) => runner.close()));
  });
  return (runner) => {
    open.push(runner);
    return runner;
  };
}

/** What every implementation of `CommandRunner` keeps to. `create` gives one that the caller closes. */
export function describeRunner(name: string, create: () => CommandRunner): void {
  describe(`a command runner ${name}`, () => {
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

    it('runs more commands side by side than a server opens channels for', async () => {
      const runner = create();
      const numbers = Array.from({ length: 30 }, (_, i) => i);
      const results = await Promise.all(numbers.map((number) => runner.run(['echo', String(number)])));
      expect(results.map(({ stdout }) => Number(stdout))).toEqual(numbers);
    });

    it('gives up on a command that does not end', async () => {
      expect(await kindOf(create().run(['sleep', '60'], { timeoutMs: 200 }))).toBe('CommandTimeout');
    });

    it('can be used again after that, more often than a server opens channels', async () => {
      const runner = create();
      for (let i = 0; i < 12; i += 1) {
        expect(await kindOf(runner.run(['sleep', '20'], { timeoutMs: 50 }))).toBe('CommandTimeout');
      }
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
      const words = ['sh', '-c', 'exec sleep 60', '--token=canary-secret'];
      const failure = await failureOf(create().run(words, { timeoutMs: 1 }));
      expect(failure.message).toMatch(/^sh\b/);
      expect(failure.message).not.toContain('canary-secret');
    });
  });
}
