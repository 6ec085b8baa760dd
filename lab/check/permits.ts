import { existsSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { z } from 'zod';
import { compareVersions } from '../world/mirror.js';
import type { JournalEntry } from '../world/journal.js';
import type { World } from '../world/world.js';
import type { RegistryReader } from './registry.js';
import { signerOf, type PinnedKey } from './signature.js';

/** What a desired record says of the permit that a way back needs. */
const permitRefSchema = z.object({ permit: z.string(), bundle: z.string() });
const desiredSchema = z.object({ permit: permitRefSchema.optional() });
export type PermitRef = z.output<typeof permitRefSchema>;

const releaseSchema = z.object({ version: z.string(), sequence: z.number(), manifest: z.string() });
const permitSchema = z.object({
  schema: z.literal('edge.rollback-permit/v1'),
  fleet: z.string(),
  stores: z.array(z.string()),
  from: releaseSchema,
  to: releaseSchema,
  created: z.iso.datetime().transform(Date.parse),
  expires: z.iso.datetime().transform(Date.parse),
});

/** A permit that a store was shown. Times are milliseconds since the epoch. */
export type RollbackPermit =
  { refused: string } | { refused?: undefined; from: string; to: string; validFrom: number; validTo: number };

/** Which permits the stores of a fleet were shown when they went back. A desired record is replaced by the next one. */
export interface PermitBook {
  of(store: string): readonly PermitRef[];
}

/** True for packages that get an older version than they had. */
export function goesBack({ before, after }: JournalEntry): boolean {
  const old = (before ?? {}) as Record<string, string>;
  return Object.entries((after ?? {}) as Record<string, string>).some(
    ([name, version]) => old[name] !== undefined && compareVersions(version, old[name]) < 0,
  );
}

/** Reads a store's desired record whenever a package of it gets an older version, and remembers the permit over restarts. */
export function watchPermits(world: World, registry: RegistryReader): PermitBook {
  const file = join(world.stateDir, 'permits.json');
  const book = new Map<string, PermitRef[]>();
  if (existsSync(file)) {
    const kept = z.record(z.string(), z.array(permitRefSchema)).parse(JSON.parse(readFileSync(file, 'utf8')));
    for (const [store, refs] of Object.entries(kept)) book.set(store, refs);
  }
  world.journal.onEntry((entry) => {
    if (entry.effect !== 'packages.begin' || !goesBack(entry)) return;
    void permitNow(registry, entry.store).then(
      (ref) => {
        const known = book.get(entry.store) ?? [];
        if (ref === undefined || known.some(({ permit }) => permit === ref.permit)) return;
        book.set(entry.store, [...known, ref]);
        writeFileSync(`${file}.new`, JSON.stringify(Object.fromEntries(book)), { mode: 0o600 });
        renameSync(`${file}.new`, file);
      },
      // Unreadable now: then the check finds no permit, unless the record still stands at its time.
      () => undefined,
    );
  });
  return { of: (store) => book.get(store) ?? [] };
}

async function permitNow(registry: RegistryReader, store: string): Promise<PermitRef | undefined> {
  const bytes = await registry.pointer(`desired/${store}.json`);
  return bytes && desiredSchema.safeParse(JSON.parse(bytes.toString('utf8'))).data?.permit;
}

/** All permits that the store was shown, each checked by the lab itself. */
export async function readPermits(
  store: string,
  keys: PinnedKey[],
  {
    registry,
    permits,
    fleet,
  }: { registry: RegistryReader; permits?: PermitBook | undefined; fleet?: string | undefined },
): Promise<RollbackPermit[]> {
  const now = await permitNow(registry, store);
  const refs = new Map([...(permits?.of(store) ?? []), ...(now ? [now] : [])].map((ref) => [ref.permit, ref]));
  return Promise.all([...refs.values()].map((ref) => readPermit(ref, store, keys, registry, fleet)));
}

async function readPermit(
  ref: PermitRef,
  store: string,
  keys: PinnedKey[],
  registry: RegistryReader,
  fleet: string | undefined,
): Promise<RollbackPermit> {
  const [bytes, bundle] = await Promise.all([registry.object(ref.permit), registry.object(ref.bundle)]);
  if (!bytes || !bundle) return { refused: 'the permit or its bundle is not in the registry' };
  const signer = signerOf(bytes, bundle, keys);
  if (typeof signer === 'string') return { refused: `the permit: ${signer}` };
  const parsed = permitSchema.safeParse(jsonOf(bytes));
  if (!parsed.success) return { refused: 'the permit has another form' };
  const permit = parsed.data;
  if (fleet !== undefined && permit.fleet !== fleet) return { refused: `the permit is for the fleet ${permit.fleet}` };
  if (!permit.stores.includes(store)) return { refused: 'the permit names other stores' };
  return {
    from: permit.from.manifest,
    to: permit.to.manifest,
    validFrom: Math.max(signer.from, permit.created),
    validTo: Math.min(signer.to, permit.expires),
  };
}

function jsonOf(bytes: Buffer): unknown {
  try {
    return JSON.parse(bytes.toString('utf8'));
  } catch {
    return undefined;
  }
}
