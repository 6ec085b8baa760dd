import { existsSync } from 'node:fs';
import { chmod, cp, mkdir, readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { execa } from 'execa';
import { beforeEach, describe, expect, it } from 'vitest';
import { ROOT } from '../../support/build.js';
import { useTempDir } from '../../support/temp-dir.js';

const TSCONFIG = {
  compilerOptions: {
    module: 'NodeNext',
    target: 'ES2023',
    lib: ['ES5'],
    noCheck: true,
    types: [],
    outDir: 'dist',
    rootDir: '.',
    sourceMap: true,
  },
};

/** A small checkout with the real entry points, the real compiler, and an npm that only does what `npm ci` leaves. */
describe('the entry points, on a fresh clone', () => {
  const tempDir = useTempDir();
  let root: string;

  const write = async (path: string, text: string) => {
    await mkdir(join(root, path, '..'), { recursive: true });
    await writeFile(join(root, path), text);
  };
  const lockfile = (version: string) =>
    JSON.stringify({ packages: { '': { name: 'x' }, 'node_modules/a': { version, integrity: `sha512-${version}` } } });
  const npm = (script: string) =>
    write('npm-bin/npm', `#!/bin/sh\necho "$@" >> npm-calls\n${script}\n`).then(() =>
      chmod(join(root, 'npm-bin/npm'), 0o755),
    );
  const installs = [
    'mkdir -p node_modules',
    `ln -sfn ${join(ROOT, 'node_modules/typescript')} node_modules/typescript`,
    'cp package-lock.json node_modules/.package-lock.json',
  ].join('\n');

  const run = (file = 'bin/ready.mjs', args: string[] = []) =>
    execa(process.execPath, [join(root, file), ...args], {
      cwd: root,
      env: { PATH: `${join(root, 'npm-bin')}:${process.env.PATH}` },
      reject: false,
      stdin: 'ignore',
    });
  const npmCalls = async () => (await readFile(join(root, 'npm-calls'), 'utf8')).trim().split('\n').length;

  beforeEach(async () => {
    root = await tempDir();
    await cp(join(ROOT, 'bin'), join(root, 'bin'), { recursive: true });
    await write('package.json', JSON.stringify({ type: 'module', engines: { node: '>=20.20 <21 || >=22.12' } }));
    await write('package-lock.json', lockfile('1.0.0'));
    await write('tsconfig.json', '{}');
    await write('tsconfig.build.json', JSON.stringify({ ...TSCONFIG, include: ['domain', 'client', 'systems'] }));
    await write('domain/a.ts', 'export const a: number = 1;\n');
    await write('systems/ledger/migrations/0001-x.sql', 'SELECT 1;\n');
    await write(
      'client/cli/main.ts',
      'export const main = async (argv: string[]) => { console.log(argv.join("+")); return argv.length; };\n',
    );
    await npm(installs);
  });

  it('installs and builds once', async () => {
    const first = await run();
    expect(first.exitCode, first.stderr).toBe(0);
    expect(first.stdout).toBe('');
    expect(first.stderr).toMatch(/^Installing packages \(npm ci\) … [\d.]+ s$/m);
    expect(first.stderr).toMatch(/^Compiling … [\d.]+ s$/m);
    expect(await readFile(join(root, 'dist/domain/a.js'), 'utf8')).toContain('export const a = 1;');
    expect(await readFile(join(root, 'dist/systems/ledger/migrations/0001-x.sql'), 'utf8')).toBe('SELECT 1;\n');

    const second = await run();
    expect(second).toMatchObject({ exitCode: 0, stderr: '' });
    expect(await npmCalls()).toBe(1);
  });

  it('builds again when a source changes, and drops what is no longer made', async () => {
    await run();
    await write('domain/b.ts', 'export const b = 2;\n');
    await rm(join(root, 'domain/a.ts'));
    await rm(join(root, 'systems'), { recursive: true });
    const again = await run();
    expect(again.stderr).toMatch(/^Compiling/);
    expect(existsSync(join(root, 'dist/domain/b.js'))).toBe(true);
    expect(
      ['domain/a.js', 'domain/a.js.map', 'systems'].filter((path) => existsSync(join(root, 'dist', path))),
    ).toEqual([]);
    expect(await npmCalls()).toBe(1);
  });

  it('installs again when the lockfile changes', async () => {
    await run();
    await write('package-lock.json', lockfile('1.0.1'));
    const again = await run();
    expect(again.stderr).toMatch(/^Installing packages/);
    expect(await npmCalls()).toBe(2);
  });

  it('leaves packages alone that someone installed from this very lockfile', async () => {
    await execa('sh', ['-c', installs], { cwd: root });
    const only = await run();
    expect(only.stderr).not.toContain('Installing');
    expect(existsSync(join(root, 'npm-calls'))).toBe(false);
  });

  it('says what npm said when packages cannot be installed, and tries again next time', async () => {
    await npm('echo "npm error network down"; exit 7');
    const failed = await run();
    expect(failed.exitCode).toBe(1);
    expect(failed.stderr).toContain('npm error network down');
    expect(failed.stderr).toMatch(/`npm ci .*` ended with code 7\. Check that the package registry is reachable/);
    await npm(installs);
    expect(await run()).toMatchObject({ exitCode: 0 });
  });

  it('does not take a build for done that failed', async () => {
    await run();
    await write('domain/a.ts', 'export const = 1;\n');
    const failed = await run();
    expect(failed.exitCode).toBe(1);
    expect(failed.stderr).toContain('domain/a.ts(1,14)');
    expect((await run()).exitCode).toBe(1);
    await write('domain/a.ts', 'export const a = 1;\n');
    expect(await run()).toMatchObject({ exitCode: 0 });
  });

  it('sets up once when two start together', async () => {
    const both = await Promise.all([run(), run()]);
    expect(both.map(({ exitCode }) => exitCode)).toEqual([0, 0]);
    expect(await npmCalls()).toBe(1);
    expect(both.map(({ stderr }) => stderr).join('\n')).toMatch(
      /^Waiting for process \d+, which is setting up the same checkout …$/m,
    );
  });

  it('takes over the lock of a process that died', async () => {
    const dead = await execa('sh', ['-c', 'echo $$']);
    await write('.edge/setup.lock', JSON.stringify({ pid: Number(dead.stdout) }));
    const only = await run();
    expect(only.exitCode).toBe(0);
    expect(only.stderr).not.toContain('Waiting');
  });

  it('refuses another Node in one sentence', async () => {
    await write('package.json', JSON.stringify({ type: 'module', engines: { node: '>=99' } }));
    expect(await run()).toMatchObject({
      exitCode: 1,
      stderr: `This is Node ${process.versions.node}; Edge Governor needs >=99. Install one of these and start again.`,
    });
  });

  it('hands over to the CLI, whose number is the exit code', async () => {
    const edge = await run('bin/edge.mjs', ['a', 'b c']);
    expect(edge).toMatchObject({ exitCode: 2, stdout: 'a+b c' });
  });
});
