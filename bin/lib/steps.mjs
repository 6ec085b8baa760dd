/** What set-up says, and the commands it runs. All on stderr: stdout belongs to the command that was asked for. */
import { spawn } from 'node:child_process';

/** A failure that is told in one sentence, without a stack. Exit code 2 is wrong usage. */
export class SetupError extends Error {
  constructor(message, exitCode = 1) {
    super(message);
    this.exitCode = exitCode;
  }
}

export const say = (line) => process.stderr.write(`${line}\n`);

/** One line: what is done, and how long it took. */
export async function step(title, work) {
  const start = performance.now();
  const seconds = () => `${((performance.now() - start) / 1_000).toFixed(1)} s`;
  process.stderr.write(`${title} … `);
  try {
    const result = await work();
    process.stderr.write(`${seconds()}\n`);
    return result;
  } catch (error) {
    process.stderr.write(`failed after ${seconds()}\n`);
    throw error;
  }
}

/** Runs a command quietly. When it fails, what it said is shown, with the remedy. */
export function run(command, args, { cwd, env = process.env, remedy }) {
  return new Promise((resolve, reject) => {
    const child = spawn(command, args, { cwd, env, stdio: ['ignore', 'pipe', 'pipe'] });
    const said = [];
    child.stdout.on('data', (chunk) => said.push(chunk));
    child.stderr.on('data', (chunk) => said.push(chunk));
    const fail = (how) => {
      const tail = Buffer.concat(said).toString().trimEnd().split('\n').slice(-40).join('\n');
      reject(new SetupError(`${tail ? `${tail}\n` : ''}\`${command} ${args.join(' ')}\` ${how}. ${remedy}`));
    };
    child.on('error', (error) => fail(`could not be started (${error.code ?? error.message})`));
    child.on('close', (code, signal) =>
      code === 0 ? resolve() : fail(signal ? `ended by ${signal}` : `ended with code ${code}`),
    );
  });
}
