/**
 * `npm run test:chaos -- --seed S --runs N [--kind KIND] [--out FILE] [--broken NAME|all] [--sweep NAME|all] [--within SECONDS]`:
 * see docs/chaos.md.
 *
 * Without --seed a long run is continued: with seeds that have no result in the file yet.
 */
import { dirname, join, resolve } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { parseArgs } from 'node:util';
import { enter, ready } from '../../bin/lib/ready.mjs';
import { SetupError } from '../../bin/lib/steps.mjs';
import { importTypeScript } from '../support/import-typescript.mjs';

const here = dirname(fileURLToPath(import.meta.url));

await enter(async () => {
  const options = read(process.argv.slice(2));
  await ready();
  const module = await importTypeScript(join(here, 'chaos.ts'));
  const code = await module.chaos({
    ...options,
    // What is built is loaded by Node itself, so that it finds the rest of the same build.
    load: (file) => import(pathToFileURL(file).href),
    say: (line) => process.stdout.write(`${line}\n`),
  });
  // A connection of a killed server can keep the process for minutes.
  process.exit(code);
});

function read(argv) {
  const known = {
    seed: 'string',
    runs: 'string',
    kind: 'string',
    out: 'string',
    broken: 'string',
    within: 'string',
    sweep: 'string',
  };
  let values;
  try {
    ({ values } = parseArgs({
      args: argv,
      options: Object.fromEntries(Object.entries(known).map(([name, type]) => [name, { type }])),
    }));
  } catch (error) {
    throw new SetupError(
      `${error.message} Known: ${Object.keys(known)
        .map((name) => `--${name}`)
        .join(', ')}.`,
      2,
    );
  }
  const number = (name, otherwise) => {
    const text = values[name];
    if (text === undefined) return otherwise;
    if (/^[1-9]\d{0,8}$/.test(text)) return Number(text);
    throw new SetupError(`--${name} takes a number from 1, not ${text}.`, 2);
  };
  return {
    seed: number('seed', undefined),
    runs: number('runs', 10),
    kind: values.kind,
    out: values.out === undefined ? undefined : resolve(values.out),
    broken: values.broken,
    sweep: values.sweep,
    within: number('within', undefined),
  };
}
