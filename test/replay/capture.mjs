/**
 * Records the histories that `replay.test.ts` replays. Run by hand, after `npm run build`, when a workflow is released
 * in a new shape:
 *
 *   node test/replay/capture.mjs [SUFFIX [SHAPE…]]
 *
 * Histories of shapes that have been released stay as they are: give the new ones a suffix such as `-2026-48`. Without
 * a suffix (`''` before names of shapes) the first recordings are replaced, which is right only as long as nothing was
 * released. Named shapes are recorded alone.
 */
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';

const here = dirname(fileURLToPath(import.meta.url));
const root = join(here, '..', '..');
// The test runner's own: it runs TypeScript as the tests do.
const vite = createRequire(createRequire(import.meta.url).resolve('vitest/package.json')).resolve('vite');
const { runnerImport } = await import(pathToFileURL(vite).href);
const conditions = ['source', 'node'];
const { module } = await runnerImport(join(here, 'capture.ts'), {
  root,
  configFile: false,
  logLevel: 'error',
  resolve: { conditions: ['source'] },
  ssr: { resolve: { conditions } },
  environments: { inline: { resolve: { conditions } } },
});
await module.capture({
  codePath: join(root, 'dist', 'workflow-bundle.js'),
  dir: join(here, 'histories'),
  suffix: process.argv[2] ?? '',
  only: process.argv.slice(3),
});
