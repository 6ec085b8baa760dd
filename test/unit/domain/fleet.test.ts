import { describe, expect, it } from 'vitest';
import { fleetSchema, packagePinSchema, storeSchema } from '#domain/fleet.js';
import { parse, pathOf } from '#domain/messages/parse.js';
import { HOSTILE, HOSTILE_TEXT, shown } from '../../support/hostile.js';

const aStore = (): Record<string, unknown> => ({
  id: 'store-001',
  nodes: ['n1', 'n2', 'n3'].map((name, at) => ({ name, address: `10.0.0.${at + 1}` })),
  guests: [
    {
      vmid: 101,
      name: 'pos',
      kind: 'qemu',
      health: 'http://10.0.1.1:8080/health',
      config: [
        { file: 'pos.yaml', target: '/etc/pos/pos.yaml', check: ['pos', '--check', '{file}'], reload: ['true'] },
      ],
    },
  ],
});

const aFleet = (): Record<string, unknown> => ({
  fleet: 'edge',
  timeZone: 'Europe/Berlin',
  train: { build: { day: 'mon', at: '02:00' } },
  stages: [
    {
      name: 'canary',
      stores: { tag: 'pilot' },
      window: { days: ['tue'], start: '10:00', end: '16:00' },
      limits: {},
      approval: {},
    },
  ],
  release: {
    version: '2026.48.0',
    sequence: 48,
    snapshot: '20261116T000000Z',
    sources: ['deb http://mirror.example/{snapshot}/debian trixie main contrib'],
    packages: [{ name: 'pve-manager', version: '9.1.2' }],
    kernel: '6.14.11-4-pve',
  },
});

/** A copy with one value set, by its path. */
function changed(whole: unknown, path: (string | number)[], value: unknown): unknown {
  const copy: unknown = structuredClone(whole);
  let at = copy as Record<string | number, unknown>;
  for (const key of path.slice(0, -1)) at = at[key] as Record<string | number, unknown>;
  at[path.at(-1) as string | number] = value;
  return copy;
}

const aStoreBackup = (): Record<string, unknown> => ({
  uplink: 'town',
  window: { start: '23:00', end: '03:00' },
});
const aFleetBackup = (): Record<string, unknown> => ({
  window: { start: '22:00', end: '05:00' },
  uplinks: { town: { slots: 4 } },
  tiers: { normal: { rpo: { local: '26h', offsite: '50h' }, restoreWeeks: 8 } },
  defaultTier: 'normal',
  keep: { last: 3, daily: 7 },
  restoreTest: { day: 'sat', at: '08:00' },
  offsite: { keep: { weekly: 8 } },
});

const problemsOf = (schema: Schema, raw: unknown): string[] => {
  const parsed = parse<unknown>(schema, raw);
  return parsed.ok ? [] : parsed.problems;
};

type Schema = typeof storeSchema | typeof fleetSchema;
type Path = (string | number)[];

