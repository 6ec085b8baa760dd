import { z } from 'zod';
import { MAX_DURATION, parseDuration } from './durations.js';
import { DISK_NAMES } from './left-out.js';
import { NODE_NAME, RELEASE_VERSION, STAGE_NAME, STORE_ID } from './naming.js';

/**
 * The two files of the GitOps repo that the service reads: `fleet.yaml` and `clusters/<store>/store.yaml`.
 * Names come from people and end in paths, queues and commands, so each is matched against a closed alphabet here.
 */

/** One line for people or programs: what it is shown in has rows and columns, and no program takes a NUL. */
const text = (max: number) =>
  z
    .string()
    .min(1)
    .max(max)
    .regex(/^[^\p{Cc}\p{Zl}\p{Zp}\u202A-\u202E\u2066-\u2069]*$/u, 'may not contain line breaks or control characters');
const duration = z
  .string()
  .max(20)
  .refine(
    (value) => parseDuration(value) !== undefined,
    'is not a duration. Write a number and ms, s, m, h or d, e.g. 15m',
  )
  .transform((value) => parseDuration(value) as number);
/** For what waits for somebody or something: after no time at all it would be over before it began. */
const wait = duration.refine((milliseconds) => milliseconds > 0, 'is no time at all. Write more than 0, e.g. 15m');
const timeOfDay = z.string().regex(/^([01]\d|2[0-3]):[0-5]\d$/, 'is not a time of day. Write HH:MM, e.g. 10:00');
const date = z.iso.date('is not a date. Write YYYY-MM-DD');
const timeZone = z
  .string()
  .max(64)
  .refine((zone) => {
    try {
      new Intl.DateTimeFormat('en', { timeZone: zone });
      return true;
    } catch {
      return false;
    }
  }, 'is not a time zone. Write an IANA name, e.g. Europe/Berlin');
