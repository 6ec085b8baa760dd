import type { CephCheck, CephFacts } from './facts.js';

/**
 * What each Ceph health check means for work on a node. Judged one by one: the summary `HEALTH_OK | WARN | ERR` never
 * decides, since a security warning may raise it to ERR on a sound cluster and an unmanaged cluster may print OK.
 * A check that is not in these lists blocks.
 */

/** Noted, and no reason to stop. */
const TOLERATED = new Set([
  'TELEMETRY_CHANGED',
  'PG_NOT_SCRUBBED',
  'PG_NOT_DEEP_SCRUBBED',
  'LARGE_OMAP_OBJECTS',
  'POOL_APP_NOT_ENABLED',
  'POOL_TOO_FEW_PGS',
  'POOL_TOO_MANY_PGS',
  'POOL_PG_NUM_NOT_POWER_OF_TWO',
  'MON_MSGR2_NOT_ENABLED',
  'BLUESTORE_NO_PER_POOL_OMAP',
  'BLUESTORE_LEGACY_STATFS',
  'BLUEFS_SPILLOVER',
  'RECENT_CRASH',
  'AUTH_INSECURE_GLOBAL_ID_RECLAIM',
  'AUTH_INSECURE_GLOBAL_ID_RECLAIM_ALLOWED',
  'AUTH_INSECURE_KEYS_ALLOWED',
  'AUTH_INSECURE_KEYS_CREATABLE',
  'AUTH_INSECURE_SERVICE_TICKETS',
  'AUTH_INSECURE_CLIENT_KEY_TYPE',
  'AUTH_INSECURE_SERVICE_KEY_TYPE',
  'AUTH_INSECURE_ROTATING_SERVICE_KEY_TYPE',
]);

/** Raised by flags; the flags themselves are judged, by owner, in `foreignFlags`. */
const JUDGED_BY_FLAGS = new Set(['OSD_FLAGS', 'OSDMAP_FLAGS']);

/** Raised while one host is down or comes back; waited for, not failed on, while that host is ours. */
const EXPECTED_WHILE_A_HOST_RETURNS = new Set([
  'OSD_DOWN',
  'OSD_HOST_DOWN',
  'PG_DEGRADED',
  'MON_DOWN',
  'PG_AVAILABILITY',
  'OBJECT_MISPLACED',
  'SLOW_OPS',
]);

/** Flags that are always there, or that do no harm while a node reboots. */
const HARMLESS_FLAGS = new Set([
  'sortbitwise',
  'recovery_deletes',
  'purged_snapdirs',
  'pglog_hardlimit',
  'noscrub',
  'nodeep-scrub',
  'nosnaptrim',
  'noautoscale',
  'notieragent',
]);

const HEALTHY_PG = /^active\+clean(\+(scrubbing(\+deep)?|snaptrim|snaptrim_wait))?$/;

export const blockingChecks = (ceph: CephFacts): CephCheck[] =>
  ceph.checks.filter(
    (check) =>
      !TOLERATED.has(check.code) &&
      !JUDGED_BY_FLAGS.has(check.code) &&
      !(check.muted && check.severity !== 'HEALTH_ERR'),
  );

/** Checks that block even while a host of ours is on its way back. */
export const unexpectedChecks = (ceph: CephFacts): CephCheck[] =>
  blockingChecks(ceph).filter((check) => !EXPECTED_WHILE_A_HOST_RETURNS.has(check.code));

/** Flags that someone else set: cluster-wide ones, and ones on hosts other than `ourHosts`. */
export function foreignFlags(ceph: CephFacts, ourHosts: readonly string[]): string[] {
  const clusterWide = ceph.flags.filter((flag) => !HARMLESS_FLAGS.has(flag));
  const onHosts = Object.entries(ceph.hostFlags).flatMap(([host, flags]) =>
    flags.filter((flag) => !(flag === 'noout' && ourHosts.includes(host))).map((flag) => `${flag} on ${host}`),
  );
  return [...clusterWide, ...onHosts];
}

/** Every placement group is active and clean and nothing is degraded, misplaced or unfound. */
export function isClean(ceph: CephFacts): boolean {
  const healthy = ceph.pgs.states
    .filter(({ state }) => HEALTHY_PG.test(state))
    .reduce((sum, { count }) => sum + count, 0);
  return (
    ceph.pgs.total > 0 &&
    healthy === ceph.pgs.total &&
    ceph.degradedObjects === 0 &&
    ceph.misplacedObjects === 0 &&
    ceph.unfoundObjects === 0
  );
}

/** What is missing of monitors, managers and OSDs, in words; empty = complete. */
export function missingDaemons(ceph: CephFacts): string[] {
  const missing: string[] = [];
  const absent = ceph.monsInMap.filter((mon) => !ceph.monsInQuorum.includes(mon));
  if (ceph.monsInMap.length < 3) missing.push(`only ${ceph.monsInMap.length} monitors in the map`);
  if (absent.length > 0) missing.push(`monitors out of quorum: ${absent.join(', ')}`);
  if (!ceph.mgrAvailable) missing.push('no active manager');
  if (ceph.mgrStandbys < 1) missing.push('no standby manager');
  const down = ceph.osds.filter((osd) => !osd.up || !osd.in);
  if (ceph.osds.length === 0) missing.push('no OSDs');
  if (down.length > 0)
    missing.push(`OSDs down or out: ${down.map((osd) => `osd.${osd.id} on ${osd.host}`).join(', ')}`);
  return missing;
}
