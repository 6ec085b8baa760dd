import { execFileSync } from 'node:child_process';
import { generateKeyPairSync } from 'node:crypto';
import { mkdtemp, readFile, rm, writeFile, chmod, readdir } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { MockActivityEnvironment } from '@temporalio/testing';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { createReleaseActivities } from '#activities/release.js';
import { initRepo } from '#client/repo/template.js';
import {
  builtPointer,
  desiredPointer,
  releaseManifestSchema,
  type ReleaseManifest,
  type ReleaseRef,
} from '#domain/release.js';
import { openGitRepo } from '#systems/git/repo.js';
import type { GitRepo } from '#systems/git/types.js';
import { openLedgerReader } from '#systems/ledger/client.js';
import { createReleaseBuilder, type BuilderOptions } from '#systems/release/build.js';
import { BuildRefused } from '#systems/release/errors.js';
import { createPermitSigner } from '#systems/release/permit.js';
import { loadSigningKey } from '#systems/release/sign.js';
import { createReleaseVerifier } from '#systems/release/verify.js';
import { memoryObjects, type MemoryObjects } from '../../../support/memory-objects.js';

const NOW = new Date('2026-11-23T02:00:00Z');
const later = (hours: number): Date => new Date(NOW.getTime() + hours * 3_600_000);
const newPem = (): string =>
  generateKeyPairSync('ec', { namedCurve: 'prime256v1' })
    .privateKey.export({ type: 'pkcs8', format: 'pem' })
    .toString();
const pem = newPem();
const { hint, publicKeyPem } = loadSigningKey(pem);

let root: string;
let dir: string;
let repo: GitRepo;
let first: string;
let objects: MemoryObjects;

const git = (...args: string[]): string =>
  execFileSync('git', ['-C', dir, '-c', 'user.name=Ann', '-c', 'user.email=ann@example.org', ...args])
    .toString()
    .trim();

beforeAll(async () => {
  root = await mkdtemp(join(tmpdir(), 'edge-build-'));
  dir = join(root, 'repo');
  first = await initRepo(dir, { stores: 4, fleet: 'north' });
  repo = openGitRepo({ dir });
});
afterAll(() => rm(root, { recursive: true, force: true }));
beforeEach(() => {
  git('reset', '--quiet', '--hard', first);
  objects = memoryObjects();
});

/** Commits a change to one file and returns the commit. */
async function change(file: string, from: string | RegExp, to: string): Promise<string> {
  const before = await readFile(join(dir, file), 'utf8');
  const after = before.replace(from, to);
  if (after === before) throw new Error(`${String(from)} is not in ${file}`);
  await writeFile(join(dir, file), after);
  git('commit', '--quiet', '--all', '--message', `change ${file}`);
  return git('rev-parse', 'HEAD');
}

const builder = (options: Partial<BuilderOptions> = {}) =>
  createReleaseBuilder({ repo, branch: 'main', objects, key: pem, ...options });
const build = (commit: string, options: Partial<BuilderOptions> = {}, now = NOW): Promise<ReleaseRef> =>
  builder(options).build({ commit, now });

/** The problems of a build that is refused; fails when it is not. */
async function problemsOf(building: Promise<ReleaseRef>): Promise<string[]> {
  const error: unknown = await building.then(
    () => new Error('it was built'),
    (caught: unknown) => caught,
  );
  if (error instanceof BuildRefused) return error.problems;
  throw error;
}

const manifestOf = (ref: ReleaseRef): ReleaseManifest =>
  releaseManifestSchema.parse(JSON.parse((objects.objects.get(ref.manifest) ?? '').toString()));