const address = z.union(
  [
    z.ipv4(),
    z.ipv6(),
    z
      .string()
      .regex(/^(?=.{1,253}$)[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?(\.[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?)*$/i)
      .refine((v) => !/^[\d.]+$/.test(v)),
  ],
  'is not an address. Expected IPv4, IPv6 or a host name',
);
const port = z.number().int().min(1).max(65_535);
const storeId = z
  .string()
  .regex(
    STORE_ID,
    'is not a store id. Use lower case letters, digits and dashes, at most 63, not starting with a dash',
  );
/** Nodes and guests are hosts alike. */
const hostName = (what: 'node' | 'guest') =>
  z.string().regex(NODE_NAME, `is not a ${what} name. Use lower case letters, digits and dashes, at most 63`);
const DISK_NAME = new RegExp(
  Object.values(DISK_NAMES)
    .map(({ source }) => source)
    .join('|'),
);
/** A file below the store's own folder: one name, no path. */
const fileName = z
  .string()
  .regex(
    /^[a-z0-9][a-z0-9._-]{0,99}$/i,
    'is not a file name. Use letters, digits, dot, dash and underscore; no folders',
  );

export const WEEKDAYS = ['mon', 'tue', 'wed', 'thu', 'fri', 'sat', 'sun'] as const;
export type Weekday = (typeof WEEKDAYS)[number];
const weekday = z.enum(WEEKDAYS);

const countOrPercent = z.union([
  z.number().int().min(1).max(10_000),
  z.string().regex(/^(100|[1-9]?\d)%$/, 'is neither a number nor a percentage such as 25%'),
]);

export const errorThresholdSchema = z
  .object({
    count: z.number().int().min(0).optional().describe('Breached when more stores than this failed.'),
    percent: z
      .number()
      .min(0)
      .max(100)
      .optional()
      .describe('Breached when more than this share of the started stores failed.'),
    minSample: z
      .number()
      .int()
      .min(1)
      .default(5)
      .describe('The percentage counts only when so many stores have ended.'),
  })
  .strict();

export const limitsSchema = z
  .object({
    maxConcurrency: countOrPercent
      .default(5)
      .describe('Stores in work at the same time: a number, or percent of the stage (rounded down, at least 1).'),
    errorThreshold: errorThresholdSchema.prefault({ count: 0 }),
    offlineThreshold: errorThresholdSchema.prefault({ percent: 20 }),
    storeTimeout: wait.prefault('4h').describe('The operation on one store.'),
    stageTimeout: wait.prefault('12h'),
    offlineAfter: wait.prefault('60s').describe('A store whose worker does not answer for so long is offline.'),
    cutOffAfter: wait.prefault('30m').describe('A store in work that is silent for so long frees its slot.'),
    deferFor: wait.prefault('5m').describe('A busy store is tried again after this time.'),
    deferLimit: z.number().int().min(0).max(100).default(5),
  })
  .strict();

/** Milliseconds of a duration that was read. */
const milliseconds = z.number().int().min(1).max(MAX_DURATION);
/** The same limits after they were read, as the inputs of workflows carry them. */
export const readLimitsSchema = limitsSchema.extend({
  storeTimeout: milliseconds,
  stageTimeout: milliseconds,
  offlineAfter: milliseconds,
  cutOffAfter: milliseconds,
  deferFor: milliseconds,
});

export const windowSchema = z
  .object({ days: z.array(weekday).min(1).max(7).optional(), start: timeOfDay, end: timeOfDay })
  .strict();

const storesOfStage = z.union([
  z.literal('rest').describe('All stores that no other stage has.'),
  z.number().int().min(1).max(10_000),
  z.string().regex(/^([1-9]|[1-9]\d|100)%$/, 'is not a number, a percentage, `rest` or {tag: …}'),
  z.object({ tag: z.string().regex(/^[a-z0-9][a-z0-9-]{0,30}$/) }).strict(),
]);

export const gateLimitsSchema = z
  .object({
    minFacts: z
      .number()
      .min(0)
      .max(100)
      .default(80)
      .describe(
        'Percent of the stores of the stage that took the release: so many must be measured, and be judged by each check, else the gate holds.',
      ),
    latencyRisePercent: z.number().min(0).default(10).describe('Median latency of a guest against its own baseline.'),
    latencyFloorMs: z.number().min(0).default(20).describe('A rise below this many milliseconds is noise.'),
    cacheHitDropPoints: z.number().min(0).default(2),
    maxFailedStores: z
      .number()
      .int()
      .min(0)
      .default(0)
      .describe('Stores that may fail the gate before the stage does.'),
  })
  .strict();

export const stageSchema = z
  .object({
    name: z.string().regex(STAGE_NAME, 'is not a stage name. Use lower case letters, digits and dashes'),
    stores: storesOfStage,
    window: windowSchema.optional(),
    limits: limitsSchema.prefault({}),
    soak: duration.prefault('24h').describe('Time between the last store and the health gate.'),
    gate: gateLimitsSchema.prefault({}),
    approval: z
      .object({ required: z.boolean().default(true), expires: wait.prefault('24h') })
      .strict()
      .prefault({}),
  })
  .strict();

export const freezeSchema = z
  .object({ from: date, to: date, reason: text(200), stores: z.array(storeId).max(10_000).optional() })
  .strict();

export const keepSchema = z
  .object({
    last: z.number().int().min(1).max(1_000).optional(),
    hourly: z.number().int().min(1).max(1_000).optional(),
    daily: z.number().int().min(1).max(1_000).optional(),
    weekly: z.number().int().min(1).max(1_000).optional(),
    monthly: z.number().int().min(1).max(1_000).optional(),
    yearly: z.number().int().min(1).max(1_000).optional(),
  })
  .strict()
  // A backup server that is given no number keeps everything, until the datastore is full.
  .refine(
    (keep) => Object.values(keep).some((count) => count !== undefined),
    'keeps nothing. Name at least one of them',
  );

const label = z.string().regex(/^[a-z0-9][a-z0-9-]{0,30}$/, 'is not a name. Use lower case letters, digits and dashes');

const tierSchema = z
  .object({
    rpo: z
      .object({ local: wait, offsite: wait.optional() })
      .strict()
      .describe('How old the newest proven backup may be: at the store, and in the second place.'),
    restoreWeeks: z.number().int().min(1).max(52).describe('Each guest is restored for a test within so many weeks.'),
  })
  .strict();

const fleetBackupSchema = z
  .object({
    window: windowSchema.describe('Nothing is begun outside of it; what runs goes on to its end.'),
    catchUp: duration
      .prefault('2h')
      .describe(
        'So long after the window opens, and never after it closes, a night that an outage kept from starting may begin.',
      ),
    maxConcurrency: countOrPercent.default('20%').describe('Stores at the same time.'),
    storeTimeout: wait
      .prefault('4h')
      .describe('Of one store: no dump begins after it. What was dumped is sent and verified.'),
    ...limitsSchema.pick({ offlineAfter: true, cutOffAfter: true, deferFor: true }).shape,
    uplinks: z
      .record(label, z.object({ slots: z.number().int().min(1).max(1_000) }).strict())
      .default({})
      .describe('Lines that stores share, and how many of them may use one at the same time.'),
    tiers: z.record(label, tierSchema),
    defaultTier: label.describe('Of guests that name none.'),
    keep: keepSchema,
    encrypted: z
      .boolean()
      .optional()
      .describe('Whether backups have to be encrypted. Absent: those of guests of which an earlier one is.'),
    reverifyAfter: wait.prefault('30d').describe('A backup is verified anew when its last verification is so old.'),
    collectOn: weekday
      .default('sun')
      .describe('The night in which space is collected. A store that was away collects in its next one.'),
    restoreTest: z
      .object({
        day: weekday.default('sun'),
        at: timeOfDay.default('09:00'),
        maxConcurrency: z
          .number()
          .int()
          .min(1)
          .max(50)
          .default(2)
          .describe('Stores at the same time at the staging site, of which guests are restored one after another.'),
      })
      .strict()
      .prefault({})
      .describe("When the week's restore tests begin."),
    newGuestGrace: duration.prefault('24h').describe('A guest younger than this needs no backup yet.'),
    offsite: z
      .object({ keep: keepSchema })
      .strict()
      .optional()
      .describe('The second place: a central server that each store sends its backups to.'),
  })
  .strict();

const storeBackupSchema = z
  .object({
    uplink: label.optional(),
    window: windowSchema.optional().describe("In the store's own zone; narrows that of the fleet."),
  })
  .strict();

const recoverabilitySchema = z
  .object({
    backupYoungerThan: wait.prefault('48h'),
    restoreYoungerThan: wait.prefault('91d'),
  })
  .strict();

/**
 * Where a node's packages come from; `{snapshot}` is replaced by the release's snapshot id. Of apt's options only those
 * that narrow a source: `trusted`, `allow-insecure` and their like would switch off the check of its signature.
 */
const aptSource = z
  .string()
  .max(300)
  .regex(
    /^deb (\[(arch=[a-z0-9,-]+|signed-by=\/[A-Za-z0-9._/-]+)( arch=[a-z0-9,-]+| signed-by=\/[A-Za-z0-9._/-]+)*\] )?https?:\/\/[A-Za-z0-9./:{}_-]+ [a-z0-9./-]+( [a-z0-9-]+)*$/,
    'is not a one-line apt source. Write deb [arch=… signed-by=/…] URL suite components; no other option is taken',
  );

export const packagePinSchema = z
  .object({
    name: z.string().regex(/^[a-z0-9][a-z0-9+.-]{1,120}$/, 'is not a package name'),
    version: z.string().regex(/^[A-Za-z0-9][A-Za-z0-9.+:~-]{0,120}$/, 'is not a package version'),
  })
  .strict();

export const releaseSourceSchema = z
  .object({
    version: z.string().regex(RELEASE_VERSION, 'is not a release version. Write YYYY.WW.N, e.g. 2026.48.0'),
    sequence: z.number().int().min(1).max(1_000_000_000),
    validFor: wait.prefault('90d'),
    snapshot: z.string().regex(/^\d{8}T\d{6}Z$/, 'is not a snapshot id such as 20261116T000000Z'),
    sources: z.array(aptSource).min(1).max(20),
    packages: z.array(packagePinSchema).min(1).max(2_000),
    kernel: z.string().regex(/^[0-9][A-Za-z0-9.+~-]{0,80}$/, 'is not a kernel release such as 6.14.11-4-pve'),
    images: z
      .array(
        z
          .object({
            name: text(100)
              .regex(/^[a-z0-9][a-z0-9._/-]*$/, 'is not an image name')
              .refine((name) => !name.includes('..'), 'may not contain ..'),
            digest: z.string().regex(/^sha256:[0-9a-f]{64}$/),
          })
          .strict(),
      )
      .max(200)
      .default([]),
    compat: z
      .object({ pve: text(60).default('>=8.2 <10'), minSequence: z.number().int().min(0).default(0) })
      .strict()
      .prefault({}),
  })
  .strict();

export const fleetSchema = z
  .object({
    fleet: z.string().regex(STORE_ID, 'is not a fleet name. Use lower case letters, digits and dashes'),
    timeZone,
    train: z
      .object({
        build: z.object({ day: weekday, at: timeOfDay }).strict(),
        catchUp: duration.prefault('6h').describe('A train missed by an outage still starts within this time.'),
        deadline: wait
          .prefault('6d')
          .describe('The train ends at the latest so long after its start; open stores are missed.'),
        onCanaryFailure: z
          .enum(['hold', 'rollback'])
          .default('hold')
          .describe(
            'When the first stage of a train breaks its error threshold or fails its health gate. Once a later stage has begun, it holds.',
          ),
        note: text(200).or(z.literal('')).default(''),
      })
      .strict(),
    stages: z.array(stageSchema).min(1).max(20),
    freezes: z.array(freezeSchema).max(200).default([]),
    release: releaseSourceSchema,
    scan: z
      .object({
        command: z.array(text(500)).min(1).max(20).optional(),
        advisories: text(200).default('policies/advisories.yaml'),
      })
      .strict()
      .prefault({}),
    janitor: z
      .object({
        at: timeOfDay
          .default('05:00')
          .describe('Every day at this time all stores are looked at for what dead runs left.'),
        offlineAfter: wait.prefault('60s').describe('A store whose worker does not answer for so long is left out.'),
      })
      .strict()
      .prefault({}),
    alarms: z
      .object({
        noProgressAfter: wait
          .prefault('2h')
          .describe(
            'People are called when no stage moved and no store ended for so long, though nobody is waited for.',
          ),
      })
      .strict()
      .prefault({}),
    notify: z
      .object({ command: z.array(text(500)).min(1).max(20).optional() })
      .strict()
      .prefault({}),
    backup: fleetBackupSchema.optional(),
    recoverability: recoverabilitySchema
      .optional()
      .describe('A train leaves out stores that could not be had back. Absent: it does not ask.'),
  })
  .strict();

/** What a restored guest is asked, inside, by its agent; it has no network but an empty one. */
const probeSchema = z
  .object({
    name: label,
    command: z.array(text(200)).min(1).max(20).describe('Ends with 0 when all is well.'),
    within: wait.prefault('2m').describe('Tried again until then: applications take a while to start.'),
  })
  .strict();

const guestSchema = z
  .object({
    vmid: z.number().int().min(100).max(999_999_999),
    name: hostName('guest'),
    kind: z.enum(['qemu', 'lxc']),
    role: z.enum(['pos', 'inventory', 'cache', 'other']).default('other'),
    health: z
      .url({ protocol: /^https?$/ })
      .max(300)
      .optional()
      .describe('Answers 200 when the guest is well.'),
    metrics: z
      .url({ protocol: /^https?$/ })
      .max(300)
      .optional()
      .describe('JSON with `latency_ms` and, for caches, `cache_hit_percent`.'),
    tier: label.optional().describe('How much its backups matter: one of the tiers in fleet.yaml.'),
    withoutDisks: z
      .array(z.string().regex(DISK_NAME, 'is not the name of a disk or mount point, such as scsi1 or mp0'))
      .min(1)
      .max(300)
      .optional()
      .describe(
        'Disks and mount points that its backups leave out (`backup=0`, a bind mount) and that may be lost with it, by ' +
          'their names in its configuration, e.g. scsi1 or mp0. Any other one that is left out fails its backup.',
      ),
    probes: z.array(probeSchema).max(20).optional(),
    canary: z
      .boolean()
      .optional()
      .describe(
        'Whether the guest writes the time into /var/lib/edge-canary.json again and again (default: yes), by which a ' +
          'restore test sees how much would be lost. Without, false: nobody misses it then.',
      ),
    config: z
      .array(
        z
          .object({
            file: fileName.describe('A file beside store.yaml.'),
            target: z
              .string()
              .max(201)
              .regex(/^(\/[A-Za-z0-9._-]+)+$/, 'is not the absolute path of a file')
              .refine((path) => !path.split('/').some((part) => /^\.+$/.test(part)), 'may not contain . or ..')
              .describe('The link in the guest that names the active file.'),
            check: z.array(text(200)).max(20).default([]).describe('A command in the guest; `{file}` is the new file.'),
            reload: z.array(text(200)).min(1).max(20),
          })
          .strict(),
      )
      .max(20)
      .default([]),
  })
  .strict();

export const storeSchema = z
  .object({
    id: storeId,
    timeZone: timeZone.optional(),
    tags: z
      .array(z.string().regex(/^[a-z0-9][a-z0-9-]{0,30}$/))
      .max(20)
      .default([]),
    window: windowSchema.optional(),
    hold: z
      .object({ until: date, reason: text(200) })
      .strict()
      .optional(),
    nodes: z
      .array(
        z.object({ name: hostName('node'), address, apiPort: port.default(8006), sshPort: port.default(22) }).strict(),
      )
      .min(3, 'needs three nodes')
      .max(16),
    guests: z.array(guestSchema).max(200).default([]),
    backup: storeBackupSchema.optional(),
  })
  .strict();

export type Fleet = z.infer<typeof fleetSchema>;
export type Stage = z.infer<typeof stageSchema>;
export type Limits = z.infer<typeof limitsSchema>;
export type GateLimits = z.infer<typeof gateLimitsSchema>;
export type ErrorThreshold = z.infer<typeof errorThresholdSchema>;
export type MaintenanceWindow = z.infer<typeof windowSchema>;
export type Freeze = z.infer<typeof freezeSchema>;
export type Store = z.infer<typeof storeSchema>;
export type Guest = Store['guests'][number];
export type ReleaseSource = z.infer<typeof releaseSourceSchema>;
