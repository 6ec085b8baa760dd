import { blockingChecks } from '#domain/ceph-health.js';
import { pinnedPackages } from '#domain/release.js';
import { differing } from '#domain/decide-store.js';
import type { GuestProbe, ProbeFacts } from '#domain/facts.js';
import type { Guest } from '#domain/fleet.js';
import type { Opened, StoreDeps } from './deps.js';
import { readCluster, readGuests, readHa, readInstalled, runnerOf } from './facts.js';

/** Measures every guest of the store as its clients see it. */
export async function probeGuests(deps: StoreDeps, guests: readonly Guest[]): Promise<GuestProbe[]> {
  const seen = await readGuests(deps);
  return Promise.all(
    guests.map(async (guest) => {
      const running = seen.find(({ vmid }) => vmid === guest.vmid)?.status === 'running';
      const measured = await deps.probe(guest).catch(() => ({ healthy: false }));
      return { vmid: guest.vmid, name: guest.name, running, ...measured };
    }),
  );
}

/** What a health gate asks. Only looks. Instead of the release there may be the reason why there is none to compare with. */
export async function probeStore(deps: StoreDeps, release: Opened | string): Promise<ProbeFacts> {
  const opened = typeof release === 'string' ? undefined : release;
  const unreadable: string[] = [];
  const read = async <T>(what: string, reading: Promise<T>): Promise<T | undefined> =>
    reading.catch((error: unknown) => {
      unreadable.push(`${what}: ${error instanceof Error ? error.message : String(error)}`);
      return undefined;
    });
  const [cluster, ha, ceph, guests, matches] = await Promise.all([
    read('cluster status', readCluster(deps)),
    read('HA status', readHa(deps)),
    read('ceph', deps.ceph.facts()),
    read('guests', probeGuests(deps, opened?.artifact.store.guests ?? [])),
    opened ? read('inventory', inventoryMatches(deps, opened)) : undefined,
  ]);
  if (typeof release === 'string') unreadable.push(`inventory: ${release}`);
  const leftSet = [
    ...Object.entries(ceph?.hostFlags ?? {}).flatMap(([host, flags]) => flags.map((flag) => `${flag} on ${host}`)),
    ...Object.entries(ha?.nodeStatus ?? {})
      .filter(([, status]) => status === 'maintenance')
      .map(([node]) => `maintenance of ${node}`),
  ];
  return {
    store: deps.store,
    at: deps.now().toISOString(),
    reachable: true,
    unreadable,
    quorate: cluster?.quorate ?? false,
    nodesOnline: cluster?.nodes.filter(({ online }) => online).length ?? 0,
    nodesTotal: opened?.artifact.store.nodes.length ?? cluster?.nodes.length ?? 0,
    cephBlocking: ceph ? blockingChecks(ceph).map(({ code }) => code) : [],
    leftSet,
    ...(matches === undefined ? {} : { inventoryMatches: matches }),
    guests: guests ?? [],
    baseline: deps.state.trust().baseline,
  };
}

async function inventoryMatches(deps: StoreDeps, { manifest }: Opened): Promise<boolean> {
  const packages = pinnedPackages(manifest);
  const nodes = await Promise.all(
    [...deps.nodes.keys()].map(async (name) => {
      const [installed, status] = await Promise.all([
        readInstalled(runnerOf(deps, name), Object.keys(packages)),
        deps.proxmox.nodeStatus(name),
      ]);
      return differing({ installed }, packages).length === 0 && status.kernel === manifest.packages.kernel;
    }),
  );
  return nodes.every(Boolean);
}
