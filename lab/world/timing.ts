/**
 * How long things take in the practice fleet, in milliseconds of a real store. Divided by `speed`, nowhere else stated.
 */
const BASE_DURATIONS = {
  /** Live migration of a VM, restart migration of a container: one guest. */
  guestMove: 20_000,
  guestStart: 8_000,
  guestStop: 10_000,
  /** A cache that was restarted reaches its usual hit rate after this time. */
  cacheWarmUp: 60_000,
  /** One cycle of the HA manager: from a command to the first visible change. */
  haReaction: 10_000,
  /** From the loss of a node to the start of its HA guests elsewhere. */
  haFence: 120_000,
  aptUpdate: 10_000,
  aptDownload: 60_000,
  aptSimulate: 2_000,
  aptInstall: 300_000,
  dpkgConfigure: 30_000,
  /** From an accepted reboot command to the node leaving the network. */
  rebootDelay: 2_000,
  shutdown: 38_000,
  boot: 200_000,
  /** From a lost daemon to `down` in the OSD map and out of the monitors' quorum. */
  cephDownDetection: 5_000,
  cephDaemonStart: 8_000,
  cephPeering: 4_000,
  cephRecovery: 180_000,
  /** pveproxy gives up on another node after this time. */
  proxyTimeout: 30_000,
  /** What pvestatd reports is so old at most: the state of a guest in the list of the whole cluster. */
  clusterLag: 10_000,
} as const;

export type DurationName = keyof typeof BASE_DURATIONS;
export const DEFAULT_SPEED = 480;

export class Timing {
  readonly speed: number;

  constructor(speed: number = DEFAULT_SPEED) {
    if (!Number.isFinite(speed) || speed <= 0) {
      throw new Error(`Speed ${speed} is not a positive number. Give a factor such as ${DEFAULT_SPEED}.`);
    }
    this.speed = speed;
  }

  /** Real milliseconds of this lab for a named duration. */
  of(name: DurationName): number {
    return BASE_DURATIONS[name] / this.speed;
  }

  /** Real milliseconds of this lab for a duration of a real store. */
  scale(baseMs: number): number {
    return baseMs / this.speed;
  }

  table(): { name: string; baseMs: number; ms: number }[] {
    return Object.entries(BASE_DURATIONS).map(([name, baseMs]) => ({ name, baseMs, ms: baseMs / this.speed }));
  }

  print(): string {
    const lines = this.table().map(
      ({ name, baseMs, ms }) =>
        `${name.padEnd(18)} ${String(baseMs / 1_000).padStart(6)} s → ${ms.toFixed(1).padStart(9)} ms`,
    );
    return [`Durations of a real store, divided by ${this.speed}:`, ...lines].join('\n');
  }
}
