import { readFile } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';
import { shortDigest } from '#domain/naming.js';
import { ConfigError } from './config.js';

/**
 * The workflow code as it was bundled by the build, beside the built workers. Its build id is that of the code alone:
 * a build that changed nothing in the workflows is no new version of them.
 */
export async function readWorkflowBundle(): Promise<{ code: string; build: string }> {
  const [code, json] = await Promise.all([read('workflow-bundle.js'), read('workflow-bundle.json')]);
  const { sha256 } = JSON.parse(json) as { sha256: string };
  return { code, build: shortDigest(sha256) };
}

async function read(name: string): Promise<string> {
  const path = fileURLToPath(new URL(`../${name}`, import.meta.url));
  try {
    return await readFile(path, 'utf8');
  } catch {
    throw new ConfigError(`The workflow bundle is missing (${path}). Run: npm run build`);
  }
}