const NAMES: [what: string, schema: Schema, path: Path][] = [
  ['store id', storeSchema, ['id']],
  ['node name', storeSchema, ['nodes', 0, 'name']],
  ['node address', storeSchema, ['nodes', 0, 'address']],
  ['guest name', storeSchema, ['guests', 0, 'name']],
  ['guest kind', storeSchema, ['guests', 0, 'kind']],
  ['guest role', storeSchema, ['guests', 0, 'role']],
  ['config file', storeSchema, ['guests', 0, 'config', 0, 'file']],
  ['guest health URL', storeSchema, ['guests', 0, 'health']],
  ['guest metrics URL', storeSchema, ['guests', 0, 'metrics']],
  ['tag', storeSchema, ['tags', 0]],
  ['time zone', storeSchema, ['timeZone']],
  ['window of a store', storeSchema, ['window', 'start']],
  ['weekday of a window', storeSchema, ['window', 'days', 0]],
  ['end of a hold', storeSchema, ['hold', 'until']],
  ['tier of a guest', storeSchema, ['guests', 0, 'tier']],
  ['disk that is left out', storeSchema, ['guests', 0, 'withoutDisks', 0]],
  ['probe', storeSchema, ['guests', 0, 'probes', 0, 'name']],
  ['time of a probe', storeSchema, ['guests', 0, 'probes', 0, 'within']],
  ['uplink', storeSchema, ['backup', 'uplink']],
  ['fleet name', fleetSchema, ['fleet']],
  ['time zone of the fleet', fleetSchema, ['timeZone']],
  ['stage name', fleetSchema, ['stages', 0, 'name']],
  ['size of a stage', fleetSchema, ['stages', 0, 'stores']],
  ['soak', fleetSchema, ['stages', 0, 'soak']],
  ['concurrency', fleetSchema, ['stages', 0, 'limits', 'maxConcurrency']],
  ['timeout', fleetSchema, ['stages', 0, 'limits', 'storeTimeout']],
  ['build time', fleetSchema, ['train', 'build', 'at']],
  ['build day', fleetSchema, ['train', 'build', 'day']],
  ['first day of a freeze', fleetSchema, ['freezes', 0, 'from']],
  ['store of a freeze', fleetSchema, ['freezes', 0, 'stores', 0]],
  ['default tier', fleetSchema, ['backup', 'defaultTier']],
  ['backup window', fleetSchema, ['backup', 'window', 'start']],
  ['objective', fleetSchema, ['backup', 'tiers', 'normal', 'rpo', 'local']],
  ['night of collecting', fleetSchema, ['backup', 'collectOn']],
  ['day of restore tests', fleetSchema, ['backup', 'restoreTest', 'day']],
  ['time of restore tests', fleetSchema, ['backup', 'restoreTest', 'at']],
  ['catching up of a night', fleetSchema, ['backup', 'catchUp']],
  ['limit of a backup', fleetSchema, ['recoverability', 'backupYoungerThan']],
  ['release version', fleetSchema, ['release', 'version']],
  ['snapshot', fleetSchema, ['release', 'snapshot']],
  ['apt source', fleetSchema, ['release', 'sources', 0]],
  ['kernel', fleetSchema, ['release', 'kernel']],
  ['package name', fleetSchema, ['release', 'packages', 0, 'name']],
  ['package version', fleetSchema, ['release', 'packages', 0, 'version']],
  ['image name', fleetSchema, ['release', 'images', 0, 'name']],
  ['image digest', fleetSchema, ['release', 'images', 0, 'digest']],
];

const TEXTS: [what: string, schema: Schema, path: Path][] = [
  ['reason of a hold', storeSchema, ['hold', 'reason']],
  ['word of a check', storeSchema, ['guests', 0, 'config', 0, 'check', 0]],
  ['word of a probe', storeSchema, ['guests', 0, 'probes', 0, 'command', 0]],
  ['word of a reload', storeSchema, ['guests', 0, 'config', 0, 'reload', 0]],
  ['note', fleetSchema, ['train', 'note']],
  ['reason of a freeze', fleetSchema, ['freezes', 0, 'reason']],
  ['Proxmox range', fleetSchema, ['release', 'compat', 'pve']],
  ['word of the scan', fleetSchema, ['scan', 'command', 0]],
  ['advisory file', fleetSchema, ['scan', 'advisories']],
  ['word of the notification', fleetSchema, ['notify', 'command', 0]],
];

const withProbe = (store: Record<string, unknown>): object =>
  changed(
    changed(changed(store, ['guests', 0, 'tier'], 'normal') as object, ['guests', 0, 'withoutDisks'], ['mp0']),
    ['guests', 0, 'probes'],
    [{ name: 'sells', command: ['/usr/bin/pos', '--check'] }],
  ) as object;

/** Sound, and everything that may be left out is there. */
const whole = (schema: Schema): unknown =>
  schema === storeSchema
    ? changed(
        {
          ...withProbe(aStore()),
          backup: aStoreBackup(),
          tags: ['pilot'],
          timeZone: 'Europe/Lisbon',
          window: { days: ['tue'], start: '10:00', end: '16:00' },
          hold: { until: '2026-12-24', reason: 'rebuild' },
        },
        ['guests', 0, 'metrics'],
        'http://10.0.1.1:8080/metrics',
      )
    : changed(
        changed(
          {
            ...aFleet(),
            freezes: [{ from: '2026-12-18', to: '2026-12-27', reason: 'Christmas trade', stores: ['store-001'] }],
            scan: { command: ['scan', '--json'] },
            notify: { command: ['tell'] },
            backup: aFleetBackup(),
            recoverability: {},
          },
          ['release', 'images'],
          [{ name: 'edge/pos', digest: `sha256:${'0'.repeat(64)}` }],
        ),
        ['release', 'compat'],
        {},
      );

const refusedAt = (schema: Schema, path: Path, value: unknown) => {
  const problems = problemsOf(schema, changed(whole(schema), path, value));
  expect(problems).not.toEqual([]);
  for (const problem of problems) expect(problem.split(': ')[0]).toBe(pathOf(path));
  expect(problems.join().length).toBeLessThan(1_000);
};

