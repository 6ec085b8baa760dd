import { describe, expect, it } from 'vitest';
import { blockingChecks, foreignFlags, isClean, missingDaemons, unexpectedChecks } from '#domain/ceph-health.js';
import type { CephFacts } from '#domain/facts.js';
import { aStore, type StoreBuilder } from '../../support/builders.js';

const ceph = (change: (store: StoreBuilder) => StoreBuilder = (store) => store): CephFacts =>
  change(aStore()).facts().ceph;
const withCheck = (code: string, change: Parameters<StoreBuilder['withCheck']>[1] = {}): CephFacts =>
  ceph((store) => store.withCheck(code, change));
const codes = (checks: { code: string }[]): string[] => checks.map(({ code }) => code);

const TOLERATED = [
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
];

const BLOCKING = [
  'OSD_DOWN',
  'OSD_HOST_DOWN',
  'OSD_FULL',
  'OSD_BACKFILLFULL',
  'OSD_NEARFULL',
  'POOL_FULL',
  'POOL_NEAR_FULL',
  'POOL_NO_REDUNDANCY',
  'PG_AVAILABILITY',
  'PG_DEGRADED',
  'PG_DAMAGED',
  'PG_RECOVERY_FULL',
  'PG_BACKFILL_FULL',
  'OBJECT_UNFOUND',
  'OBJECT_MISPLACED',
  'OSD_SCRUB_ERRORS',
  'OSD_TOO_MANY_REPAIRS',
  'OSD_SLOW_PING_TIME_BACK',
  'OSD_UNREACHABLE',
  'SLOW_OPS',
  'MON_DOWN',
  'MON_DISK_LOW',
  'MON_DISK_CRIT',
  'MON_CLOCK_SKEW',
  'MON_NETSPLIT',
  'MGR_DOWN',
  'MGR_MODULE_ERROR',
  'TOO_FEW_OSDS',
  'DEVICE_HEALTH',
  'DAEMON_OLD_VERSION',
  'BLUESTORE_SPURIOUS_READ_ERRORS',
  'AUTH_BAD_CAPS',
  'AUTH_EMERGENCY_CIPHERS_SET',
  'A_CODE_OF_NEXT_YEAR',
  '',
  'constructor',
];

describe('blockingChecks', () => {
  it.each(TOLERATED)('tolerates %s, even as an error', (code) => {
    expect(blockingChecks(withCheck(code))).toEqual([]);
    expect(blockingChecks(withCheck(code, { severity: 'HEALTH_ERR' }))).toEqual([]);
  });

  it.each(BLOCKING)('is blocked by %s', (code) => {
    expect(codes(blockingChecks(withCheck(code)))).toEqual([code]);
  });

  it.each(['HEALTH_OK', '', 'HEALTH_NOVEL'])('blocks on an unknown code whatever its severity: %s', (severity) => {
    expect(codes(blockingChecks(withCheck('A_CODE_OF_NEXT_YEAR', { severity })))).toEqual(['A_CODE_OF_NEXT_YEAR']);
  });

  it('never looks at the summary', () => {
    expect(blockingChecks({ ...ceph(), health: 'HEALTH_ERR' })).toEqual([]);
    expect(codes(blockingChecks({ ...withCheck('OSD_DOWN'), health: 'HEALTH_OK' }))).toEqual(['OSD_DOWN']);
  });

  it('leaves a muted warning to the people who muted it, but not a muted error', () => {
    expect(blockingChecks(withCheck('OSD_NEARFULL', { muted: true }))).toEqual([]);
    expect(codes(blockingChecks(withCheck('OSD_FULL', { muted: true, severity: 'HEALTH_ERR' })))).toEqual(['OSD_FULL']);
  });

  it('judges flags by themselves, not by the check that they raise', () => {
    const facts = ceph((store) => store.withCheck('OSDMAP_FLAGS').withCheck('OSD_FLAGS').withFlag('norecover'));
    expect(blockingChecks(facts)).toEqual([]);
    expect(foreignFlags(facts, [])).toEqual(['norecover']);
  });

  it('finds the blocking one among many', () => {
    const facts = ceph((store) => store.withCheck('RECENT_CRASH').withCheck('PG_DAMAGED').withCheck('PG_NOT_SCRUBBED'));
    expect(codes(blockingChecks(facts))).toEqual(['PG_DAMAGED']);
  });
});

