import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import { z } from 'zod';
import type { World } from '../world/world.js';
import { sha256 } from '../world/guest-sim.js';
import { goesBack, readPermits, type PermitBook, type RollbackPermit } from './permits.js';
import type { RegistryReader } from './registry.js';
import { readPinnedKeys, signerOf, type PinnedKey } from './signature.js';

const run = promisify(execFile);
/** Marks the commit that took promotions back; it promotes nothing. */
const ROLLBACK_TAG = /^edge\/[^/ ]+\/rollback /;
const MAX_GIT_OUTPUT = 64 * 1024 * 1024;

export interface EvidenceSources {
  registry: RegistryReader;
  /** JSON file of the pinned release keys. */
  releaseKeys: string;
  /** The GitOps repo; its tags `edge/<train>/<stage>` tell what was promoted, and when. */
  repo?: string | undefined;
  /** Which permits stores were shown at the time; those of now are read anyway. */
  permits?: PermitBook | undefined;
  /** A permit for another fleet is none. */
  fleet?: string | undefined;
}

/** A release that was promoted for a store. Times are milliseconds since the epoch. */
export interface PromotedRelease {
  store: string;
  tag: string;
  promotedAt: number;
  version: string;
  manifest: string;
  /** Why it may not be used at all, e.g. a bad signature. */
  refused?: string | undefined;
  validFrom: number;
  validTo: number;
  packages: ReadonlyMap<string, string>;
  kernel: string;
  /** `sha256:…` of each file of the store's own config. */
  configDigests: ReadonlySet<string>;
}

export interface Evidence {
  byStore: ReadonlyMap<string, PromotedRelease[]>;
  permits: ReadonlyMap<string, RollbackPermit[]>;
  /** Why nothing can be said, e.g. no pinned keys: then whatever was applied is a violation. */
  unavailable?: string | undefined;
}

const refSchema = z.object({ version: z.string(), manifest: z.string(), bundle: z.string() });
const promotionSchema = z.object({ release: refSchema, stores: z.array(z.string()) });
const manifestSchema = z.object({
  version: z.string(),
  created: z.string(),
  expires: z.string(),
  packages: z.object({
    kernel: z.string(),
    pinned: z.array(z.object({ name: z.string(), version: z.string() })),
  }),
  artifacts: z.array(z.object({ store: z.string(), digest: z.string() })),
});
const artifactSchema = z.object({ files: z.record(z.string(), z.string()) });

interface Promotion {
  tag: string;
  at: number;
  ref: z.output<typeof refSchema>;
  stores: string[];
}

/** What the releases say that were promoted for the practice stores, each checked by the lab itself. */
export async function gatherEvidence(world: World, sources: EvidenceSources): Promise<Evidence> {
  try {
    const { repo } = sources;
    if (repo === undefined) throw new Error('the lab was given no repo, so promotions are unknown');
    const keys = readPinnedKeys(sources.releaseKeys);
    const byStore = new Map<string, PromotedRelease[]>();
    for (const promotion of await readPromotions(repo)) {
      const release = await readRelease(promotion, keys, sources.registry);
      for (const store of promotion.stores.filter((id) => world.stores.has(id))) {
        const own = await forStore(release, store, sources.registry);
        byStore.set(store, [...(byStore.get(store) ?? []), own]);
      }
    }
    const permits = new Map<string, RollbackPermit[]>();
    const wentBack = world.journal.entries.filter((entry) => entry.effect === 'packages.begin' && goesBack(entry));
    for (const store of new Set(wentBack.map(({ store }) => store))) {
      permits.set(store, await readPermits(store, keys, sources));
    }
    return { byStore, permits };
  } catch (error) {
    return {
      byStore: new Map(),
      permits: new Map(),
      unavailable: error instanceof Error ? error.message : String(error),
    };
  }
}

async function git(repo: string, args: string[]): Promise<string> {
  const { stdout } = await run('git', ['-C', repo, '-c', 'core.hooksPath=/dev/null', ...args], {
    maxBuffer: MAX_GIT_OUTPUT,
  });
  return stdout;
}

async function readPromotions(repo: string): Promise<Promotion[]> {
  const format = '--format=%(refname:strip=2) %(creatordate:unix)';
  const lines = (await git(repo, ['for-each-ref', format, 'refs/tags/edge/']))
    .split('\n')
    .filter((line) => line !== '' && !ROLLBACK_TAG.test(line));
  return Promise.all(
    lines.map(async (line) => {
      const [tag = '', seconds = ''] = line.split(' ');
      const [, train = '', stage = ''] = tag.split('/');
      const text = await git(repo, ['show', `refs/tags/${tag}^{commit}:promotions/${train}/${stage}.json`]);
      const { release, stores } = promotionSchema.parse(JSON.parse(text));
      return { tag, at: Number(seconds) * 1_000, ref: release, stores };
    }),
  );
}

interface ReadRelease {
  promotion: Promotion;
  manifest?: z.output<typeof manifestSchema>;
  key?: PinnedKey;
  refused?: string;
}

async function readRelease(promotion: Promotion, keys: PinnedKey[], registry: RegistryReader): Promise<ReadRelease> {
  const [bytes, bundle] = await Promise.all([
    registry.object(promotion.ref.manifest),
    registry.object(promotion.ref.bundle),
  ]);
  if (!bytes || !bundle) return { promotion, refused: 'its manifest or bundle is not in the registry' };
  const signer = signerOf(bytes, bundle, keys);
  if (typeof signer === 'string') return { promotion, refused: signer };
  const manifest = manifestSchema.safeParse(JSON.parse(bytes.toString('utf8')));
  if (!manifest.success) return { promotion, refused: 'its manifest has another form' };
  return { promotion, manifest: manifest.data, key: signer };
}

async function forStore(release: ReadRelease, store: string, registry: RegistryReader): Promise<PromotedRelease> {
  const { promotion, manifest, key } = release;
  const common = {
    store,
    tag: promotion.tag,
    promotedAt: promotion.at,
    version: promotion.ref.version,
    manifest: promotion.ref.manifest,
  };
  const nothing = {
    validFrom: 0,
    validTo: 0,
    packages: new Map<string, string>(),
    kernel: '',
    configDigests: new Set<string>(),
  };
  if (!manifest || !key) return { ...common, ...nothing, refused: release.refused };
  const entry = manifest.artifacts.find((artifact) => artifact.store === store);
  const bytes = entry && (await registry.object(entry.digest));
  const artifact = bytes && artifactSchema.safeParse(JSON.parse(bytes.toString('utf8')));
  if (!artifact?.success) return { ...common, ...nothing, refused: `it has no config for ${store}` };
  return {
    ...common,
    validFrom: Math.max(key.from, Date.parse(manifest.created)),
    validTo: Math.min(key.to, Date.parse(manifest.expires)),
    packages: new Map(manifest.packages.pinned.map(({ name, version }) => [name, version])),
    kernel: manifest.packages.kernel,
    configDigests: new Set(Object.values(artifact.data.files).map(sha256)),
  };
}