describe.each(NAMES)('a hostile %s', (_what, schema, path) => {
  it.each(HOSTILE.map((word) => [shown(word), word]))('is refused by its path: %s', (_shown, word) => {
    refusedAt(schema, path, word);
  });

  it.each([[null], [true], [[]], [['n1']], [{}]])('is refused when it is no text: %j', (value) => {
    refusedAt(schema, path, value);
  });
});

it.each(HOSTILE.map((word) => [shown(word), word]))(
  'a hostile tag of a stage is refused by its path: %s',
  (_, word) => {
    refusedAt(fleetSchema, ['stages', 0, 'stores', 'tag'], word);
  },
);

describe.each(TEXTS)('a hostile %s', (_what, schema, path) => {
  it.each(HOSTILE_TEXT.map((word) => [shown(word), word]))('is refused by its path: %s', (_shown, word) => {
    refusedAt(schema, path, word);
  });
});

it.each([
  ['store', storeSchema],
  ['fleet', fleetSchema],
] as const)('the %s file that is spoilt in these tests is sound before', (_, schema) => {
  expect(problemsOf(schema, whole(schema))).toEqual([]);
});

/** No time at all is a mistake wherever somebody or something is waited for. */
const WAITS: Path[] = [
  ['train', 'deadline'],
  ['release', 'validFor'],
  ['stages', 0, 'approval', 'expires'],
  ['backup', 'reverifyAfter'],
  ...['storeTimeout', 'offlineAfter', 'cutOffAfter', 'deferFor'].map((key) => ['backup', key]),
  ['backup', 'tiers', 'normal', 'rpo', 'local'],
  ['recoverability', 'restoreYoungerThan'],
  ...['storeTimeout', 'stageTimeout', 'offlineAfter', 'cutOffAfter', 'deferFor'].map((key) => [
    'stages',
    0,
    'limits',
    key,
  ]),
];
describe.each(WAITS.map((path) => [pathOf(path), path] as const))('%s', (name, path) => {
  it.each(['0s', '0d', '0.4ms'])('of %s is refused with a sentence', (nothing) => {
    expect(problemsOf(fleetSchema, changed(whole(fleetSchema), path, nothing))).toEqual([
      `${name}: is no time at all. Write more than 0, e.g. 15m`,
    ]);
  });

  it('of one millisecond is taken', () => {
    expect(problemsOf(fleetSchema, changed(whole(fleetSchema), path, '1ms'))).toEqual([]);
  });
});

it.each([
  ['a soak', ['stages', 0, 'soak']],
  ['catching up', ['train', 'catchUp']],
  ['catching up of a night', ['backup', 'catchUp']],
] as [string, Path][])('%s of no time is a choice', (_, path) => {
  expect(problemsOf(fleetSchema, changed(whole(fleetSchema), path, '0s'))).toEqual([]);
});

describe('a store file', () => {
  it('is accepted, with what it leaves out', () => {
    const parsed = parse(storeSchema, aStore());
    expect(parsed).toMatchObject({
      ok: true,
      value: { tags: [], nodes: [{ apiPort: 8006, sshPort: 22 }, {}, {}], guests: [{ role: 'other' }] },
    });
  });

  const bad: Record<string, [path: (string | number)[], value: unknown, problem: RegExp]> = {
    'refuses two nodes': [
      ['nodes'],
      [
        { name: 'n1', address: '10.0.0.1' },
        { name: 'n2', address: '10.0.0.2' },
      ],
      /^nodes: needs three nodes/,
    ],
    'refuses a bad name of a node': [['nodes', 1, 'name'], '-rf', /^nodes\[1\]\.name: is not a node name/],
    'refuses a bad name of a guest, and calls it that': [
      ['guests', 0, 'name'],
      '-rf',
      /^guests\[0\]\.name: is not a guest name/,
    ],
    'refuses a port outside of the range': [['nodes', 1, 'apiPort'], 70_000, /^nodes\[1\]\.apiPort: /],
    'refuses numbers that look like an address': [
      ['nodes', 1, 'address'],
      '10.0.0',
      /^nodes\[1\]\.address: is not an address/,
    ],
    'refuses a target that climbs': [
      ['guests', 0, 'config', 0, 'target'],
      '/etc/../root/.ssh/authorized_keys',
      /target: may not contain/,
    ],
    'refuses a target that is not absolute': [
      ['guests', 0, 'config', 0, 'target'],
      'etc/pos.yaml',
      /^guests\[0\]\.config\[0\]\.target: /,
    ],
    'refuses a target that is a folder': [['guests', 0, 'config', 0, 'target'], '/etc/pos/', /target: is not the abs/],
    'refuses the root as a target': [['guests', 0, 'config', 0, 'target'], '/.', /target: may not contain/],
    'refuses a target with shell characters': [['guests', 0, 'config', 0, 'target'], '/etc/$(reboot)', /target: /],
    'refuses a reload of no words': [['guests', 0, 'config', 0, 'reload'], [], /reload: /],
    'refuses a reload that is a shell line': [['guests', 0, 'config', 0, 'reload'], 'systemctl reload pos', /reload: /],
    'refuses a health URL of another scheme': [['guests', 0, 'health'], 'file:///etc/passwd', /^guests\[0\]\.health: /],
    'refuses a vmid that Proxmox does not give': [['guests', 0, 'vmid'], 99, /^guests\[0\]\.vmid: /],
    'refuses a key it does not know': [['guests', 0, 'privileged'], true, /privileged/],
    'refuses a date that does not exist': [
      ['hold'],
      { until: '2026-02-30', reason: 'rebuild' },
      /^hold\.until: is not a date/,
    ],
    'refuses a time of day that does not exist': [
      ['window'],
      { start: '24:00', end: '25:00' },
      /^window\.start: is not a time of day/,
    ],
  };
  it.each(Object.entries(bad))('%s', (_, [path, value, problem]) => {
    const problems = problemsOf(storeSchema, changed(aStore(), path, value));
    expect(problems.some((line) => problem.test(line))).toBe(true);
  });

  it.each(['10.0.0.1', 'fd00::1', 'n1.store-001.example', 'N1'])('takes the address %s', (address) => {
    expect(problemsOf(storeSchema, changed(aStore(), ['nodes', 0, 'address'], address))).toEqual([]);
  });
});