describe('a release is built from a commit', () => {
  it('names every part by digest and is signed with the key', async () => {
    const ref = await build(first, { builtBy: 'edge-governor test' });
    expect(ref).toMatchObject({ version: '2026.48.0', sequence: 48 });
    const manifest = manifestOf(ref);
    expect(manifest).toMatchObject({
      fleet: 'north',
      created: '2026-11-23T02:00:00.000Z',
      expires: '2027-02-21T02:00:00.000Z',
      source: { commit: first, builder: 'edge-governor test' },
      compat: { pve: '>=8.2 <10', minSequence: 0 },
      scan: { verdict: 'pass', counts: { critical: 0, high: 0, other: 0 }, sbom: manifest.sbom },
    });
    expect(manifest.packages.pinned).toContainEqual({ name: 'openssl', version: '3.5.4-1~deb13u2' });
    expect(manifest.artifacts.map(({ store }) => store)).toEqual(['store-001', 'store-002', 'store-003', 'store-004']);
    for (const digest of [manifest.sbom, manifest.scan.report, ...manifest.artifacts.map((one) => one.digest)]) {
      expect(objects.objects.has(digest)).toBe(true);
    }
  });

  it('is accepted by a store, with the files of that store and no other', async () => {
    const ref = await build(first);
    const record = {
      schema: 'edge.desired/v1',
      store: 'store-003',
      release: ref,
      train: '2026-w48',
      stage: 'wave-1',
      commit: first,
      expires: later(24).toISOString(),
    };
    await objects.setPointer(desiredPointer('store-003'), Buffer.from(JSON.stringify(record)));
    const verdict = await createReleaseVerifier({ registry: objects, keys: [{ hint, publicKeyPem }] }).verify({
      ref,
      store: 'store-003',
      fleet: 'north',
      now: later(1),
      highestSequence: 47,
      pveVersion: '9.1.4',
    });
    expect(verdict).toMatchObject({ kind: 'accepted', artifact: { store: { id: 'store-003' } } });
    if (verdict.kind !== 'accepted') throw new Error(verdict.summary);
    expect(Object.keys(verdict.artifact.files)).toEqual(['inventory-api.yaml', 'varnish-vcl.vcl']);
    expect(verdict.artifact.files['inventory-api.yaml']).toBe(
      git('show', 'HEAD:clusters/store-003/inventory-api.yaml') + '\n',
    );
  });

  it('lists its parts as CycloneDX 1.6 with package URLs', async () => {
    const image = `sha256:${'ab'.repeat(32)}`;
    const commit = await change(
      'fleet.yaml',
      'images: []',
      `images: [{name: registry.example.net/pos/till, digest: '${image}'}]`,
    );
    const sbom = JSON.parse((objects.objects.get(manifestOf(await build(commit)).sbom) ?? '').toString());
    expect(sbom).toMatchObject({ bomFormat: 'CycloneDX', specVersion: '1.6' });
    const purls = sbom.components.map(({ purl }: { purl: string }) => purl);
    expect(purls).toHaveLength(19);
    expect(purls).toContain('pkg:deb/debian/openssh-server@1%3A10.0p1-7');
    expect(purls).toContain(
      `pkg:oci/till@sha256%3A${'ab'.repeat(32)}?repository_url=registry.example.net%2Fpos%2Ftill`,
    );
  });

  it('is the same but for its times when it is built anew', async () => {
    const one = manifestOf(await build(first));
    objects.pointers.clear();
    const two = manifestOf(await build(first, {}, later(5)));
    const timeless = ({
      created: _,
      expires: __,
      scan: { at: ___, report: ____, ...scan },
      ...rest
    }: ReleaseManifest) => ({ ...rest, scan });
    expect(timeless(two)).toEqual(timeless(one));
    expect(two.created).not.toBe(one.created);
  });

  it('reads the commit and not the folder', async () => {
    await writeFile(join(dir, 'fleet.yaml'), 'nonsense');
    expect(await build(first)).toMatchObject({ version: '2026.48.0' });
  });
});

describe('a build that is asked for again', () => {
  it('returns what was made, byte for byte', async () => {
    const ref = await build(first);
    const count = objects.objects.size;
    expect(await build(first, {}, later(3))).toEqual(ref);
    expect(objects.objects.size).toBe(count);
  });

  it.each<[string, (ref: ReleaseRef) => void | Promise<unknown>, number, Partial<BuilderOptions>]>([
    ['the scan is a day old', () => undefined, 24, {}],
    ['the manifest is gone', (ref) => void objects.objects.delete(ref.manifest), 1, {}],
    ['the bundle is gone', (ref) => void objects.objects.delete(ref.bundle), 1, {}],
    ['the manifest was altered', (ref) => void objects.objects.set(ref.manifest, Buffer.from('{}')), 1, {}],
    ['it was signed with another key', () => undefined, 1, { key: newPem() }],
    ['the pointer is not readable', () => objects.setPointer(builtPointer('north', first), Buffer.from('?')), 1, {}],
    [
      'the pointer lies about the version',
      (ref) => objects.setPointer(builtPointer('north', first), Buffer.from(JSON.stringify({ ...ref, version: 'x' }))),
      1,
      {},
    ],
  ])('is made anew when %s', async (_, spoil, hours, options) => {
    const ref = await build(first);
    await spoil(ref);
    const again = await build(first, options, later(hours));
    expect(again.bundle).not.toBe(ref.bundle);
    expect(manifestOf(again).created).toBe(later(hours).toISOString());
  });

  it('does not take the pointer of another commit', async () => {
    const other = await change('README.md', 'edge-infra', 'edge-infra 2');
    const ref = await build(first);
    await objects.setPointer(builtPointer('north', other), Buffer.from(JSON.stringify(ref)));
    expect(manifestOf(await build(other)).source.commit).toBe(other);
  });
});

