import { createHash } from 'node:crypto';
import { join } from 'node:path';
import type { Store } from '#domain/fleet.js';
import { upgradeUnit } from '#domain/naming.js';
import { storeFolder } from '#domain/repo-check.js';
import { shellQuote } from '#systems/ssh/quote.js';
import type { StoreWorkerConfig } from '#workers/config.js';
import type { LoadedRepo } from '../repo.js';

/** What an installer gave for a store, and the folder that it lies in. */
export interface Enrolled {
  folder: string;
  config: StoreWorkerConfig;
}

interface InventoryOptions {
  repo: LoadedRepo;
  stages: readonly { name: string; stores: readonly string[] }[];
  enrolled: ReadonlyMap<string, Enrolled>;
  /** `sha256:…` of the release's manifest. */
  manifest: string;
  knownHosts: string;
  /** Content of a file of the repo, by path. */
  fileOf: (path: string) => string;
}

/**
 * The practice fleet as an inventory: a host is a store, and the node that is spoken to at the moment is `node`.
 * Everything is taken from the GitOps repo and from what the stores' own workers are given; waits and their limits too.
 */
export function inventoryOf(options: InventoryOptions): object {
  const { repo, stages, enrolled, manifest, knownHosts } = options;
  const { release } = repo.fleet;
  const byId = new Map(repo.stores.map((store) => [store.id, store]));
  const hostsOf = (ids: readonly string[]) =>
    Object.fromEntries(
      ids.map((id) => {
        const [store, at] = [byId.get(id), enrolled.get(id)];
        if (!store || !at) throw new Error(`The store ${id} has no place in the practice fleet.`);
        return [id, hostOf(store, at, options)];
      }),
    );
  const [any] = enrolled.values();
  if (!any) throw new Error('The practice fleet has enrolled no store.');
  return {
    all: {
      vars: {
        ansible_host: '{{ nodes[node].address }}',
        ansible_port: '{{ nodes[node].port }}',
        ansible_user: any.config.ssh.user,
        ansible_ssh_private_key_file: '{{ enrolment }}/ssh-key',
        ansible_ssh_common_args: `-o UserKnownHostsFile=${knownHosts}`,
        packages: Object.fromEntries(release.packages.map(({ name, version }) => [name, version])),
        kernel: release.kernel,
        sources: `${release.sources.map((line) => line.replaceAll('{snapshot}', release.snapshot)).join('\n')}\n`,
        unit: upgradeUnit(manifest),
        ...patienceOf(any.config.timing),
      },
      children: Object.fromEntries(stages.map(({ name, stores }) => [groupOf(name), { hosts: hostsOf(stores) }])),
    },
  };
}

/** Ansible's groups take no dash. */
export const groupOf = (stage: string): string => `stage_${stage.replaceAll('-', '_')}`;

function hostOf(store: Store, { folder, config }: Enrolled, { repo, fileOf }: InventoryOptions): object {
  const [first] = store.nodes;
  const nodes = config.proxmox.nodes.map(({ name, address, port }) => {
    const ssh = config.ssh.nodes[name];
    if (!ssh) throw new Error(`The store ${store.id} has no SSH address for its node ${name}.`);
    return [name, { address: ssh.address, port: ssh.port, api: `https://${address}:${port}/api2/json` }];
  });
  const configs = store.guests.flatMap((guest) =>
    guest.config.map(({ file, target, check, reload }) => {
      const source = `${storeFolder(store.id)}/${file}`;
      const digest = createHash('sha256').update(fileOf(source)).digest('hex');
      const path = `/etc/edge-governor/releases/${digest}/${file}`;
      return {
        guest: guest.name,
        vmid: guest.vmid,
        kind: guest.kind,
        health: guest.health,
        file,
        target,
        path,
        source: join(repo.dir, source),
        check: shellQuote(check.map((word) => word.replaceAll('{file}', path))),
        reload: shellQuote(reload),
      };
    }),
  );
  return { node: first?.name, nodes: Object.fromEntries(nodes), enrolment: folder, configs };
}

/** As patient, and as impatient, as a store worker. */
function patienceOf(timing: StoreWorkerConfig['timing']): { look_every: number; tries: Record<string, number> } {
  const { poll, drain, upgrade, reboot, recovery, homecoming } = timing;
  const tries = Object.entries({ drain, upgrade, reboot, recovery, homecoming }).map(
    ([name, limit]) => [name, Math.ceil(limit / poll)] as const,
  );
  return { look_every: poll / 1_000, tries: Object.fromEntries(tries) };
}

/** One line a node, as `known_hosts` of OpenSSH has them. */
export const knownHostsOf = (enrolled: Iterable<Enrolled>): string =>
  [...enrolled]
    .flatMap(({ config }) => Object.values(config.ssh.nodes))
    .map(({ address, port, hostKey }) => `[${address}]:${port} ssh-ed25519 ${hostKey}\n`)
    .join('');
