import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';

const root = join(dirname(fileURLToPath(import.meta.url)), '..', '..');

/** A module for a program that Node starts itself: the test runner's own Vite runs TypeScript as the tests do. */
export async function importTypeScript(file) {
  const vite = createRequire(createRequire(import.meta.url).resolve('vitest/package.json')).resolve('vite');
  const { runnerImport } = await import(pathToFileURL(vite).href);
  const conditions = ['source', 'node'];
  const { module } = await runnerImport(file, {
    root,
    configFile: false,
    logLevel: 'error',
    resolve: { conditions: ['source'] },
    ssr: { resolve: { conditions } },
    environments: { inline: { resolve: { conditions } } },
  });
  return module;
}
