import type { Guest } from '#domain/fleet.js';
import type { Pins } from '#domain/downgrade.js';
import { pinnedPackages, type StoreArtifact, type ReleaseManifest } from '#domain/release.js';
import type { CephClient } from '#systems/ceph/types.js';
import type { ProxmoxClient } from '#systems/proxmox/types.js';
import type { ReleaseVerifier } from '#systems/release/types.js';
import type { CommandRunner } from '#systems/ssh/types.js';
import type { StoreState } from '#systems/store-state/types.js';

/** What the activities of one store are given. */
export interface StoreDeps {
  store: string;
  proxmox: ProxmoxClient;
  /** One runner per node, by name, in the order of the store's own configuration. */
  nodes: ReadonlyMap<string, CommandRunner>;
  ceph: CephClient;
  verifier: ReleaseVerifier;
  state: StoreState;
  probe: GuestProber;
  timing: StoreTiming;
  now: () => Date;
  /** Milliseconds that only ever go forward, for ages that a jump of the clock must not change. */
  uptime: () => number;
}

/** Asks one guest how it is, over HTTP. */
export type GuestProber = (guest: Guest) => Promise<{ healthy: boolean; latencyMs?: number; cacheHitPercent?: number }>;

/** Milliseconds. */
export interface StoreTiming {
  /** Between two looks while waiting. */
  poll: number;
  drain: number;
  upgrade: number;
  reboot: number;
  /** Until quorum, monitors and OSDs are back. */
  rejoin: number;
  /** Until all placement groups are clean. */
  recovery: number;
  /** A node counts as rejoined when it was seen well twice, so far apart. */
  stable: number;
  /** Guests are waited for so long after a node takes them again. */
  homecoming: number;
  /** A reboot that was asked for and did not happen is asked for again after this time. */
  rebootGrace: number;
  /** What an operation has set is taken back by the store itself when it is so old and nobody goes on with it. */
  maxMaintenance: number;
  /** Between two looks whether the current release has soaked; none is made once that is known. */
  learn: number;
}

/** What the store's open operation works with: the release as verified, and the store's own artifact of it. */
export interface Opened {
  manifest: ReleaseManifest;
  artifact: StoreArtifact;
}

/** What the nodes shall have of the release. A store that is given a permit goes `back` to it. */
export const pinsOf = ({ manifest }: Opened, back: boolean): Pins => ({
  packages: pinnedPackages(manifest),
  kernel: manifest.packages.kernel,
  ...(back ? { back } : {}),
});

/** The service's user is not root; its sudoers file lists exactly the commands that come with this prefix. */
export const SUDO = ['sudo', '-n'] as const;