describe('a build is refused', () => {
  it('for a commit that is not on the branch', async () => {
    const loose = git('commit-tree', `${first}^{tree}`, '-m', 'loose');
    expect(await problemsOf(build(loose))).toEqual([`Commit ${loose.slice(0, 12)} is not on the branch main.`]);
    expect(await problemsOf(build('main'))).toEqual([expect.stringContaining('full commit hash')]);
  });

  it('with every problem of the repo, by file and line', async () => {
    await change('fleet.yaml', 'timeZone: Europe/Berlin', 'timeZone: Mars');
    const commit = await change('clusters/store-002/store.yaml', 'vmid: 102', 'vmid: 101');
    const problems = await problemsOf(build(commit));
    expect(problems.toSorted()).toEqual([
      expect.stringMatching(/^clusters\/store-002\/store\.yaml:\d+: guests\[1\]\.vmid: is used twice: 101\.$/),
      expect.stringMatching(/^fleet\.yaml:3: timeZone: "Mars" is not a time zone/),
    ]);
    expect(objects.objects.size).toBe(0);
  });

  it('for a critical finding, and keeps the report as evidence', async () => {
    const commit = await change('policies/advisories.yaml', 'fixedIn: 3.5.4-1~deb13u2', 'fixedIn: 3.5.4-1~deb13u3');
    expect(await problemsOf(build(commit))).toEqual([
      'scan: EXAMPLE-2026-0001 in pkg:deb/debian/openssl@3.5.4-1~deb13u2 is critical, and there is no exception for it. Fixed in 3.5.4-1~deb13u3.',
    ]);
    const reports = [...objects.objects.values()].filter((bytes) => bytes.includes('edge.scan/v1'));
    expect(reports.map((bytes) => JSON.parse(bytes.toString()).verdict)).toEqual(['deny']);
    expect(objects.pointers.size).toBe(0);
  });

  it('not for a critical finding with a dated exception', async () => {
    await change('policies/advisories.yaml', 'fixedIn: 3.5.4-1~deb13u2', 'fixedIn: 3.5.4-1~deb13u3');
    const commit = await change(
      'policies/advisories.yaml',
      'exceptions: []',
      'exceptions:\n  - {id: EXAMPLE-2026-0001, package: openssl, owner: ann, approvedBy: bob, reason: r, expires: 2026-12-01}',
    );
    expect(manifestOf(await build(commit)).scan).toMatchObject({ verdict: 'pass', counts: { critical: 1 } });
  });

  it('for other content under a sequence that was used', async () => {
    await build(first);
    const commit = await change('clusters/store-001/varnish-vcl.vcl', '10m', '20m');
    expect(await problemsOf(build(commit))).toEqual([
      `fleet.yaml: release.sequence: 48 was already used by commit ${first.slice(0, 12)} for other content. Raise version and sequence with every change.`,
    ]);
    await change('fleet.yaml', 'version: 2026.48.0', 'version: 2026.48.1');
    const raised = await change('fleet.yaml', 'sequence: 48', 'sequence: 49');
    expect(await build(raised)).toMatchObject({ version: '2026.48.1', sequence: 49 });
  });

  it('not for another commit with the same content, as a promotion makes one', async () => {
    await build(first);
    const commit = await repo.promote({
      branch: 'main',
      tag: 'edge/t/canary',
      file: 'promotions/t/canary.json',
      content: '{}',
      message: 'm',
    });
    expect(manifestOf(await build(commit)).source.commit).toBe(commit);
  });

  it('when the key cannot sign', () => {
    expect(() => builder({ key: 'canary-secret-pem' })).toThrow(expect.not.stringContaining('canary-secret'));
  });
});

