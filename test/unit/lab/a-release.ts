import { execFileSync } from 'node:child_process';
import { createHash, generateKeyPairSync, sign } from 'node:crypto';
import { mkdirSync, mkdtempSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { EvidenceSources } from '#lab/check/evidence.js';
import { builtinMirror, WEEKLY_SNAPSHOT } from '#lab/world/mirror.js';

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
  const bundle = Buffer.from(
    JSON.stringify({
      mediaType: 'application/vnd.dev.sigstore.bundle.v0.3+json',
      verificationMaterial: { publicKey: { hint: hintOf(changes.foreignKey ? signer : pinned) } },
      messageSignature: {
        messageDigest: { algorithm: 'SHA2_256', digest: createHash('sha256').update(manifest).digest('base64') },
        signature: sign('sha256', manifest, signer.privateKey).toString('base64'),
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
  git('init', '-q', '-b', 'main');
  git('add', '-A');
  git('commit', '-q', '-m', 'Promote');
  if (changes.promoted !== false) git('tag', '-a', '-m', 'canary', 'edge/2026-w48/canary');

  const releaseKeys = join(dir, 'keys.json');
  const publicKeyPem = pinned.publicKey.export({ type: 'spki', format: 'pem' });
  writeFileSync(releaseKeys, JSON.stringify([{ hint: hintOf(pinned), publicKeyPem }]));
  return { repo, releaseKeys, registry: { object: (digest) => Promise.resolve(objects.get(digest)) } };
}
