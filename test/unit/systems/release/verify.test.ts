import { generateKeyPairSync } from 'node:crypto';
import { beforeEach, describe, expect, it } from 'vitest';
import {
  desiredPointer,
  type DesiredRecord,
  type ReleaseManifest,
  type PermitRef,
  type ReleaseRef,
  type RollbackPermit,
  type StoreArtifact,
} from '#domain/release.js';
import { ObjectsError } from '#systems/objects/errors.js';
import { createBundle, loadSigningKey, type SigningKey } from '#systems/release/sign.js';
import type { PinnedKey } from '#systems/release/types.js';
import { createReleaseVerifier, signatureHolds } from '#systems/release/verify.js';
import { memoryObjects, type MemoryObjects } from '../../../support/memory-objects.js';

const NOW = new Date('2026-11-23T10:00:00Z');
const ZERO = `sha256:${'0'.repeat(64)}`;

const newKey = (curve = 'prime256v1'): string =>
  generateKeyPairSync('ec', { namedCurve: curve }).privateKey.export({ type: 'pkcs8', format: 'pem' }).toString();
const key = loadSigningKey(newKey());
const otherKey = loadSigningKey(newKey());
const pin = ({ hint, publicKeyPem }: SigningKey): PinnedKey => ({ hint, publicKeyPem });

const artifact = (): StoreArtifact => ({
  schema: 'edge.store-config/v1',
  store: {
    id: 'store-001',
    tags: [],
    nodes: ['n1', 'n2', 'n3'].map((name, index) => ({
      name,
      address: `10.1.1.${index + 1}`,
      apiPort: 8006,
      sshPort: 22,
    })),
    guests: [
      {
        vmid: 103,
        name: 'cache',
        kind: 'lxc',
        role: 'cache',
        config: [{ file: 'varnish-vcl.vcl', target: '/etc/varnish/default.vcl', check: [], reload: ['true'] }],
      },
    ],
  },
  files: { 'varnish-vcl.vcl': 'vcl 4.1;\n' },
});

const manifestWith = (artifactDigest: string, size: number): ReleaseManifest => ({
  schema: 'edge.release/v1',
  fleet: 'north',
  version: '2026.48.0',
  sequence: 48,
  created: '2026-11-23T02:00:00Z',
  expires: '2027-02-21T02:00:00Z',
  source: { commit: 'a'.repeat(40), builder: 'test' },
  compat: { pve: '>=8.2 <10', minSequence: 0 },
  packages: {
    snapshot: '20261116T000000Z',
    sources: ['deb http://mirror.example.net/{snapshot} trixie main'],
    pinned: [{ name: 'openssl', version: '3.5.4-1' }],
    kernel: '6.14.11-4-pve',
  },
  artifacts: [{ store: 'store-001', digest: artifactDigest, size }],
  images: [],
  sbom: ZERO,
  scan: {
    tool: 'test',
    at: '2026-11-23T02:00:00Z',
    sbom: ZERO,
    report: ZERO,
    verdict: 'pass',
    counts: { critical: 0, high: 0, other: 0 },
  },
});

/** A desired record that names a release. */
type Promoted = DesiredRecord & { release: ReleaseRef };

interface Changes {
  artifact?: (artifact: StoreArtifact) => unknown;
  manifest?: (manifest: ReleaseManifest) => unknown;
  bundle?: (bundle: Record<string, unknown>) => unknown;
  ref?: (ref: ReleaseRef) => ReleaseRef;
  desired?: (record: Promoted) => unknown;
  signedBy?: SigningKey;
  keys?: PinnedKey[];
  request?: Partial<{ now: Date; highestSequence: number; pveVersion: string; store: string; fleet: string }>;
  /** A permit to go back to this release, with the changes of the case; `signed` over what it was before `altered`. */
  permit?: {
    content?: (permit: RollbackPermit) => unknown;
    signedBy?: SigningKey;
    bundle?: (bundle: Record<string, unknown>) => unknown;
    altered?: (bytes: Buffer) => Buffer;
    ref?: (ref: PermitRef) => PermitRef;
    registry?: (registry: MemoryObjects, ref: PermitRef) => void;
  };
  /** After everything is in the registry. */
  registry?: (registry: MemoryObjects, ref: ReleaseRef) => void;
}

