import { execFileSync } from 'node:child_process';
import { createHash, generateKeyPairSync, sign } from 'node:crypto';
import { mkdirSync, mkdtempSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { EvidenceSources } from '#lab/check/evidence.js';
import { builtinMirror, NEXT_SNAPSHOT, WEEKLY_SNAPSHOT } from '#lab/world/mirror.js';

export const GOOD_VCL = 'vcl 4.1;\nbackend default { .host = "127.0.0.1"; .port = "8080"; }\n';

export interface ReleaseChanges {
  expires?: string;
  packages?: Record<string, string>;
  /** Signs with a key that nobody pinned. */
  foreignKey?: boolean;
  /** Signs with another key and names the pinned one. */
  forged?: boolean;
  /** Changes one byte after signing. */
  tampered?: boolean;
  stores?: string[];
  promoted?: boolean;
  /** Also promotes the release of the week after, later than this one. */
  next?: boolean;
  /** A permit to go back from the release of the week after to this one, shown to every store. */
  permit?: PermitChanges;
}

export interface PermitChanges {
  stores?: string[];
  fleet?: string;
  expires?: string;
  /** Digest of another manifest than this release's. */
  to?: string;
  from?: string;
  foreignKey?: boolean;
  tampered?: boolean;
}

const digestOf = (bytes: Buffer): string => `sha256:${createHash('sha256').update(bytes).digest('hex')}`;

/** A signed and promoted release in a registry and a Git repo of its own: what the check reads, made without the service. */
export function aPromotedRelease(folder: string, changes: ReleaseChanges = {}): EvidenceSources {
  const dir = mkdtempSync(join(folder, 'release-'));
  const objects = new Map<string, Buffer>();
  const put = (bytes: Buffer): string => {
    objects.set(digestOf(bytes), bytes);
    return digestOf(bytes);
  };
  const pinned = generateKeyPairSync('ec', { namedCurve: 'P-256' });
  const signer = changes.foreignKey || changes.forged ? generateKeyPairSync('ec', { namedCurve: 'P-256' }) : pinned;
  const hintOf = (key: typeof pinned): string =>
    createHash('sha256')
      .update(key.publicKey.export({ type: 'spki', format: 'der' }))
      .digest('base64');

  const stores = changes.stores ?? ['store-001'];
  const artifacts = stores.map((store) => ({
    store,
    digest: put(Buffer.from(JSON.stringify({ store: { id: store }, files: { 'varnish-vcl.vcl': GOOD_VCL } }))),
  }));
  const packages = changes.packages ?? Object.fromEntries(builtinMirror.get(WEEKLY_SNAPSHOT) ?? []);
  const manifest = Buffer.from(
    JSON.stringify({
      version: '2026.48.0',
      created: '2026-01-01T00:00:00Z',
      expires: changes.expires ?? '2099-01-01T00:00:00Z',
      packages: {
        kernel: '6.14.11-4-pve',
        pinned: Object.entries(packages).map(([name, version]) => ({ name, version })),
      },
      artifacts,
    }),
  );
  const bundleOver = (bytes: Buffer, by: typeof pinned, hint: string): Buffer =>
    Buffer.from(
      JSON.stringify({
        mediaType: 'application/vnd.dev.sigstore.bundle.v0.3+json',
        verificationMaterial: { publicKey: { hint } },
        messageSignature: {
          messageDigest: { algorithm: 'SHA2_256', digest: createHash('sha256').update(bytes).digest('base64') },
          signature: sign('sha256', bytes, by.privateKey).toString('base64'),
        },
      }),
    );
  const bundle = bundleOver(manifest, signer, hintOf(changes.foreignKey ? signer : pinned));
  const later = Buffer.from(
    JSON.stringify({
      ...(JSON.parse(manifest.toString()) as object),
      version: '2026.49.0',
      packages: {
        kernel: '6.14.11-5-pve',
        pinned: [...(builtinMirror.get(NEXT_SNAPSHOT) ?? [])].map(([name, version]) => ({ name, version })),
      },
    }),
  );
  if (changes.tampered) manifest[manifest.length - 2] = 0x20;
  const release = { version: '2026.48.0', sequence: 1, manifest: put(manifest), bundle: put(bundle) };

  const repo = join(dir, 'repo');
  mkdirSync(join(repo, 'promotions/2026-w48'), { recursive: true });
  writeFileSync(join(repo, 'promotions/2026-w48/canary.json'), JSON.stringify({ release, stores }));
  const git = (...args: string[]) =>
    execFileSync(
      'git',
      ['-C', repo, '-c', 'user.name=t', '-c', 'user.email=t@localhost', '-c', 'commit.gpgsign=false', ...args],
      {
        stdio: 'pipe',
      },
    );
  const next = {
    version: '2026.49.0',
    sequence: 2,
    manifest: put(later),
    bundle: put(bundleOver(later, pinned, hintOf(pinned))),
  };
  if (changes.next) {
    mkdirSync(join(repo, 'promotions/2026-w49'), { recursive: true });
    writeFileSync(join(repo, 'promotions/2026-w49/canary.json'), JSON.stringify({ release: next, stores }));
  }
  git('init', '-q', '-b', 'main');
  git('add', '-A');
  git('commit', '-q', '-m', 'Promote');
  if (changes.promoted !== false) git('tag', '-a', '-m', 'canary', 'edge/2026-w48/canary');

  if (changes.next) git('tag', '-a', '-m', 'canary', 'edge/2026-w49/canary');
  // The commit that took the promotions of a train back carries a tag as well, and promotes nothing.
  if (changes.permit) git('tag', '-a', '-m', 'rollback', 'edge/2026-w49/rollback');
  const pointers = new Map<string, Buffer>();
  if (changes.permit) {
    const { permit } = changes;
    const bytes = Buffer.from(
      JSON.stringify({
        schema: 'edge.rollback-permit/v1',
        fleet: permit.fleet ?? 'practice',
        stores: permit.stores ?? stores,
        from: { version: next.version, sequence: next.sequence, manifest: permit.from ?? next.manifest },
        to: { ...release, manifest: permit.to ?? release.manifest },
        approval: { id: 'a1', by: 'ada', at: '2026-01-01T00:00:00Z', planHash: 'sha256:0' },
        created: '2026-01-01T00:00:00Z',
        expires: permit.expires ?? '2099-01-01T00:00:00Z',
      }),
    );
    const by = permit.foreignKey ? generateKeyPairSync('ec', { namedCurve: 'P-256' }) : pinned;
    const ref = { bundle: put(bundleOver(bytes, by, hintOf(by))), permit: '' };
    if (permit.tampered) bytes[bytes.length - 2] = 0x20;
    ref.permit = put(bytes);
    for (const store of stores) pointers.set(`desired/${store}.json`, Buffer.from(JSON.stringify({ permit: ref })));
  }

  const releaseKeys = join(dir, 'keys.json');
  const publicKeyPem = pinned.publicKey.export({ type: 'spki', format: 'pem' });
  writeFileSync(releaseKeys, JSON.stringify([{ hint: hintOf(pinned), publicKeyPem }]));
  const registry: EvidenceSources['registry'] = {
    object: (digest) => Promise.resolve(objects.get(digest)),
    pointer: (name) => Promise.resolve(pointers.get(name)),
  };
  return { repo, releaseKeys, registry, fleet: 'practice' };
}