describe('a fleet file', () => {
  it('is accepted, with limits that stop early when it names none', () => {
    const parsed = parse(fleetSchema, aFleet());
    expect(parsed).toMatchObject({
      ok: true,
      value: {
        stages: [
          {
            soak: 86_400_000,
            limits: {
              maxConcurrency: 5,
              errorThreshold: { count: 0 },
              offlineThreshold: { percent: 20 },
              storeTimeout: 14_400_000,
            },
            approval: { required: true },
            gate: { minFacts: 80, maxFailedStores: 0 },
          },
        ],
        train: { deadline: 518_400_000, onCanaryFailure: 'hold' },
      },
    });
  });

  const bad: Record<string, [path: (string | number)[], value: unknown, problem: RegExp]> = {
    'refuses a train without stages': [['stages'], [], /^stages: /],
    'refuses a stage of no stores': [['stages', 0, 'stores'], 0, /^stages\[0\]\.stores: /],
    'refuses a stage of more than all stores': [['stages', 0, 'stores'], '101%', /^stages\[0\]\.stores: /],
    'refuses a duration without a unit': [['stages', 0, 'soak'], '24', /^stages\[0\]\.soak: is not a duration/],
    'refuses a duration of centuries': [['stages', 0, 'soak'], '999999d', /^stages\[0\]\.soak: is not a duration/],
    'refuses a sequence below one': [['release', 'sequence'], 0, /^release\.sequence: /],
    'refuses a sequence that is no whole number': [['release', 'sequence'], 48.5, /^release\.sequence: /],
    'refuses a release without packages': [['release', 'packages'], [], /^release\.packages: /],
    ...Object.fromEntries(
      ['trusted=yes', 'arch=amd64 trusted=yes', 'allow-insecure=yes', 'signed-by=../key', 'arch=amd64;x'].map(
        (options) => [
          `refuses an apt source with the options ${options}`,
          [
            ['release', 'sources', 0],
            `deb [${options}] http://mirror.example/ trixie main`,
            /^release\.sources\[0\]: is not a one-line apt source/,
          ],
        ],
      ),
    ),
    'refuses two apt sources in one': [
      ['release', 'sources', 0],
      'deb http://mirror.example/ trixie main\ndeb http://evil.example/ trixie main',
      /^release\.sources\[0\]: /,
    ],
    'refuses an apt source from a file': [
      ['release', 'sources', 0],
      'deb file:/tmp/evil trixie main',
      /^release\.sources\[0\]: /,
    ],
    'refuses a concurrency of no stores': [
      ['stages', 0, 'limits'],
      { maxConcurrency: 0 },
      /^stages\[0\]\.limits\.maxConcurrency: /,
    ],
    'refuses a key it does not know': [['stages', 0, 'skipGate'], true, /^stages\[0\]\.skipGate: /],
    'refuses a weekday in another language': [['train', 'build', 'day'], 'montag', /^train\.build\.day: /],
  };
  it.each(Object.entries(bad))('%s', (_, [path, value, problem]) => {
    const problems = problemsOf(fleetSchema, changed(aFleet(), path, value));
    expect(problems.some((line) => problem.test(line))).toBe(true);
  });
});