const json = (value: unknown): Buffer => Buffer.from(typeof value === 'string' ? value : JSON.stringify(value));
const edit = <T extends object>(change: (value: T) => void) => {
  return (value: T): T => {
    change(value);
    return value;
  };
};

let registry: MemoryObjects;
beforeEach(() => {
  registry = memoryObjects();
});

/** Publishes a good release with the changes of one case and lets the store judge it. */
async function judge(changes: Changes = {}) {
  const artifactBytes = json((changes.artifact ?? ((same) => same))(artifact()));
  const manifest = manifestWith(await registry.put(artifactBytes), artifactBytes.byteLength);
  const bytes = json((changes.manifest ?? ((same) => same))(manifest));
  const bundle: unknown = JSON.parse(createBundle(changes.signedBy ?? key, bytes));
  const published: ReleaseRef = {
    version: '2026.48.0',
    sequence: manifest.sequence,
    manifest: await registry.put(bytes),
    bundle: await registry.put(json((changes.bundle ?? ((same) => same))(bundle as Record<string, unknown>))),
  };
  const ref = (changes.ref ?? ((same) => same))(published);
  const desired: Promoted = {
    schema: 'edge.desired/v1',
    store: 'store-001',
    release: { ...ref },
    train: '2026-w48',
    stage: 'canary',
    commit: 'b'.repeat(40),
    expires: '2026-11-30T00:00:00Z',
  };
  await registry.setPointer(desiredPointer('store-001'), json((changes.desired ?? ((same) => same))(desired)));
  const permit = changes.permit && (await publishPermit(ref, changes.permit));
  changes.registry?.(registry, ref);
  return createReleaseVerifier({ registry, keys: changes.keys ?? [pin(otherKey), pin(key)] }).verify({
    ref,
    store: 'store-001',
    fleet: 'north',
    now: NOW,
    highestSequence: 47,
    pveVersion: '9.1.4',
    permit,
    ...changes.request,
  });
}

async function publishPermit(to: ReleaseRef, changes: NonNullable<Changes['permit']>): Promise<PermitRef> {
  const good: RollbackPermit = {
    schema: 'edge.rollback-permit/v1',
    fleet: 'north',
    stores: ['store-001', 'store-002'],
    from: { version: '2026.49.0', sequence: 49, manifest: ZERO },
    to: { ...to },
    approval: { id: 'cli:1', by: 'ann', at: '2026-11-23T09:00:00Z', planHash: ZERO },
    created: '2026-11-23T09:00:00Z',
    expires: '2026-11-26T09:00:00Z',
  };
  const bytes = json((changes.content ?? ((same) => same))(good));
  const bundle: unknown = JSON.parse(createBundle(changes.signedBy ?? key, bytes));
  const published = {
    permit: await registry.put((changes.altered ?? ((same) => same))(bytes)),
    bundle: await registry.put(json((changes.bundle ?? ((same) => same))(bundle as Record<string, unknown>))),
  };
  const ref = (changes.ref ?? ((same) => same))(published);
  changes.registry?.(registry, ref);
  return ref;
}