describe('a scan command', () => {
  const report = (findings: unknown[], dbBuiltAt = '2026-11-22T00:00:00Z'): string =>
    JSON.stringify({ scanner: { name: 'wrapped', version: '1.2', dbBuiltAt }, findings, extra: 'ignored' });

  /** A scanner whose body is a shell script; `$1` is its first argument. */
  async function scanWith(script: string, args = ''): Promise<{ commit: string; program: string }> {
    const program = join(root, 'scanner.sh');
    await writeFile(program, `#!/bin/sh\n${script}\n`);
    await chmod(program, 0o755);
    const commit = await change('fleet.yaml', 'scan:\n', `scan:\n  command: ['${program}'${args}]\n`);
    return { commit, program };
  }

  it('is not run unless the worker lists the program', async () => {
    const witness = join(root, 'scanner-ran');
    const { commit, program } = await scanWith(`touch ${witness}`);
    expect(await problemsOf(build(commit))).toEqual([
      `fleet.yaml: scan.command: names ${program}, which this release worker does not run. Add it to EDGE_SCAN_PROGRAMS there.`,
    ]);
    expect(await readdir(root)).not.toContain('scanner-ran');
  });

  it('decides by its findings', async () => {
    const finding = {
      id: 'CVE-2026-9',
      purl: 'pkg:deb/debian/systemd@257.9-1',
      severity: 'critical',
      vector: 'ignored',
    };
    const { commit, program } = await scanWith(`echo '${report([finding])}'`);
    expect(await problemsOf(build(commit, { scanPrograms: [program] }))).toEqual([
      expect.stringContaining('CVE-2026-9'),
    ]);
  });

  it('gets the parts list as its last argument, or where it asks for it, and none of our environment', async () => {
    process.env['CANARY_OF_THE_WORKER'] = 'x';
    try {
      const script = `grep -q CycloneDX "$1" || exit 9\nenv | grep -q CANARY && exit 8\necho '${report([])}'`;
      const last = await scanWith(script);
      expect(manifestOf(await build(last.commit, { scanPrograms: [last.program] })).scan).toMatchObject({
        tool: 'wrapped 1.2',
        verdict: 'pass',
      });
      git('reset', '--quiet', '--hard', first);
      const placed = await scanWith(
        script.replace('$1', '${1#sbom:}').replace('exit 9', 'exit 9\n[ "$2" = -q ] || exit 7'),
        ", 'sbom:{sbom}', '-q'",
      );
      await build(placed.commit, { scanPrograms: [placed.program] });
    } finally {
      delete process.env['CANARY_OF_THE_WORKER'];
    }
  });

  it.each([
    ['fails', 'exit 3', /ended with code 3\. Without a report there is no release/],
    ['prints nothing', 'true', /did not print JSON/],
    ['prints something else', 'echo ok', /did not print JSON/],
    ['prints other JSON', `echo '{"findings": []}'`, /another form \(at scanner\)/],
    [
      'prints a finding without severity',
      `echo '${report([{ id: 'X', purl: 'pkg:a/b@1' }])}'`,
      /findings\.0\.severity/,
    ],
    ['has an old database', `echo '${report([], '2026-11-01T00:00:00Z')}'`, /The database of wrapped is 22 days old/],
  ])('that %s denies the release', async (_, script, problem) => {
    const { commit, program } = await scanWith(script);
    expect(await problemsOf(build(commit, { scanPrograms: [program] }))).toEqual([expect.stringMatching(problem)]);
  });

  it('that is not there denies the release', async () => {
    const { commit, program } = await scanWith('true');
    await rm(program);
    expect(await problemsOf(build(commit, { scanPrograms: [program] }))).toEqual([
      expect.stringMatching(/could not be run/),
    ]);
  });
});

describe('the activity buildRelease', () => {
  const run = (commit: string) =>
    new MockActivityEnvironment().run(
      createReleaseActivities({
        builder: builder(),
        signer: createPermitSigner({ objects, key: pem }),
        repo,
        branch: 'main',
        objects,
        ledger: openLedgerReader('postgresql://nobody@127.0.0.1:1/none'),
        now: () => NOW,
      }).buildRelease,
      { commit },
    );

  it('answers with the release', async () => {
    expect(await run(first)).toMatchObject({ kind: 'built', release: { version: '2026.48.0' } });
  });

  it('answers with the problems instead of failing', async () => {
    const commit = await change('fleet.yaml', 'sequence: 48', 'sequence: many');
    expect(await run(commit)).toEqual({
      kind: 'refused',
      problems: [expect.stringMatching(/release\.sequence: "many" must be of the type number\./)],
    });
  });

  it('fails, to be tried again, when the registry cannot be reached', async () => {
    objects.getPointer = () => Promise.reject(new Error('no route'));
    await expect(run(first)).rejects.toThrow('no route');
  });
});
