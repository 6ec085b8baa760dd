import { checkRepo, folderSource } from '../repo/check.js';
import { answer, repoOf } from './context.js';
import { CliFailure } from './failure.js';
import type { AddCommands } from './main.js';
import { renderCheck } from './render-check.js';

interface CheckOptions {
  repo?: string;
  dir?: string;
  json?: boolean;
}

export const addFleetCommands: AddCommands = (program, io, result) => {
  const fleet = program.command('fleet').description('The fleet as the GitOps repo describes it.');

  fleet
    .command('check')
    .description('Find every problem in the repo at once, with file and line; exit code 1 when there is one.')
    .option('--repo <dir>', 'the working tree to check (default: EDGE_REPO, else that of `edge up`, else this folder)')
    .option('--dir <dir>', 'state directory of a running `edge up` (default: .edge)')
    .option('--json', 'print the same facts as JSON')
    .addHelpText('after', '\nExample:\n  edge fleet check --repo ./edge-infra')
    .action(async (options: CheckOptions) => {
      const dir = repoOf(io, options);
      const source = folderSource(dir);
      const listed = await source.list().catch((error: unknown) => {
        throw new CliFailure(`${dir} cannot be read: ${(error as Error).message}`, { cause: error });
      });
      const checked = await checkRepo(source);
      const facts = {
        dir,
        files: listed.length,
        stores: checked.stores.length,
        fleet: checked.fleet?.fleet,
        problems: checked.problems,
      };
      answer(io, options, facts, renderCheck(facts));
      if (checked.problems.length > 0) result.exitCode = 1;
    });
};