describe('a store judges a release', () => {
  it('accepts one that is signed, current, fitting, scanned and promoted, with its own configuration', async () => {
    const verdict = await judge();
    expect(verdict).toMatchObject({
      kind: 'accepted',
      manifest: { version: '2026.48.0', sequence: 48 },
      artifact: { store: { id: 'store-001' }, files: { 'varnish-vcl.vcl': 'vcl 4.1;\n' } },
    });
  });

  const accepted: Record<string, Changes> = {
    'the same release again (equal sequence)': { request: { highestSequence: 48 } },
    'any first release on a new store': {
      manifest: edit((m) => (m.sequence = 5_000)),
      ref: (ref) => ({ ...ref, sequence: 5_000 }),
      request: { highestSequence: 0 },
    },
    'a jump of exactly a thousand': {
      manifest: edit((m) => (m.sequence = 1_047)),
      ref: (ref) => ({ ...ref, sequence: 1_047 }),
    },
    'one millisecond before it expires': {
      manifest: edit((m) => (m.expires = '2026-11-23T10:00:00.001Z')),
    },
    'a key inside its time': {
      keys: [{ ...pin(key), from: '2026-11-23T10:00:00Z', to: '2026-11-23T10:00:01Z' }],
    },
  };
  it.each(Object.entries(accepted))('accepts %s', async (_, changes) => {
    expect(await judge(changes)).toMatchObject({ kind: 'accepted' });
  });

  const refused: Record<string, [string, Changes]> = {
    'a manifest altered after signing': [
      'SignatureInvalid',
      {
        bundle: (bundle) => {
          const other = json({ ...manifestWith(ZERO, 1), version: 'x' });
          return { ...JSON.parse(createBundle(key, other)), verificationMaterial: bundle['verificationMaterial'] };
        },
      },
    ],
    'a signature by another key under a pinned name': [
      'SignatureInvalid',
      {
        signedBy: otherKey,
        bundle: edit((b) => (b['verificationMaterial'] = { publicKey: { hint: key.hint } })),
        keys: [pin(key)],
      },
    ],
    'a signature by a key that is not pinned': ['KeyUnknown', { signedBy: otherKey, keys: [pin(key)] }],
    'a revoked key': ['KeyUnknown', { keys: [{ ...pin(key), revoked: true }] }],
    'a key whose time is over': ['KeyUnknown', { keys: [{ ...pin(key), to: '2026-11-23T10:00:00Z' }] }],
    'a key whose time has not come': ['KeyUnknown', { keys: [{ ...pin(key), from: '2026-11-23T10:00:01Z' }] }],
    'a key whose time cannot be read': ['KeyUnknown', { keys: [{ ...pin(key), to: 'next year' }] }],
    'a bundle with a certificate': [
      'KeyUnknown',
      {
        bundle: edit((b) => (b['verificationMaterial'] = { certificate: { rawBytes: 'AAAA' }, tlogEntries: [] })),
      },
    ],
    'a bundle over a statement': [
      'ReleaseMalformed',
      {
        bundle: ({ mediaType, verificationMaterial }) => ({
          mediaType,
          verificationMaterial,
          dsseEnvelope: { payload: 'e30=', payloadType: 'application/json', signatures: [{ sig: 'AAAA' }] },
        }),
      },
    ],
    'a bundle that is not JSON': ['ReleaseMalformed', { bundle: () => '{' }],
    'a bundle of no known form': ['ReleaseMalformed', { bundle: () => ({}) }],
    'a bundle that is too large': ['ReleaseMalformed', { bundle: edit((b) => (b['x'] = 'x'.repeat(64_000))) }],
    'a manifest that is too large': ['ReleaseMalformed', { manifest: () => 'x'.repeat(4_000_001) }],
    'a manifest that is missing': [
      'ReleaseMalformed',
      { registry: (where, ref) => void where.objects.delete(ref.manifest) },
    ],
    'a manifest that is not what its digest says': [
      'DigestMismatch',
      { registry: (where, ref) => void where.objects.set(ref.manifest, Buffer.from('{}')) },
    ],
    'a signed manifest with an unknown field': ['ReleaseMalformed', { manifest: (m) => ({ ...m, extra: 1 }) }],
    'a signed manifest that is not JSON': ['ReleaseMalformed', { manifest: () => 'hello' }],
    'another fleet': ['ReleaseIncompatible', { request: { fleet: 'south' } }],
    'a task that calls the release by another version': [
      'DigestMismatch',
      { ref: (ref) => ({ ...ref, version: '2026.49.0' }) },
    ],
    'a task that claims a higher sequence': ['DigestMismatch', { ref: (ref) => ({ ...ref, sequence: 49 }) }],
    'an expired release': ['ReleaseExpired', { manifest: edit((m) => (m.expires = '2026-11-23T10:00:00Z')) }],
    'a release from after the time of the clock': [
      'ReleaseExpired',
      { manifest: edit((m) => (m.created = '2026-11-23T11:00:01Z')) },
    ],
    'a lower sequence than accepted before': ['SequenceRollback', { request: { highestSequence: 49 } }],
    'a jump of more than a thousand': [
      'SequenceRollback',
      { manifest: edit((m) => (m.sequence = 1_048)), ref: (ref) => ({ ...ref, sequence: 1_048 }) },
    ],
    'an unknown highest sequence': ['SequenceRollback', { request: { highestSequence: Number.NaN } }],
    'a Proxmox that is too new': ['ReleaseIncompatible', { request: { pveVersion: '10.0.1' } }],
    'a Proxmox whose version cannot be read': ['ReleaseIncompatible', { request: { pveVersion: '' } }],
    'a starting point that is too old': ['ReleaseIncompatible', { manifest: edit((m) => (m.compat.minSequence = 48)) }],
    'a scan that denies': ['ScanDenied', { manifest: edit((m) => (m.scan.verdict = 'deny')) }],
    'a scan of another parts list': [
      'ScanDenied',
      { manifest: edit((m) => (m.scan.sbom = `sha256:${'1'.repeat(64)}`)) },
    ],
    'no desired record': [
      'NotPromoted',
      { registry: (where) => void where.pointers.delete(desiredPointer('store-001')) },
    ],
    'a desired record that names nothing': [
      'NotPromoted',
      {
        desired: ({ release: _, ...rest }) => rest,
      },
    ],
    'a desired record of no known form': ['NotPromoted', { desired: () => '{}' }],
    'the desired record of another store': ['NotPromoted', { desired: edit((d) => (d.store = 'store-002')) }],
    'a desired record for another manifest': [
      'NotPromoted',
      { desired: edit((d) => Object.assign(d.release ?? {}, { manifest: ZERO })) },
    ],
    'a desired record for another bundle': [
      'NotPromoted',
      { desired: edit((d) => Object.assign(d.release ?? {}, { bundle: ZERO })) },
    ],
    'a promotion that expired': ['NotPromoted', { desired: edit((d) => (d.expires = '2026-11-23T10:00:00Z')) }],
    'a release without this store': ['ReleaseIncompatible', { manifest: edit((m) => (m.artifacts = [])) }],
    'a release that names the store twice': [
      'ReleaseMalformed',
      { manifest: edit((m) => m.artifacts.push(m.artifacts[0] as (typeof m.artifacts)[0])) },
    ],
    'the configuration of another store': ['ReleaseMalformed', { artifact: edit((a) => (a.store.id = 'store-002')) }],
    'a configuration without a file that it names': ['ReleaseMalformed', { artifact: edit((a) => (a.files = {})) }],
    'a configuration of another size than signed': [
      'DigestMismatch',
      { manifest: edit((m) => ((m.artifacts[0] as { size: number }).size += 1)) },
    ],
    'a configuration that was replaced': [
      'DigestMismatch',
      {
        registry: (where) => {
          for (const [digest, bytes] of where.objects) {
            if (bytes.includes('edge.store-config/v1') && !bytes.includes('edge.release/v1')) {
              where.objects.set(digest, Buffer.from(bytes.toString().replace('4.1', '4.0')));
            }
          }
        },
      },
    ],
  };
  it.each(Object.entries(refused))('refuses %s', async (_, [reason, changes]) => {
    const verdict = await judge(changes);
    expect(verdict).toMatchObject({ kind: 'refused', reason, summary: expect.stringMatching(/\.$/) });
  });

  it('trusts nothing before the signature holds: an unsigned release is refused for its signature alone', async () => {
    const verdict = await judge({
      signedBy: otherKey,
      keys: [pin(key)],
      manifest: edit((m) => {
        m.expires = '2020-01-01T00:00:00Z';
        m.scan.verdict = 'deny';
      }),
    });
    expect(verdict).toMatchObject({ kind: 'refused', reason: 'KeyUnknown' });
  });

  it('does not take a broken link for a bad release', async () => {
    const down = memoryObjects();
    down.get = () => Promise.reject(new ObjectsError('Unavailable', 'no route', { retryable: true }));
    const verifier = createReleaseVerifier({ registry: down, keys: [pin(key)] });
    const ref = { version: '1', sequence: 1, manifest: ZERO, bundle: ZERO };
    await expect(
      verifier.verify({ ref, store: 's', fleet: 'f', now: NOW, highestSequence: 0, pveVersion: '9' }),
    ).rejects.toMatchObject({ kind: 'Unavailable' });
  });
});

