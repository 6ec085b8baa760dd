import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileHash } from './hashes.mjs';
import { run, step } from './steps.mjs';

/** Makes node_modules what package-lock.json says, unless it is. */
export async function install(root) {
  const marker = join(root, 'node_modules', '.edge-installed');
  const wanted = fileHash(join(root, 'package-lock.json'));
  if (existsSync(marker) && readFileSync(marker, 'utf8').trim() === wanted) return;
  if (!isInstalled(root)) {
    await step('Installing packages (npm ci)', () =>
      run('npm', ['ci', '--include=dev', '--no-audit', '--no-fund'], {
        cwd: root,
        remedy: 'Check that the package registry is reachable (npm ping), then start again.',
      }),
    );
  }
  writeFileSync(marker, `${wanted}\n`);
}

/** Whether npm's own record of node_modules agrees with the lockfile: someone ran npm by hand, nothing is left to do. */
function isInstalled(root) {
  const record = join(root, 'node_modules', '.package-lock.json');
  if (!existsSync(record)) return false;
  const installed = JSON.parse(readFileSync(record, 'utf8')).packages;
  const { '': _project, ...wanted } = JSON.parse(readFileSync(join(root, 'package-lock.json'), 'utf8')).packages;
  const same = ([path, entry]) =>
    wanted[path]?.version === entry.version && wanted[path]?.integrity === entry.integrity;
  const present = ([path, entry]) => path in installed || entry.optional === true || entry.devOptional === true;
  return Object.entries(installed).every(same) && Object.entries(wanted).every(present);
}
