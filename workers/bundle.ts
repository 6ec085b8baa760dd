import { readFile } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';
import { ConfigError } from './config.js';

/** The workflow code as it was bundled by the build, beside the built workers. */
export async function readWorkflowBundle(): Promise<{ code: string }> {
  const path = fileURLToPath(new URL('../workflow-bundle.js', import.meta.url));
  try {
    return { code: await readFile(path, 'utf8') };
  } catch {
    throw new ConfigError(`The workflow bundle is missing (${path}). Run: npm run build`);
  }
}