describe('a store that is to go back to an older release', () => {
  /** It has accepted 49 and is asked to take 48. */
  const judgeBack = (permit: Changes['permit'], changes: Changes = {}) =>
    judge({ ...changes, ...(permit ? { permit } : {}), request: { highestSequence: 49, ...changes.request } });

  it('takes it with a permit, and is told what permits it', async () => {
    expect(await judgeBack({})).toMatchObject({
      kind: 'accepted',
      manifest: { sequence: 48 },
      permit: { from: { sequence: 49 }, to: { sequence: 48 }, approval: { by: 'ann' } },
    });
  });

  it('refuses it without a permit as a rollback', async () => {
    expect(await judgeBack(undefined)).toMatchObject({ kind: 'refused', reason: 'SequenceRollback' });
  });

  it('does not look at a permit that it does not need', async () => {
    const verdict = await judge({ permit: { altered: () => Buffer.from('nonsense') } });
    expect(verdict).toMatchObject({ kind: 'accepted' });
    expect(verdict).not.toHaveProperty('permit');
  });

  it('takes it until the millisecond before the permit expires', async () => {
    const verdict = await judgeBack({ content: edit((p) => (p.expires = '2026-11-23T10:00:00.001Z')) });
    expect(verdict).toMatchObject({ kind: 'accepted' });
  });

  it('takes it although its clock is up to an hour behind the approval', async () => {
    const verdict = await judgeBack({ content: edit((p) => (p.created = '2026-11-23T11:00:00Z')) });
    expect(verdict).toMatchObject({ kind: 'accepted' });
  });

  const refused: Record<string, [summary: RegExp, permit: Changes['permit'], rest?: Changes]> = {
    'for other stores': [/does not name store-001\.$/, { content: edit((p) => (p.stores = ['store-002'])) }],
    'for a store whose name only begins alike': [
      /does not name store-001\.$/,
      { content: edit((p) => (p.stores = ['store-0010'])) },
    ],
    'for another fleet': [
      /is for the fleet south; this store is in north\.$/,
      { content: edit((p) => (p.fleet = 'south')) },
    ],
    'to another manifest': [/leads to 2026\.48\.0 .*, not to/, { content: edit((p) => (p.to.manifest = ZERO)) }],
    'to another bundle': [/leads to 2026\.48\.0/, { content: edit((p) => (p.to.bundle = ZERO)) }],
    'to another sequence': [/leads to 2026\.48\.0/, { content: edit((p) => (p.to.sequence = 47)) }],
    'to another version': [/leads to 2026\.47\.0/, { content: edit((p) => (p.to.version = '2026.47.0')) }],
    'away from an earlier release than the one it has accepted since': [
      /leads away from 2026\.49\.0 \(sequence 49\); this store has accepted sequence 50\.$/,
      {},
      { request: { highestSequence: 50 } },
    ],
    'away from a later release than it has accepted': [
      /leads away from 2026\.49\.0 \(sequence 51\); this store has accepted sequence 49\.$/,
      { content: edit((p) => (p.from.sequence = 51)) },
    ],
    'that expires now': [
      /expired on 2026-11-23T10:00:00Z\./,
      { content: edit((p) => (p.expires = '2026-11-23T10:00:00Z')) },
    ],
    'from after the time of the clock': [
      /was made on 2026-11-23T11:00:00\.001Z, .* Check the clock\.$/,
      { content: edit((p) => (p.created = '2026-11-23T11:00:00.001Z')) },
    ],
    'by a key that is not pinned': [
      /^The rollback permit is signed by a key that is not pinned here\.$/,
      { signedBy: otherKey },
      { keys: [pin(key)] },
    ],
    'by a revoked key, although the release is signed by a good one': [
      /^Key .* is revoked\.$/,
      { signedBy: otherKey },
      { keys: [{ ...pin(otherKey), revoked: true }, pin(key)] },
    ],
    'by another key under a pinned name': [
      /^The signature does not match the rollback permit\./,
      {
        signedBy: otherKey,
        bundle: edit((b) => (b['verificationMaterial'] = { publicKey: { hint: key.hint } })),
      },
      { keys: [pin(key)] },
    ],
    'altered after signing': [
      /^The signature does not match the rollback permit\./,
      { altered: (bytes) => Buffer.from(bytes.toString().replace('store-002', 'store-003')) },
    ],
    'without its bundle': [
      /^The signature bundle of the rollback permit is not in the registry\.$/,
      { registry: (where, ref) => void where.objects.delete(ref.bundle) },
    ],
    'that is missing': [
      /^The rollback permit is not in the registry\.$/,
      { registry: (where, ref) => void where.objects.delete(ref.permit) },
    ],
    'that is not what its digest says': [
      /^The rollback permit is not what sha256:/,
      { registry: (where, ref) => void where.objects.set(ref.permit, Buffer.from('{}')) },
    ],
    'that is too large': [/^The rollback permit is too large\.$/, { altered: () => Buffer.alloc(1_000_001, 'x') }],
    'that is a signed release manifest': [
      /^The rollback permit is not of the known form \(at schema\)\.$/,
      { content: () => manifestWith(ZERO, 1) },
    ],
    'with a field that is not known': [
      /^The rollback permit is not of the known form/,
      { content: (p) => ({ ...p, forEver: true }) },
    ],
    'without stores': [/not of the known form \(at stores\)/, { content: edit((p) => (p.stores = [])) }],
    'that is not JSON': [/not of the known form/, { content: () => 'let me in' }],
  };
  it.each(Object.entries(refused))('refuses a permit %s', async (_, [summary, permit, rest]) => {
    expect(await judgeBack(permit, rest)).toEqual({
      kind: 'refused',
      reason: 'RollbackNotPermitted',
      summary: expect.stringMatching(summary),
    });
  });

  it('judges the older release as strictly as any', async () => {
    expect(await judgeBack({}, { manifest: edit((m) => (m.expires = '2026-11-23T10:00:00Z')) })).toMatchObject({
      reason: 'ReleaseExpired',
    });
    expect(
      await judgeBack({}, { desired: edit((d) => Object.assign(d.release ?? {}, { manifest: ZERO })) }),
    ).toMatchObject({
      reason: 'NotPromoted',
    });
  });

  it('does not take a broken link for a bad permit', async () => {
    const { get } = registry;
    const broken: Changes['permit'] = {
      registry: (where, ref) => {
        where.get = (digest, max) =>
          digest === ref.permit
            ? Promise.reject(new ObjectsError('Unavailable', 'no route', { retryable: true }))
            : get(digest, max);
      },
    };
    await expect(judgeBack(broken)).rejects.toMatchObject({ kind: 'Unavailable' });
  });
});

