import { describe, expect, it } from 'vitest';
import { parseRevocations, revocationOf } from '#domain/revocations.js';
import { problemText } from '#domain/yaml-file.js';
import { aReleaseRef } from '../../support/builders.js';

const bad = { version: '2026.48.0', reason: 'loses orders', at: '2026-11-25' };

describe('a release', () => {
  it('is revoked by its version, whatever was built of it', () => {
    expect(revocationOf([bad], aReleaseRef(48))).toEqual(bad);
    expect(revocationOf([bad], { ...aReleaseRef(48), manifest: aReleaseRef(49).manifest })).toEqual(bad);
    expect(revocationOf([bad], aReleaseRef(47))).toBeUndefined();
    expect(revocationOf([], aReleaseRef(48))).toBeUndefined();
  });

  it('is revoked by its manifest alone, whatever it calls itself', () => {
    const one = { ...bad, manifest: aReleaseRef(48).manifest };
    expect(revocationOf([one], { ...aReleaseRef(48), version: '2026.50.0' })).toEqual(one);
    expect(revocationOf([one], { ...aReleaseRef(48), manifest: aReleaseRef(49).manifest })).toBeUndefined();
  });
});

describe('the list of revoked releases', () => {
  it('is read from YAML as people write it', () => {
    const { value, problems } = parseRevocations(
      'schema: edge.revoked/v1\nrevoked:\n  - { version: 2026.48.0, reason: loses orders, at: 2026-11-25 }\n',
    );
    expect(problems).toEqual([]);
    expect(value?.revoked).toEqual([bad]);
  });

  it.each([
    ['version', 'version: v48', 'is not a release version'],
    ['reason', "reason: ''", 'must have at least 1 characters'],
    ['at', 'at: yesterday', 'is not a date. Write YYYY-MM-DD'],
    ['manifest', 'manifest: latest', 'is not a manifest digest'],
  ])('with a wrong %s is refused with its line', (field, wrong, problem) => {
    const lines = Object.entries({ ...bad, [field]: undefined }).flatMap(([key, value]) =>
      value === undefined ? [] : [`${key}: ${value}`],
    );
    const { value, problems } = parseRevocations(
      `schema: edge.revoked/v1\nrevoked:\n  - ${[...lines, wrong].join('\n    ')}\n`,
    );
    expect(value).toBeUndefined();
    const line = 3 + lines.length;
    expect(problems.map(problemText)).toEqual([
      expect.stringContaining(`policies/revoked.yaml:${line}: revoked[0].${field}: `),
    ]);
    expect(problems[0]?.message).toContain(problem);
  });
});
