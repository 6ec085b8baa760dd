import {
  copyFileSync,
  existsSync,
  mkdirSync,
  readFileSync,
  readdirSync,
  rmSync,
  rmdirSync,
  writeFileSync,
} from 'node:fs';
import { dirname, join, relative, sep } from 'node:path';
import { filesBelow, sourceFiles, sourcesHash } from './hashes.mjs';
import { run, say, step } from './steps.mjs';

const BUNDLE = ['workflow-bundle.js', 'workflow-bundle.json'];

/** Builds dist/ unless it is the build of these sources already. */
export async function build(root, { always = false } = {}) {
  const dist = join(root, 'dist');
  const marker = join(dist, '.edge-built');
  const wanted = sourcesHash(root);
  if (!always && existsSync(marker) && readFileSync(marker, 'utf8').trim() === wanted) return;

  // A build that is cut short must not pass for a finished one.
  rmSync(marker, { force: true });
  await step('Compiling', () => compile(root, dist));
  await bundle(root, dist);
  writeFileSync(marker, `${wanted}\n`);
}

async function compile(root, dist) {
  await run(process.execPath, [join(root, 'node_modules', 'typescript', 'bin', 'tsc'), '-p', 'tsconfig.build.json'], {
    cwd: root,
    remedy: 'The sources do not parse: correct the places named above.',
  });
  const expected = new Set(BUNDLE);
  for (const file of sourceFiles(root)) {
    for (const output of outputsOf(file)) expected.add(output);
    if (!isSource(file)) copy(join(root, file), join(dist, file));
  }
  for (const file of filesBelow(dist)) {
    if (!expected.has(relative(dist, file).split(sep).join('/'))) rmSync(file);
  }
  removeEmptyFolders(dist);
}

const isSource = (file) => file.endsWith('.ts');

/** What the compiler makes of a file; whatever is not TypeScript (SQL, pages) is copied as it is. */
function outputsOf(file) {
  if (file.endsWith('.d.ts')) return [];
  if (!isSource(file)) return [file];
  const output = file.replace(/\.ts$/, '.js');
  return [output, `${output}.map`];
}

function copy(from, to) {
  mkdirSync(dirname(to), { recursive: true });
  copyFileSync(from, to);
}

function removeEmptyFolders(folder) {
  for (const entry of readdirSync(folder, { withFileTypes: true })) {
    if (!entry.isDirectory()) continue;
    const child = join(folder, entry.name);
    removeEmptyFolders(child);
    if (readdirSync(child).length === 0) rmdirSync(child);
  }
}

async function bundle(root, dist) {
  const entry = join(dist, 'workflows', 'index.js');
  if (!existsSync(entry)) {
    for (const file of BUNDLE) rmSync(join(dist, file), { force: true });
    say('No workflow bundle: workflows/index.ts is not there.');
    return;
  }
  await step('Bundling workflows', () =>
    run(process.execPath, [join(root, 'bin', 'lib', 'bundle-workflows.mjs'), entry, dist], {
      cwd: root,
      remedy: 'Workflows may import only domain/ and @temporalio/workflow: correct the import named above.',
    }),
  );
}