describe('what a store was told to go back from', () => {
  const record = {
    schema: 'edge.withdrawn/v1',
    store: 'store-001',
    releases: [{ version: '2026.47.0', sequence: 47, manifest: ZERO }],
  };
  it.each([
    ['is read by its numbers', record, [47]],
    ['is nothing when there is no record', undefined, []],
    ['is nothing when the record is of another store', { ...record, store: 'store-002' }, []],
    ['is nothing when the record cannot be read', { ...record, releases: '47' }, []],
  ])('%s', async (_, stored, sequences) => {
    if (stored) await registry.setPointer('withdrawn/store-001.json', json(stored));
    const verifier = createReleaseVerifier({ registry, keys: [pin(key)] });
    expect(await verifier.withdrawn('store-001')).toEqual(sequences);
  });
});

describe('keys', () => {
  it('refuses to start a store without a usable key', () => {
    const start = (keys: PinnedKey[]) => () => createReleaseVerifier({ registry, keys });
    expect(start([])).toThrow(/No release key is pinned/);
    expect(start([{ hint: 'x', publicKeyPem: 'nonsense' }])).toThrow(/not a PEM public key/);
    expect(start([{ ...pin(key), hint: otherKey.hint }])).toThrow(/is another key/);
    const p384 = generateKeyPairSync('ec', { namedCurve: 'secp384r1' }).publicKey;
    expect(start([{ hint: 'x', publicKeyPem: p384.export({ type: 'spki', format: 'pem' }).toString() }])).toThrow(
      /not ECDSA P-256/,
    );
  });

  it('refuses a private key where a public one belongs', () => {
    const pem = newKey();
    expect(() => createReleaseVerifier({ registry, keys: [{ hint: 'x', publicKeyPem: pem }] })).toThrow(/private key/);
  });

  it('refuses other signing keys without repeating them', () => {
    expect(() => loadSigningKey('canary-secret-key')).toThrow(expect.not.stringContaining('canary'));
    expect(() => loadSigningKey(newKey('secp384r1'))).toThrow(/not ECDSA P-256/);
  });
});

