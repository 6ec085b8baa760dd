import { parseArgs } from 'node:util';
import { readFaultPlan } from './control/plan.js';
import { startLab, type LabOptions } from './lab.js';
import { readStoresFile } from './world/specs.js';

/**
 * The practice fleet as a process. Says `{"ready":true,…}` in one line on stdout when everything listens; ends on
 * SIGTERM or SIGINT, and goes on where it was with the next start, unless `--fresh` is given.
 */
const USAGE =
  'usage: main.js (--repo DIR | --stores-file FILE) --state DIR [--speed N] [--temporal HOST:PORT] [--namespace NAME] ' +
  '[--registry HOST:PORT] [--control-port PORT] [--release-keys FILE] [--faults FILE] [--fleet NAME] [--fresh]';

function readOptions(argv: string[]): LabOptions {
  const { values } = parseArgs({
    args: argv,
    options: {
      repo: { type: 'string' },
      'stores-file': { type: 'string' },
      state: { type: 'string' },
      speed: { type: 'string' },
      temporal: { type: 'string' },
      namespace: { type: 'string' },
      registry: { type: 'string' },
      'control-port': { type: 'string' },
      'release-keys': { type: 'string' },
      faults: { type: 'string' },
      fleet: { type: 'string' },
      fresh: { type: 'boolean', default: false },
    },
  });
  const storesFile = values['stores-file'];
  if (values.state === undefined) throw new Error(`--state is missing.\n${USAGE}`);
  if ((values.repo === undefined) === (storesFile === undefined)) {
    throw new Error(`Give either --repo or --stores-file.\n${USAGE}`);
  }
  return {
    repo: values.repo,
    stores: storesFile === undefined ? undefined : readStoresFile(storesFile),
    stateDir: values.state,
    speed: values.speed === undefined ? undefined : Number(values.speed),
    temporal: values.temporal,
    namespace: values.namespace,
    registry: values.registry,
    controlPort: values['control-port'] === undefined ? undefined : Number(values['control-port']),
    releaseKeys: values['release-keys'],
    fleet: values.fleet,
    fresh: values.fresh,
    faults: values.faults === undefined ? undefined : readFaultPlan(values.faults),
  };
}

async function main(): Promise<void> {
  const started = performance.now();
  const lab = await startLab(readOptions(process.argv.slice(2)));
  await lab.enrolAll();
  const end = (): void => {
    void lab.shutdown().then(() => process.exit(0));
  };
  process.once('SIGTERM', end);
  process.once('SIGINT', end);
  const { world, control, skipped } = lab;
  const facts = {
    ready: true,
    control,
    stores: world.stores.size,
    speed: world.timing.speed,
    journal: world.journal.file,
    afterMs: Math.round(performance.now() - started),
    ...(skipped.length === 0 ? {} : { skipped: skipped.slice(0, 20) }),
  };
  process.stdout.write(`${JSON.stringify(facts)}\n`);
}

main().catch((error: unknown) => {
  process.stderr.write(`The practice fleet cannot start: ${error instanceof Error ? error.message : String(error)}\n`);
  process.exit(1);
});
