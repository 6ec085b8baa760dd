import type { Io } from '#client/cli/io.js';

export interface FakeIo extends Io {
  stdout: () => string;
  stderr: () => string;
  interrupt: () => void;
}

/** A process of one's own: what it writes is kept, its clock moves only by pauses. */
export function fakeIo(change: Partial<Io> = {}): FakeIo {
  let out = '';
  let err = '';
  let now = Date.parse('2026-11-24T11:08:00Z');
  const interruption = new AbortController();
  return {
    write: (text) => void (out += text),
    out: (line) => void (out += `${line}\n`),
    err: (line) => void (err += `${line}\n`),
    env: {},
    cwd: '/nowhere',
    user: 'mara',
    now: () => new Date(now),
    pause: async (milliseconds) => {
      now += milliseconds;
      await new Promise((resolve) => setImmediate(resolve));
    },
    terminal: false,
    columns: 100,
    interrupted: () => interruption.signal,
    ...change,
    stdout: () => out,
    stderr: () => err,
    interrupt: () => interruption.abort(),
  };
}