describe('unexpectedChecks', () => {
  it.each(['OSD_DOWN', 'OSD_HOST_DOWN', 'PG_DEGRADED', 'MON_DOWN', 'PG_AVAILABILITY', 'OBJECT_MISPLACED', 'SLOW_OPS'])(
    'expects %s while a host of ours returns',
    (code) => expect(unexpectedChecks(withCheck(code))).toEqual([]),
  );

  it.each(['OBJECT_UNFOUND', 'PG_DAMAGED', 'OSD_FULL', 'MON_CLOCK_SKEW', 'A_CODE_OF_NEXT_YEAR'])(
    'does not expect %s',
    (code) => expect(codes(unexpectedChecks(withCheck(code)))).toEqual([code]),
  );
});

describe('foreignFlags', () => {
  const cases: Record<string, { facts: CephFacts; ours?: string[]; foreign: string[] }> = {
    'finds none on a healthy cluster': { facts: ceph(), foreign: [] },
    'does not mind flags that only put off scrubs and the like': {
      facts: ceph((store) =>
        ['noscrub', 'nodeep-scrub', 'nosnaptrim', 'noautoscale', 'notieragent'].reduce((s, f) => s.withFlag(f), store),
      ),
      foreign: [],
    },
    'does not know our noout from others when it is on the whole cluster': {
      facts: ceph((store) => store.withFlag('noout')),
      ours: ['n1', 'n2', 'n3'],
      foreign: ['noout'],
    },
    'knows our noout by its host': { facts: ceph((store) => store.withFlag('noout', 'n2')), ours: ['n2'], foreign: [] },
    'names the host of a noout that is not ours': {
      facts: ceph((store) => store.withFlag('noout', 'n2').withFlag('noout', 'n3')),
      ours: ['n2'],
      foreign: ['noout on n3'],
    },
    'never takes another flag for ours': {
      facts: ceph((store) => store.withFlag('noin', 'n2')),
      ours: ['n2'],
      foreign: ['noin on n2'],
    },
    'reports flags that stop recovery or clients': {
      facts: ceph((store) => ['norebalance', 'nobackfill', 'pauserd'].reduce((s, f) => s.withFlag(f), store)),
      foreign: ['norebalance', 'nobackfill', 'pauserd'],
    },
    'reports a flag nobody has heard of': { facts: ceph((store) => store.withFlag('nonsense')), foreign: ['nonsense'] },
  };
  it.each(Object.entries(cases))('%s', (_, { facts, ours = [], foreign }) => {
    expect(foreignFlags(facts, ours)).toEqual(foreign);
  });
});

describe('isClean', () => {
  const states: Record<string, boolean> = {
    'active+clean': true,
    'active+clean+scrubbing': true,
    'active+clean+scrubbing+deep': true,
    'active+clean+snaptrim': true,
    'active+clean+snaptrim_wait': true,
    'active+clean+scrubbing+deep+repair': false,
    'active+clean+inconsistent': false,
    'active+clean+remapped': false,
    'active+undersized+degraded': false,
    'active+recovery_wait+degraded': false,
    'active+remapped+backfilling': false,
    'stale+active+clean': false,
    peering: false,
    unknown: false,
    '': false,
  };
  it.each(Object.entries(states))('holds "%s" for clean: %s', (state, clean) => {
    expect(
      isClean(ceph((store) => store.withPgs({ 'active+clean': 128, [state]: state === 'active+clean' ? 129 : 1 }))),
    ).toBe(clean);
  });

  it('counts placement groups over all healthy states', () => {
    expect(isClean(ceph((store) => store.withPgs({ 'active+clean': 127, 'active+clean+scrubbing': 2 })))).toBe(true);
  });

  it.each(['degradedObjects', 'misplacedObjects', 'unfoundObjects'] as const)('is not clean with %s', (what) => {
    expect(isClean({ ...ceph(), [what]: 1 })).toBe(false);
  });
});

describe('missingDaemons', () => {
  it('finds nothing missing on a healthy cluster', () => {
    expect(missingDaemons(ceph())).toEqual([]);
  });

  it('says everything that is missing', () => {
    const facts = ceph((store) =>
      store.withOsdDown('n2').with((facts_) => {
        facts_.ceph.monsInQuorum = ['n1', 'n3'];
        facts_.ceph.mgrAvailable = false;
        facts_.ceph.mgrStandbys = 0;
      }),
    );
    expect(missingDaemons(facts)).toEqual([
      'monitors out of quorum: n2',
      'no active manager',
      'no standby manager',
      'OSDs down or out: osd.2 on n2, osd.3 on n2',
    ]);
  });
});
