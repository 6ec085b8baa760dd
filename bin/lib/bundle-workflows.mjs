/**
 * A process of its own, because it needs the installed packages: `bundle-workflows.mjs ENTRY OUT`.
 * Writes OUT/workflow-bundle.js and OUT/workflow-bundle.json, which says what the bundle is.
 */
import { createHash } from 'node:crypto';
import { readFileSync, renameSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { bundleWorkflowCode } from '@temporalio/worker';

const [entry, out] = process.argv.slice(2);
if (!entry || !out) throw new Error('usage: bundle-workflows.mjs ENTRY OUT');

const messages = [];
const keep = (level) => (message) => void messages.push(`${level} ${message}`);
const logger = {
  log: (level, message) => keep(level)(message),
  trace: () => {},
  debug: () => {},
  info: () => {},
  warn: keep('WARN'),
  error: keep('ERROR'),
};

const { code } = await bundleWorkflowCode({ workflowsPath: entry, logger }).catch((error) => {
  process.stderr.write(`${messages.join('\n')}\n`);
  throw error;
});
const sdk = JSON.parse(
  readFileSync(createRequire(import.meta.url).resolve('@temporalio/worker/package.json'), 'utf8'),
).version;
const sha256 = createHash('sha256').update(code).digest('hex');
replace('workflow-bundle.js', code);
replace('workflow-bundle.json', `${JSON.stringify({ sdk, sha256 })}\n`);

/** A worker that starts meanwhile reads the old bundle or the new one, never a part. */
function replace(name, text) {
  const file = join(out, name);
  writeFileSync(`${file}.new`, text);
  renameSync(`${file}.new`, file);
}
