import { blockingChecks, foreignFlags } from '#domain/ceph-health.js';
import { lacking } from '#domain/decide-store.js';
import { kernelFor } from '#domain/downgrade.js';
import type { GuestProbe, ProbeFacts } from '#domain/facts.js';
import type { Guest } from '#domain/fleet.js';
import { pinsOf, type Opened, type StoreDeps } from './deps.js';
import { readCluster, readGuests, readHaManager, readInstalled, runnerOf } from './facts.js';

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
    read('HA status', readHaManager(deps)),
    read('ceph', deps.ceph.facts()),
    read('guests', probeGuests(deps, opened?.artifact.store.guests ?? [])),
    opened ? read('inventory', inventoryMatches(deps, opened)) : undefined,
  ]);
  if (typeof release === 'string') unreadable.push(`inventory: ${release}`);
  const leftSet = [
    ...(ceph ? foreignFlags(ceph, []) : []),
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

async function inventoryMatches(deps: StoreDeps, opened: Opened): Promise<boolean> {
  const pins = pinsOf(opened, deps.state.trust().wentBack === true);
  const nodes = await Promise.all(
    [...deps.nodes.keys()].map(async (name) => {
      const [installed, { kernel }] = await Promise.all([
        readInstalled(runnerOf(deps, name), Object.keys(pins.packages)),
        deps.proxmox.nodeStatus(name),
      ]);
      return (
        lacking({ installed }, pins).length === 0 && kernel === kernelFor({ installed, runningKernel: kernel }, pins)
      );
    }),
  );
  return nodes.every(Boolean);
}
