import { controlVersions, makeControlCurrent, whyNothingMoves, type ControlVersions } from '../control-versions.js';
import { answer, withSession, withTargetOptions, type TargetOptions } from './context.js';
import { CliFailure } from './failure.js';
import type { AddCommands } from './main.js';
import { renderVersions } from './render-versions.js';
import { listed } from './text.js';

export const addWorkersCommands: AddCommands = (program, io, result) => {
  const workers = program
    .command('workers')
    .description('Which build of the control worker runs the workflows, and how another one takes them over.');

  withTargetOptions(workers.command('show'))
    .description('Show the builds that poll and the one that is current; exit code 1 when workflows stand still.')
    .addHelpText('after', '\nExample:\n  edge workers show')
    .action((options: TargetOptions) =>
      withSession(io, options, async ({ client }) => {
        const versions = await controlVersions(client);
        answer(io, options, versions, renderVersions(versions));
        if (whyNothingMoves(versions)) result.exitCode = 1;
      }),
    );

  withTargetOptions(workers.command('make-current'))
    .argument('<build>', 'the build, as `edge workers show` names it')
    .description('Let all workflows, running ones too, go on with this build from their next step.')
    .addHelpText('after', '\nExample:\n  edge workers make-current 7e1baf4cd104')
    .action((build: string, options: TargetOptions) =>
      withSession(io, options, async ({ client }) => {
        refuseUnlessPolling(await controlVersions(client), build);
        await makeControlCurrent(client, build);
        const versions = await controlVersions(client);
        answer(io, options, versions, renderVersions(versions));
      }),
    );
};

/** Only a build that polls: another one would leave every workflow without a worker. */
function refuseUnlessPolling(versions: ControlVersions, build: string): void {
  if (versions.kind === 'unsupported')
    throw new CliFailure('This Temporal server has no versions of workers: whichever build polls gets the workflows.');
  if (versions.polling.includes(build)) return;
  const others = versions.polling.length === 0 ? 'none' : listed(versions.polling, 10);
  throw new CliFailure(`Build ${build} does not poll, so it can run nothing. Polling: ${others}.`);
}
