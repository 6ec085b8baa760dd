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
  /** Between two writes of a running guest to its disk that a backup can tell apart. */
  guestWrites: 14_400_000,
  /** vzdump of one guest whose whole data has to be sent; what is there already costs a tenth. */
  backupGuest: 120_000,
  /** One snapshot, all of its chunks read. */
  verifySnapshot: 60_000,
  pruneDatastore: 5_000,
  /** Either phase of a garbage collection. */
  gcPhase: 60_000,
  /** A chunk that nobody refers to is kept for so long after it was last used: 24 h and five minutes for safety. */
  gcCutoff: 86_700_000,
  /** One guest whose whole disk is read from the backup server; what share of it are zeros makes no difference here. */
  restoreGuest: 300_000,
  /** The disks of a guest are taken away. */
  destroyGuest: 6_000,
  /** From the start of a guest to its services. */
  bootGuest: 40_000,
  /** From its services to its agent. */
  agentUp: 5_000,
  /** One group over the WAN whose whole data has to be sent. */
  syncGroup: 240_000,
  /** A backup server is switched on and answers. */
  pbsBoot: 60_000,
} as const;

export type DurationName = keyof typeof BASE_DURATIONS;
export const DEFAULT_SPEED = 480;
/** Any fixed day: restarts must not move the borders of days. */
const CALENDAR_FROM = Date.UTC(2026, 0, 1);

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

  /**
   * The instant on the calendar of the fleet, whose days pass faster as well: what days, weeks and months are counted by
   * when backups are pruned.
   */
  calendar(ms: number): number {
    return CALENDAR_FROM + (ms - CALENDAR_FROM) * this.speed;
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
