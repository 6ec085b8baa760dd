import type { JournalEntry } from '../world/journal.js';
import type { Found, StoreCase } from './check.js';
import type { PromotedRelease } from './evidence.js';
import { goesBack, type RollbackPermit } from './permits.js';
import { compareVersions } from '../world/mirror.js';

/** A tag's time has whole seconds only, and both clocks are this machine's. */
const TAG_GRANULARITY_MS = 1_000;
/** Clocks of builder and store may differ a little. */
const CREATED_TOLERANCE_MS = 60_000;

type Verdict = { kind: 'fits' } | { kind: 'why'; text: string };

function usable(release: PromotedRelease, when: number): string | undefined {
  if (release.refused !== undefined) return release.refused;
  if (when < release.promotedAt - TAG_GRANULARITY_MS) return 'it was promoted later';
  if (when >= release.validTo) return 'it had expired';
  if (when < release.validFrom - CREATED_TOLERANCE_MS) return 'it was not valid yet';
  return undefined;
}

/** Whether one of the store's promoted releases explains the entry; else why none does. */
function judge(
  store: StoreCase,
  entry: JournalEntry,
  differs: (release: PromotedRelease) => string | undefined,
): Verdict {
  const { evidence } = store;
  if (evidence.unavailable !== undefined) {
    return { kind: 'why', text: `nothing can be proved: ${evidence.unavailable}` };
  }
  const when = Date.parse(entry.at);
  const releases = evidence.byStore.get(store.id) ?? [];
  if (releases.length === 0) return { kind: 'why', text: 'no release was ever promoted for the store' };
  const reasons = releases.map((release) => {
    const why = usable(release, when) ?? differs(release);
    return why === undefined ? undefined : `${release.version} (${release.tag}): ${why}`;
  });
  if (reasons.includes(undefined)) return { kind: 'fits' };
  return { kind: 'why', text: reasons.join('; ') };
}

export function packagesFromReleases(store: StoreCase): Found[] {
  return store.entries
    .filter(({ effect }) => effect === 'packages.install' || effect === 'packages.fail')
    .flatMap((entry) => {
      const back = goesBack(entry);
      const verdict = judge(store, entry, (release) =>
        back
          ? (packagesDiffer(entry, release, 'back') ?? notPermitted(store, entry, release))
          : packagesDiffer(entry, release, 'forward'),
      );
      if (verdict.kind === 'fits') return [];
      return [
        { summary: `packages on ${entry.node} are of no promoted release: ${verdict.text}`.slice(0, 1_000), entry },
      ];
    });
}

/** Older packages need more than a release that was promoted once: a permit for this store to go back to it. */
function notPermitted(store: StoreCase, entry: JournalEntry, to: PromotedRelease): string | undefined {
  const { permits, byStore } = store.evidence;
  const when = Date.parse(entry.at);
  const had = (byStore.get(store.id) ?? []).map(({ manifest }) => manifest);
  const why = (permit: RollbackPermit): string | undefined => {
    if (permit.refused !== undefined) return permit.refused;
    if (permit.to !== to.manifest) return 'the permit is for another release';
    if (!had.includes(permit.from)) return 'the permit is from a release that the store never had';
    if (when >= permit.validTo) return 'the permit had expired';
    return when < permit.validFrom - CREATED_TOLERANCE_MS ? 'the permit was not valid yet' : undefined;
  };
  const reasons = (permits.get(store.id) ?? []).map(why);
  if (reasons.includes(undefined)) return undefined;
  return reasons.length === 0 ? 'packages went back without a permit' : reasons.join(', ');
}

/** Ceph's daemons, and what is built with them. On the way back they stay: older ones cannot read what newer ones wrote. */
const CEPH = /^(ceph|lib(rados|rbd|rgw|cephfs|sqlite3-mod-ceph)|python3-(ceph|rados|rbd|rgw|cephfs)|rados|rbd)/;

export const isCeph = (name: string): boolean => CEPH.test(name);

function packagesDiffer(
  entry: JournalEntry,
  { packages }: PromotedRelease,
  way: 'forward' | 'back',
): string | undefined {
  const before = (entry.before ?? {}) as Record<string, string>;
  const after = (entry.after ?? {}) as Record<string, string>;
  const strange = Object.entries(after).find(
    ([name, version]) => before[name] !== version && packages.get(name) !== version,
  );
  if (strange) return `it does not have ${strange[0]} ${strange[1]}`;
  if (entry.effect === 'packages.fail') return undefined;
  const inventory = (entry.detail?.['inventory'] ?? {}) as Record<string, string>;
  const stays = (name: string, version: string): boolean =>
    way === 'back' && isCeph(name) && compareVersions(inventory[name] ?? '', version) > 0;
  const absent = [...packages].find(([name, version]) => inventory[name] !== version && !stays(name, version));
  return absent ? `${absent[0]} is ${inventory[absent[0]] ?? 'not installed'}, not ${absent[1]}` : undefined;
}

/** A switch back to what was active before is the last good config, whatever brought that. */
export function configFromReleases(store: StoreCase): Found[] {
  const earlier = new Map<string, Set<unknown>>();
  return store.entries
    .filter(({ effect }) => effect === 'guest.config.switch')
    .flatMap((entry) => {
      const place = `${entry.guest} ${String(entry.detail?.['path'])}`;
      const seen = earlier.get(place) ?? new Set<unknown>();
      earlier.set(place, seen.add(entry.before));
      if (entry.after !== undefined && seen.has(entry.after)) return [];
      const verdict = judge(store, entry, ({ configDigests }) =>
        configDigests.has(String(entry.after)) ? undefined : 'it has no such file',
      );
      if (verdict.kind === 'fits') return [];
      return [
        { summary: `config of guest ${entry.guest} is of no promoted release: ${verdict.text}`.slice(0, 1_000), entry },
      ];
    });
}
