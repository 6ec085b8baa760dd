import { CommandError } from './errors.js';
import type { CommandRunner } from './types.js';

/**
 * A runner that may run its commands on any of several nodes: it stays with the one that answered last and moves on
 * when a connection cannot be opened, which means that nothing ran. For commands that are the same on every node.
 */
export function createFailoverRunner(runners: readonly CommandRunner[]): CommandRunner {
  let preferred = 0;
  return {
    async run(argv, options) {
      for (let tried = 0; ; tried += 1) {
        const runner = runners[preferred % runners.length];
        if (!runner) throw new CommandError('Unreachable', 'No node is known to run commands on.');
        try {
          return await runner.run(argv, options);
        } catch (error) {
          const nothingRan = error instanceof CommandError && error.kind === 'Unreachable';
          if (!nothingRan || tried + 1 >= runners.length) throw error;
          preferred += 1;
        }
      }
    },
    async close() {
      await Promise.all(runners.map((runner) => runner.close()));
    },
  };
}
