import type { GuestFacts } from '#domain/facts.js';
import type { StoreDeps } from './deps.js';
import { readGuests, readHaManager } from './facts.js';
import { waitFor } from './wait.js';

/** Moves guests that HA does not move by itself. An own migration that runs is waited for, never doubled. */
export async function moveGuest(deps: StoreDeps, guest: GuestFacts, target: string): Promise<void> {
  const { proxmox, timing } = deps;
  const type = guest.kind === 'qemu' ? 'qmigrate' : 'vzmigrate';
  const running = (await proxmox.tasks(guest.node, { type, vmid: guest.vmid })).find(
    ({ status }) => status === undefined,
  );
  const upid = running?.upid ?? (await startMove(deps, guest, target, type));
  if (upid)
    await waitFor(deps, timing.drain, async () =>
      (await proxmox.taskStatus(upid)).state === 'stopped' ? true : undefined,
    );
}

async function startMove(
  { proxmox, now }: StoreDeps,
  guest: GuestFacts,
  target: string,
  type: string,
): Promise<string | undefined> {
  const since = Math.floor(now().getTime() / 1_000) - 5;
  try {
    return await proxmox.migrate(guest.node, guest.kind, guest.vmid, target);
  } catch (error) {
    if ((error as { kind?: unknown }).kind !== 'OutcomeUnknown') throw error;
    return (await proxmox.tasks(guest.node, { type, vmid: guest.vmid, since }))[0]?.upid;
  }
}

/** The node with the most memory that no running guest claims. */
export async function roomiest(deps: StoreDeps, guest: GuestFacts, nodes: readonly string[]): Promise<string> {
  const [guests, { nodeStatus }, memory] = await Promise.all([
    readGuests(deps),
    readHaManager(deps),
    deps.proxmox.nodeMemory(),
  ]);
  const candidates = nodes
    .filter((name) => name !== guest.node && nodeStatus[name] === 'online' && memory[name] !== undefined)
    .map((name) => {
      const used = guests
        .filter(({ node, status }) => node === name && status === 'running')
        .reduce((sum, { maxMemory }) => sum + maxMemory, 0);
      return { name, free: (memory[name] ?? 0) - used };
    });
  const best = candidates.sort((a, b) => b.free - a.free)[0];
  if (!best) throw new Error(`No other node can take guest ${guest.vmid}.`);
  return best.name;
}

/**
 * HA brings its own guests back; the others are moved. A guest that stays away is placed wrong, not lost. Answers how
 * many were moved home.
 */
export async function bringHome(
  deps: StoreDeps,
  homes: Readonly<Record<string, string>>,
  node: string,
): Promise<number> {
  const isAway = (guest: GuestFacts) =>
    homes[String(guest.vmid)] === node && guest.node !== node && guest.status === 'running';
  const moved = new Set<number>();
  await waitFor(deps, deps.timing.homecoming, async () => {
    const away = (await readGuests(deps)).filter(isAway);
    for (const guest of away.filter(({ ha }) => !ha)) {
      await moveGuest(deps, guest, node);
      moved.add(guest.vmid);
    }
    const { services } = await readHaManager(deps);
    const moving = services.some(({ state: service }) => service === 'migrate' || service === 'relocate');
    return away.every(({ ha }) => !ha) && !moving ? true : undefined;
  });
  if (moved.size === 0) return 0;
  // A migration can end without having moved anything.
  return (await readGuests(deps)).filter((guest) => guest.node === node && moved.has(guest.vmid)).length;
}