it.each([
  'deb http://mirror.example/{snapshot}/debian trixie main contrib',
  'deb [arch=amd64] https://mirror.example/pve trixie pve-enterprise',
  'deb [arch=amd64 signed-by=/usr/share/keyrings/Proxmox-Archive.gpg] https://mirror.example/pve trixie main',
])('a fleet file takes the apt source %s', (source) => {
  expect(problemsOf(fleetSchema, changed(aFleet(), ['release', 'sources', 0], source))).toEqual([]);
});

describe('a package pin', () => {
  it.each([
    ['openssh-server', '1:10.0p1-7+deb13u1'],
    ['libstdc++6', '14.2.0-19'],
    ['proxmox-kernel-6.14.11-4-pve-signed', '6.14.11-4'],
    ['pve-qemu-kvm', '10.0.2-4~bpo13+1'],
    ['g++', '4:14.2.0-1'],
  ])('takes %s %s', (name, version) => {
    expect(parse(packagePinSchema, { name, version }).ok).toBe(true);
  });

  it.each([
    ['openssh-server/trixie', '1'],
    ['openssh-server=1', '1'],
    ['openssh-server:i386', '1'],
    ['openssh-server-', '1 2'],
    ['Openssh', '1'],
    ['a', '1'],
  ])('refuses %s %s', (name, version) => {
    expect(parse(packagePinSchema, { name, version }).ok).toBe(false);
  });
});

describe('backups in the files', () => {
  it('need not be there at all', () => {
    const [store, fleet] = [parse(storeSchema, aStore()), parse(fleetSchema, aFleet())];
    if (!store.ok || !fleet.ok) throw new Error('both files are sound');
    for (const left of ['backup', 'recoverability']) expect(fleet.value).not.toHaveProperty(left);
    expect(store.value).not.toHaveProperty('backup');
    for (const left of ['tier', 'probes']) expect(store.value.guests[0]).not.toHaveProperty(left);
  });

  it('are read with what they leave out', () => {
    expect(parse(fleetSchema, whole(fleetSchema))).toMatchObject({
      value: {
        backup: {
          maxConcurrency: '20%',
          reverifyAfter: 30 * 86_400_000,
          collectOn: 'sun',
          newGuestGrace: 86_400_000,
          tiers: { normal: { rpo: { local: 26 * 3_600_000 } } },
          catchUp: 2 * 3_600_000,
          storeTimeout: 4 * 3_600_000,
          offlineAfter: 60_000,
          cutOffAfter: 30 * 60_000,
          deferFor: 5 * 60_000,
        },
        recoverability: { backupYoungerThan: 48 * 3_600_000, restoreYoungerThan: 91 * 86_400_000 },
      },
    });
    expect(parse(storeSchema, whole(storeSchema))).toMatchObject({
      value: { guests: [{ probes: [{ within: 120_000 }] }] },
    });
  });

  it('have their restore tests on Sunday morning unless told otherwise', () => {
    const fleet = changed(whole(fleetSchema), ['backup', 'restoreTest'], {});
    expect(parse(fleetSchema, fleet)).toMatchObject({
      value: { backup: { restoreTest: { day: 'sun', at: '09:00' } } },
    });
  });

  it.each(['pbs', 'storage', 'fleecing'])("leave %s to the store worker's own file", (key) => {
    expect(problemsOf(storeSchema, changed(whole(storeSchema), ['backup', key], 'x'))).toEqual([
      `backup.${key}: is not a known key here`,
    ]);
  });

  it.each(['node', 'address', 'tokens'])('do not take %s of the second place from the repo', (key) => {
    expect(problemsOf(fleetSchema, changed(whole(fleetSchema), ['backup', 'offsite', key], 'x'))).toEqual([
      `backup.offsite.${key}: is not a known key here`,
    ]);
  });

  it.each([
    ['nothing', {}, /^backup\.keep: keeps nothing/],
    ['none of the last', { last: 0 }, /^backup\.keep\.last: /],
    ['a kind that there is not', { last: 1, decade: 1 }, /^backup\.keep\.decade: is not a known key/],
  ])('do not keep %s', (_words, keep, problem) => {
    expect(problemsOf(fleetSchema, changed(whole(fleetSchema), ['backup', 'keep'], keep))).toEqual([
      expect.stringMatching(problem),
    ]);
  });
});