describe('a bundle that cosign 3.1.3 wrote', () => {
  // cosign sign-blob --key … --use-signing-config=false --tlog-upload=false --bundle … release.json
  const bundle = Buffer.from(
    '{"mediaType":"application/vnd.dev.sigstore.bundle.v0.3+json","verificationMaterial":{"publicKey":{"hint":"WMsdQMLUc27VlC3AzaSimQ4Mcr+BeX9CY5FeKJv96Io="}},"messageSignature":{"messageDigest":{"algorithm":"SHA2_256","digest":"TTXny4+2m360afI8Xd7zeqDNyulbicGaW62VAbAHWno="},"signature":"MEUCIE64P4JRMKBhjeLZo0k6OF6TW97rZnxV0Uwdu4QXXxX1AiEAwV3rj4nGjpr8g9nMnCpmg98FR/AlJXIgJETrK2wyIg4="}}',
  );
  const publicKeyPem = [
    '-----BEGIN PUBLIC KEY-----',
    'MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEB5WI7VOSVZMl8vsTGgtGkF3mzmSi',
    'by/gpcrKiapnnt1BHd5eh8fCcCXNSd+J59UWCWPPLUVzkY4a+qIevpUrrg==',
    '-----END PUBLIC KEY-----',
  ].join('\n');
  const { hint } = JSON.parse(bundle.toString()).verificationMaterial.publicKey;

  it('is accepted for the bytes it was made of, and for no others', () => {
    expect(signatureHolds(Buffer.from('{"schema":"edge.release/v1"}'), bundle, { hint, publicKeyPem })).toBe(true);
    expect(signatureHolds(Buffer.from('{"schema":"edge.release/v2"}'), bundle, { hint, publicKeyPem })).toBe(false);
  });

  it('is refused under another key', () => {
    expect(signatureHolds(Buffer.from('{"schema":"edge.release/v1"}'), bundle, pin(otherKey))).toBe(false);
  });

  it('has the same form as ours', () => {
    const shape = (value: unknown): unknown =>
      typeof value === 'object' && value !== null
        ? Object.entries(value).map(([name, inner]) => [name, shape(inner)])
        : typeof value;
    expect(shape(JSON.parse(createBundle(key, Buffer.from('x'))))).toEqual(shape(JSON.parse(bundle.toString())));
  });
});
