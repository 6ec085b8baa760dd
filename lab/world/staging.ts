import { isLoopback } from './pbs/estate.js';
import type { PbsSim } from './pbs/pbs-sim.js';
import { RESTORE, STAGING_LAYOUT } from './layout.js';
import type { NodeSpec } from './specs.js';
import { toSpec } from './specs.js';
import { StoreSim } from './store-sim.js';
import type { World } from './world.js';

/**
 * The staging site as its installer left it: three nodes beside the central backup server, where restored guests are
 * tried on a network of their own, and a few guests that people need. Ceph runs along in it as in every practice site,
 * and nothing lies on it.
 */
export const STAGING = 'staging';

/** Their last number on the network of the central server; what a fleet uses is far below. */
const FIRST_OCTET = 241;

/** What it reads the backups of all stores with. */
export const READ_TOKEN = 'edge-staging@pbs!restore';

/**
 * What the worker of the site may do on Proxmox VE. A guest that was restored is in the pool, one whose restore failed is
 * in none: those are taken away over SSH, by ids of the range alone. The bridge that it may use has no port.
 */
export const STAGING_PRIVILEGES: Record<string, string[]> = {
  '/': ['Sys.Audit'],
  '/vms': ['VM.Audit'],
  [`/pool/${RESTORE.pool}`]: [
    'Pool.Audit',
    'VM.Allocate',
    'VM.Audit',
    'VM.Config.HWType',
    'VM.Config.Network',
    'VM.Config.Options',
    'VM.GuestAgent.Audit',
    'VM.GuestAgent.Unrestricted',
    'VM.PowerMgmt',
  ],
  '/storage': ['Datastore.Allocate', 'Datastore.Audit'],
  [`/storage/${RESTORE.storage}`]: ['Datastore.AllocateSpace', 'Datastore.Audit'],
  // A device that is none: it stands in for one of a backup while that is restored.
  '/mapping/pci/edge-none': ['Mapping.Use'],
  [`/sdn/zones/localnetwork/${RESTORE.bridge}`]: ['SDN.Use'],
};

const GUESTS = [
  { vmid: 100, name: 'package-mirror', kind: 'qemu', node: 'stg1' },
  // Started when somebody needs it, and in nobody's way: what a mistake would hit first.
  { vmid: 101, name: 'image-builder', kind: 'qemu', node: 'stg1', running: false },
  { vmid: 102, name: 'lab-gateway', kind: 'lxc', node: 'stg2' },
  { vmid: 103, name: 'old-gateway', kind: 'lxc', node: 'stg2', running: false },
] as const;

/** Undefined outside 127/8: there is no room for it beside real machines. */
export function makeStaging(world: World, central: PbsSim): StoreSim | undefined {
  if (!isLoopback(central.address)) return undefined;
  if (world.stores.has(STAGING)) {
    throw new Error(`The lab keeps the id ${STAGING} for the staging site. Give the store another id.`);
  }
  const [like] = [...world.stores.values()].flatMap(({ spec }) => spec.nodes);
  const nodes = [1, 2, 3].map((n): NodeSpec => ({
    name: `stg${n}`,
    address: central.address.replace(/\d+$/, String(FIRST_OCTET + n)),
    apiPort: like?.apiPort ?? 8006,
    sshPort: like?.sshPort ?? 22,
  }));
  const guests = GUESTS.map((guest) => ({ ...guest, ha: false }));
  const token = {
    id: 'edge-staging@pve!worker',
    secret: world.seed.uuid(`token/${STAGING}`),
    privileges: structuredClone(STAGING_PRIVILEGES),
    expired: false,
  };
  return new StoreSim(world, toSpec({ id: STAGING, nodes, guests }), token, STAGING_LAYOUT);
}
