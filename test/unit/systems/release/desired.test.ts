import { generateKeyPairSync } from 'node:crypto';
import { describe, expect, it } from 'vitest';
import { desiredPointer } from '#domain/release.js';
import { loadSigningKey } from '#systems/release/sign.js';
import { createReleaseVerifier } from '#systems/release/verify.js';
import { aReleaseRef } from '../../../support/builders.js';
import { memoryObjects } from '../../../support/memory-objects.js';

const RECORD = {
  schema: 'edge.desired/v1',
  store: 'store-001',
  release: aReleaseRef(),
  train: '2026-w48',
  stage: 'canary',
  commit: 'a'.repeat(40),
  expires: '2026-12-01T00:00:00Z',
  soaked: { release: aReleaseRef(), at: '2026-11-25T11:00:00Z' },
};

describe('the desired record that a store reads', () => {
  async function read(content?: unknown) {
    const registry = memoryObjects();
    if (content !== undefined)
      await registry.setPointer(desiredPointer('store-001'), Buffer.from(JSON.stringify(content)));
    const pem = generateKeyPairSync('ec', { namedCurve: 'P-256' }).privateKey.export({ type: 'pkcs8', format: 'pem' });
    const { hint, publicKeyPem } = loadSigningKey(pem.toString());
    return createReleaseVerifier({ registry, keys: [{ hint, publicKeyPem }] }).desired('store-001');
  }

  it('says when its stage has soaked', async () => {
    expect(await read(RECORD)).toEqual(RECORD);
  });

  it.each([
    ['is not there', undefined],
    ['is that of another store', { ...RECORD, store: 'store-002' }],
    ['has a field that nobody knows', { ...RECORD, good: true }],
    ['is no record', 'soaked'],
  ])('says nothing when it %s', async (_, content) => {
    expect(await read(content)).toBeUndefined();
  });
});
