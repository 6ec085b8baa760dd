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
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { importTypeScript } from '../support/import-typescript.mjs';

const here = dirname(fileURLToPath(import.meta.url));
const root = join(here, '..', '..');
const module = await importTypeScript(join(here, 'capture.ts'));
await module.capture({
  codePath: join(root, 'dist', 'workflow-bundle.js'),
  dir: join(here, 'histories'),
  suffix: process.argv[2] ?? '',
  only: process.argv.slice(3),
});
