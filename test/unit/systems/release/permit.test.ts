import { generateKeyPairSync } from 'node:crypto';
import { beforeEach, describe, expect, it } from 'vitest';
import { parse } from '#domain/messages/parse.js';
import { rollbackPermitSchema, type ReleaseManifest, type RollbackPermit } from '#domain/release.js';
import { createPermitSigner } from '#systems/release/permit.js';
import { loadSigningKey } from '#systems/release/sign.js';
import { signatureHolds } from '#systems/release/verify.js';
import { aManifest } from '../../../support/builders.js';
import { memoryObjects, type MemoryObjects } from '../../../support/memory-objects.js';
import { aPermit } from '../../../support/rollback-builders.js';

const pem = generateKeyPairSync('ec', { namedCurve: 'prime256v1' })
  .privateKey.export({ type: 'pkcs8', format: 'pem' })
  .toString();
const key = loadSigningKey(pem);
const NOW = new Date('2026-11-25T10:05:00Z');
const digest = `sha256:${'c'.repeat(64)}`;

let objects: MemoryObjects;
beforeEach(() => {
  objects = memoryObjects();
});

/** The manifest of release 47 is in the registry, with the changes of one case. */
async function permitTo(change: Partial<ReleaseManifest> = {}): Promise<RollbackPermit> {
  const manifest = aManifest({
    version: '2026.47.0',
    sequence: 47,
    artifacts: ['store-001', 'store-002'].map((store) => ({ store, digest, size: 1_000 })),
    ...change,
  });
  const { to } = aPermit();
  return aPermit({ to: { ...to, manifest: await objects.put(Buffer.from(JSON.stringify(manifest))) } });
}
const sign = (permit: RollbackPermit, now = NOW) => createPermitSigner({ objects, key: pem }).sign(permit, now);

describe('a signed rollback permit', () => {
  it('stands in the registry with a bundle by the key that signs releases', async () => {
    const permit = await permitTo();
    const ref = await sign(permit);
    const bytes = objects.objects.get(ref.permit) ?? Buffer.alloc(0);
    expect(parse(rollbackPermitSchema, JSON.parse(bytes.toString()))).toEqual({ ok: true, value: permit });
    expect(signatureHolds(bytes, objects.objects.get(ref.bundle) ?? Buffer.alloc(0), key)).toBe(true);
  });

  it('is the same object when it is signed again', async () => {
    const permit = await permitTo();
    const again = Object.fromEntries(Object.entries(permit).toReversed()) as RollbackPermit;
    expect((await sign(again)).permit).toBe((await sign(permit)).permit);
  });

  const refused: Record<string, [change: Partial<ReleaseManifest>, problem: RegExp]> = {
    'has expired': [
      { expires: NOW.toISOString() },
      /^Release 2026\.47\.0 expired on .*; no store takes it any more\.$/,
    ],
    'is of another fleet': [{ fleet: 'north' }, /is not that of release 2026\.47\.0 of fleet edge\.$/],
    'has another sequence': [{ sequence: 46 }, /is not that of release 2026\.47\.0/],
    'has another version': [{ version: '2026.46.0' }, /is not that of release 2026\.47\.0/],
    'has nothing for a store': [
      { artifacts: [{ store: 'store-001', digest, size: 1 }] },
      /^Release 2026\.47\.0 has nothing for store-002\.$/,
    ],
  };
  it.each(Object.entries(refused))('is not made when its target %s', async (_, [change, problem]) => {
    const before = await permitTo(change);
    const kept = objects.objects.size;
    await expect(sign(before)).rejects.toMatchObject({
      kind: 'RollbackNotPermitted',
      problems: [expect.stringMatching(problem)],
    });
    expect(objects.objects.size).toBe(kept);
  });

  it('is not made when the registry has lost its target', async () => {
    await expect(sign(aPermit())).rejects.toMatchObject({ problems: [expect.stringMatching(/has no manifest/)] });
  });

  it('is never of another form than stores take', async () => {
    await expect(sign({ ...(await permitTo()), stores: [] })).rejects.toThrow();
  });
});
