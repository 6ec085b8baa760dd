import type { NodeSim } from '../world/node-sim.js';

export interface Result {
  code: number;
  stdout: string;
  stderr: string;
}

/** One command on one node, after the shell and sudo are done with it. */
export interface Invocation {
  node: NodeSim;
  /** The SSH user, for the journal. */
  by: string;
  root: boolean;
  /** Arguments without the program's own name. */
  args: string[];
  /** Environment given before the command. */
  env: Record<string, string>;
  stdin: () => Promise<string>;
}

export type Program = (call: Invocation) => Result | Promise<Result>;

export const ok = (stdout = '', stderr = ''): Result => ({ code: 0, stdout, stderr });
export const fail = (code: number, stderr: string, stdout = ''): Result => ({ code, stdout, stderr });
/** A command that never ends by itself; its channel is closed by the other side. */
export const hang = (): Promise<Result> => new Promise(() => undefined);
