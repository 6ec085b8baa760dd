import { createServer, type RequestListener } from 'node:http';
import type { AddressInfo } from 'node:net';
import { chmod, mkdir, readFile, rm, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { execa } from 'execa';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { findTemporalCli } from '#workers/embedded/temporal-cli.js';
import { useTempDir } from '../../../support/temp-dir.js';

const answering = (version: string) => `#!/bin/sh\necho "temporal version 1.9.0 (Server ${version}, UI 2.42.1)"\n`;

describe('findTemporalCli', () => {
  const tempDir = useTempDir();
  let dir: string;
  let lines: string[];
  const closers: (() => void)[] = [];
  beforeEach(async () => {
    dir = await tempDir();
    lines = [];
  });
  afterEach(() => closers.splice(0).forEach((close) => close()));

  async function program(path: string, script: string): Promise<string> {
    const file = join(dir, path);
    await mkdir(dirname(file), { recursive: true });
    await writeFile(file, script);
    await chmod(file, 0o755);
    return file;
  }

  async function site(listener: RequestListener): Promise<string> {
    const server = createServer(listener);
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    closers.push(() => {
      server.closeAllConnections();
      server.close();
    });
    return `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  }

  const nowhere = 'http://127.0.0.1:1/cli/default';
  const find = (env: NodeJS.ProcessEnv = {}, downloadUrl = nowhere, signal?: AbortSignal) =>
    findTemporalCli({
      ...(signal ? { signal } : {}),
      env: { PATH: join(dir, 'bin'), XDG_CACHE_HOME: join(dir, 'cache'), ...env },
      say: (line) => lines.push(line),
      silenceMs: 300,
      downloadUrl,
    });
  const inCache = (path: string) => join('cache', 'edge-governor', 'temporal', path);

  /** A stand-in for Go that does with GOBIN what `go install` does. */
  const go = (then: string) => program('bin/go', `#!/bin/sh\necho "$@" >> ${dir}/go-calls\n${then}\n`);
  const installs = `printf '%s' '${answering('1.29.1')}' > "$GOBIN/temporal"; /bin/chmod 755 "$GOBIN/temporal"`;

  it('takes what TEMPORAL_CLI names, before all others', async () => {
    await program('bin/temporal', answering('1.31.2'));
    const path = await program('mine', answering('1.30.0'));
    expect(await find({ TEMPORAL_CLI: path })).toEqual({ path, server: '1.30.0', origin: 'named in TEMPORAL_CLI' });
    expect(lines).toEqual([`Temporal server 1.30.0: ${path} (named in TEMPORAL_CLI)`]);
  });

  it('does not look further when what TEMPORAL_CLI names cannot be used', async () => {
    await program('bin/temporal', answering('1.31.2'));
    await expect(find({ TEMPORAL_CLI: join(dir, 'missing') })).rejects.toThrow(
      /TEMPORAL_CLI: .*missing does not run\. Name another/,
    );
  });

  it('takes the one on the PATH', async () => {
    const path = await program('bin/temporal', answering('1.31.2'));
    expect(await find()).toMatchObject({ path, origin: 'found on the PATH' });
  });

  it.each([
    ['is too old', answering('1.22.0'), 'has server 1.22.0, older than 1.29.0'],
    ['is another program', '#!/bin/sh\necho hello\n', 'does not answer --version as a Temporal CLI does'],
    ['is broken', '#!/bin/sh\nexit 1\n', 'does not run'],
  ])('passes over one on the PATH that %s, and says so', async (_what, script, problem) => {
    const refused = await program('bin/temporal', script);
    const path = await program(inCache('v1.5.1/temporal'), answering('1.29.1'));
    expect(await find()).toEqual({ path, server: '1.29.1', origin: 'built with go earlier' });
    expect(lines[0]).toBe(`Not used: ${refused} ${problem}.`);
  });

  it('downloads what the site names for the SDK, and keeps it', async () => {
    const cli = await program('dist/temporal', answering('1.31.2'));
    const archive = join(dir, 'a.tar.gz');
    await execa('tar', ['-czf', archive, '-C', dirname(cli), 'temporal']);
    const bytes = await readFile(archive);
    const asked: string[] = [];
    const url = await site((request, response) => {
      asked.push(request.url ?? '');
      if (request.url === '/archive') return response.end(bytes);
      return response.end(JSON.stringify({ archiveUrl: `${url}/archive`, fileToExtract: 'temporal' }));
    });

    const first = await find({}, url);
    expect(first).toMatchObject({ server: '1.31.2', origin: 'official download' });
    expect(asked[0]).toContain('sdk-name=sdk-typescript&sdk-version=');
    expect(await find({}, url)).toMatchObject({ path: first.path, origin: 'downloaded earlier' });
    expect(asked).toHaveLength(2);
  });

  it('builds with Go when the site is silent', async () => {
    await go(installs);
    const url = await site(() => undefined);
    expect(await find({}, url)).toMatchObject({ server: '1.29.1', path: join(dir, inCache('v1.5.1/temporal')) });
    expect(lines).toContainEqual(
      expect.stringMatching(/^Not possible: the download .* failed \(silent for 0\.3 s\)\.$/),
    );
    expect(await readFile(join(dir, 'go-calls'), 'utf8')).toBe(
      'install github.com/temporalio/cli/cmd/temporal@v1.5.1\n',
    );
  });

  it('builds once when two start together', async () => {
    await go(installs);
    const found = await Promise.all([find(), find()]);
    expect(new Set(found.map(({ path }) => path)).size).toBe(1);
    expect(await readFile(join(dir, 'go-calls'), 'utf8')).toBe(
      'install github.com/temporalio/cli/cmd/temporal@v1.5.1\n',
    );
  });

  describe('when it is interrupted', () => {
    const interruption = () => {
      const controller = new AbortController();
      return { signal: controller.signal, interrupt: () => controller.abort() };
    };
    const interrupted = 'interrupted before there was a Temporal CLI';
    const soon = { timeout: 20_000, interval: 20 };
    const pidOfGo = async () => Number(await readFile(join(dir, 'go-pid'), 'utf8'));
    const isThere = (pid: number) => {
      try {
        return process.kill(pid, 0);
      } catch {
        return false;
      }
    };
    /** Takes longer than any test; what it has started is a process of its own, as with the real one. */
    const buildsForLong = () => `echo $$ > ${dir}/go-pid.new; /bin/mv ${dir}/go-pid.new ${dir}/go-pid; /bin/sleep 600`;

    it('ends the build that is under way, and leaves nothing of it', async () => {
      await go(buildsForLong());
      const { signal, interrupt } = interruption();
      const finding = find({}, nowhere, signal).catch((error: Error) => error.message);
      const pid = await vi.waitFor(pidOfGo, soon);
      interrupt();
      expect(await finding).toBe(interrupted);
      await vi.waitFor(() => expect(isThere(pid)).toBe(false), soon);
      const left = await execa('find', [join(dir, 'cache'), '-type', 'f']);
      expect(left.stdout).toBe('');
    });

    it('waits no longer for the build of another, which goes on', async () => {
      await go(buildsForLong());
      const [first, second] = [interruption(), interruption()];
      const building = find({}, nowhere, first.signal).catch((error: Error) => error.message);
      await vi.waitFor(pidOfGo, soon);
      const waiting = find({}, nowhere, second.signal).catch((error: Error) => error.message);
      await vi.waitFor(() => expect(lines).toContainEqual(expect.stringMatching(/^Waiting for process/)), soon);
      second.interrupt();
      expect(await waiting).toBe(interrupted);
      expect(isThere(await pidOfGo())).toBe(true);
      first.interrupt();
      expect(await building).toBe(interrupted);
    });

    it('gives up the download, and begins no build', async () => {
      await go(installs);
      const { signal, interrupt } = interruption();
      const url = await site(() => interrupt());
      await expect(find({}, url, signal)).rejects.toThrow(interrupted);
      await expect(readFile(join(dir, 'go-calls'))).rejects.toThrow('ENOENT');
    });

    it('takes one that is there all the same', async () => {
      const path = await program('bin/temporal', answering('1.31.2'));
      expect(await find({}, nowhere, AbortSignal.abort())).toMatchObject({ path });
    });
  });

  it('refuses an archive that is not one, and leaves nothing of it', async () => {
    const url = await site((request, response) => {
      if (request.url === '/archive') return response.end('not an archive');
      return response.end(JSON.stringify({ archiveUrl: `${url}/archive`, fileToExtract: 'temporal' }));
    });
    await expect(find({}, url)).rejects.toThrow('No Temporal CLI');
    const left = await execa('find', [join(dir, 'cache'), '-type', 'f']);
    expect(left.stdout).toBe('');
  });

  it('says in one sentence what was tried and what can be done', async () => {
    await go('echo "no such module" >&2; exit 1');
    await expect(find()).rejects.toThrow(
      /^No Temporal CLI \(the download from 127\.0\.0\.1:1 failed \(.*\); go install ended with exit code 1: no such module\)\. Install it .* TEMPORAL_CLI/,
    );
  });

  it('says that Go is not there either', async () => {
    await rm(join(dir, 'bin'), { recursive: true, force: true });
    await expect(find()).rejects.toThrow('Go is not installed, so it cannot be built');
  });
});
