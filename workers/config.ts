import { readFile } from 'node:fs/promises';
import { z } from 'zod';
import { parse } from '#domain/messages/parse.js';
import { fleetName, storeId } from '#domain/messages/names.js';

/**
 * The settings of every process of the service. This file is the only reader of the environment. A process that is set
 * up wrongly says everything that is wrong at once and does not start.
 */

const common = {
  EDGE_TEMPORAL_ADDRESS: z.string().default('127.0.0.1:7233').describe('Temporal frontend, host:port'),
  EDGE_TEMPORAL_NAMESPACE: z.string().default('default').describe('Temporal namespace'),
  EDGE_LOG_LEVEL: z.enum(['trace', 'debug', 'info', 'warn', 'error', 'silent']).default('info').describe('Log level'),
};

const controlSchema = z.object({
  ...common,
  EDGE_REPO: z.string().min(1).describe('Folder of the GitOps repo'),
  EDGE_BRANCH: z.string().default('main').describe('Protected branch that trains are built from'),
  EDGE_OBJECTS: z.string().min(1).describe('Where releases are kept: file:///… or s3://bucket/prefix'),
  EDGE_DATABASE_URL: z.string().min(1).describe('PostgreSQL URL of the ledger'),
  EDGE_TAKE_OVER: z
    .enum(['first', 'always'])
    .default('first')
    .describe(
      'When this build takes the workflows over by itself: `first`, when no build has them yet; `always`, at every start, ' +
        'which is right only where one control worker runs',
    ),
});

const releaseSchema = z.object({
  ...common,
  EDGE_REPO: controlSchema.shape.EDGE_REPO,
  EDGE_BRANCH: controlSchema.shape.EDGE_BRANCH,
  EDGE_OBJECTS: controlSchema.shape.EDGE_OBJECTS,
  EDGE_DATABASE_URL: controlSchema.shape.EDGE_DATABASE_URL.describe(
    'PostgreSQL URL of the ledger, where approvals are looked up; an account that may read is enough',
  ),
  EDGE_RELEASE_KEY_FILE: z
    .string()
    .min(1)
    .describe('PEM of the ECDSA P-256 key that signs releases; readable by this process alone'),
  EDGE_SCAN_PROGRAMS: z
    .string()
    .default('')
    .transform((list) => list.split(',').filter((program) => program !== ''))
    .describe('Programs, joined by commas, that scan.command of fleet.yaml may name; they run beside the signing key'),
});

export type ControlConfig = z.output<typeof controlSchema>;
export type ReleaseConfig = z.output<typeof releaseSchema>;

export const controlConfig = (): ControlConfig => fromEnvironment(controlSchema, 'control worker');
export const releaseConfig = (): ReleaseConfig => fromEnvironment(releaseSchema, 'release worker');
export const logLevel = (): string =>
  fromEnvironment(z.object({ EDGE_LOG_LEVEL: common.EDGE_LOG_LEVEL }), 'worker').EDGE_LOG_LEVEL;

const milliseconds = z.number().int().min(1).max(86_400_000);

const port = z.number().int().min(1).max(65_535);
const storageId = z.string().regex(/^[A-Za-z][A-Za-z0-9_.-]{0,99}$/, 'is not the id of a storage');
/** Of a datastore, a job: what a backup server gives ids to. */
const pbsId = z
  .string()
  .regex(/^[A-Za-z0-9_][A-Za-z0-9._-]{2,31}$/, 'is not an id that a backup server gives: it has 3 to 32 characters');
const pbsNode = z
  .string()
  .regex(
    /^[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?$/,
    'is not the host name of a backup server. Give it as the host itself does, without a domain',
  );
const namespace = z
  .string()
  .max(256)
  .regex(
    /^(([A-Za-z0-9_][A-Za-z0-9._-]*\/){0,7}[A-Za-z0-9_][A-Za-z0-9._-]*)?$/,
    'is not a namespace of a backup server',
  );
const fingerprint = z.string().regex(/^([0-9a-fA-F]{2}:?){31}[0-9a-fA-F]{2}$/, 'is not a SHA-256 in hex');

const pbsSchema = z
  .object({
    node: pbsNode.describe('Host name of the backup server, as its task ids have it'),
    address: z.string().min(1),
    port: port.default(8007),
    fingerprint: fingerprint.describe('SHA-256 of its certificate'),
    datastore: pbsId,
    verifyTokenFile: z
      .string()
      .describe('File of a token that may read, verify and run the sync job: user@realm!name:secret'),
    pruneTokenFile: z.string().describe('File of a token that may prune and collect; never one that a node has'),
  })
  .strict();

const backupSchema = z
  .object({
    storage: storageId.describe("Storage of the store's cluster, of type pbs, that guests are dumped to"),
    fleecing: storageId
      .exactOptional()
      .describe('Fast local storage that holds meanwhile what guests overwrite, so that a slow target slows no guest'),
    encryptionKey: z
      .string()
      .min(1)
      .max(200)
      .exactOptional()
      .describe('Fingerprint of the key that the nodes encrypt with; shown to people, and never used'),
    pbs: pbsSchema
      .extend({ namespace: namespace.default('').describe('Of the datastore; empty = its root') })
      .strict()
      .describe("The store's own backup server"),
    sendJob: pbsId.exactOptional().describe('Sync job of that server that sends to the central one; absent = none'),
  })
  .strict();

const proxmoxSchema = z
  .object({
    nodes: z.array(z.object({ name: z.string(), address: z.string(), port: z.number().int() }).strict()).min(1),
    tokenFile: z.string(),
    caFile: z.string(),
  })
  .strict();

const sshSchema = z
  .object({
    user: z.string(),
    keyFile: z.string(),
    nodes: z
      .record(z.string(), z.object({ address: z.string(), port: z.number().int(), hostKey: z.string() }).strict())
      .refine((nodes) => Object.keys(nodes).length > 0, 'names no node'),
  })
  .strict();

/** What an installer puts beside a store worker. Credentials are files of their own, named here. */
export const storeWorkerSchema = z
  .object({
    store: storeId,
    fleet: fleetName,
    temporal: z.object({ address: z.string().min(3), namespace: z.string().min(1) }).strict(),
    registry: z.string().min(1).describe('Where releases are pulled from: https://…, s3://… or file:///…'),
    proxmox: proxmoxSchema,
    ssh: sshSchema,
    releaseKeys: z.string().describe('JSON file of the pinned release keys'),
    stateDir: z.string(),
    backup: backupSchema
      .exactOptional()
      .describe('Absent: this store has no backup server, and each night of backups says so'),
    timing: z
      .object({
        poll: milliseconds.default(5_000),
        drain: milliseconds.default(3_600_000),
        upgrade: milliseconds.default(3_600_000),
        reboot: milliseconds.default(1_200_000),
        rejoin: milliseconds.default(600_000),
        recovery: milliseconds.default(3_600_000),
        stable: milliseconds.default(60_000),
        homecoming: milliseconds.default(900_000),
        rebootGrace: milliseconds.default(120_000),
        maxMaintenance: milliseconds.default(5_400_000),
        learn: milliseconds.default(600_000),
      })
      .strict()
      .prefault({}),
  })
  .strict();
export type StoreWorkerConfig = z.output<typeof storeWorkerSchema>;

/** What an installer puts beside the worker that tends the central backup server. */
export const offsiteWorkerSchema = z
  .object({
    temporal: z.object({ address: z.string().min(3), namespace: z.string().min(1) }).strict(),
    pbs: pbsSchema.describe('The central server; each store has the namespace of its id there'),
    verifyAtOnce: z
      .number()
      .int()
      .min(1)
      .max(100)
      .default(8)
      .describe(
        'Stores whose copies it verifies at the same time; the others wait. One with spinning disks verifies no faster ' +
          'for more of them',
      ),
    timing: z
      .object({ poll: milliseconds.default(5_000) })
      .strict()
      .prefault({}),
  })
  .strict();

export type OffsiteWorkerConfig = z.output<typeof offsiteWorkerSchema>;

/** Names that Proxmox VE gives to pools and network interfaces. */
const pveName = z.string().regex(/^[A-Za-z0-9_][A-Za-z0-9._-]{0,39}$/, 'is not a name that Proxmox VE gives');

/** What an installer puts beside the worker of the staging site. */
export const stagingWorkerSchema = z
  .object({
    temporal: z.object({ address: z.string().min(3), namespace: z.string().min(1) }).strict(),
    proxmox: proxmoxSchema.describe('The cluster of the site'),
    ssh: sshSchema.describe('Its nodes: containers are entered there, and what a failed restore left is taken away'),
    place: z
      .object({
        storage: storageId.describe('For the disks of restored guests, and for nothing else'),
        bridge: pveName.describe('Without a port on any node: restored guests are alone on it'),
        pool: pveName.describe('What restored guests are in; the rights of the token are on it'),
      })
      .strict(),
    copies: z
      .object({
        node: pbsNode.describe('Host name of the central backup server, as its task ids have it'),
        address: z.string().min(1),
        port: port.default(8007),
        fingerprint: fingerprint.describe('SHA-256 of its certificate'),
        datastore: pbsId.describe('Each store has the namespace of its id there'),
        readTokenFile: z
          .string()
          .describe(
            'File of a token that may read, and nothing else: user@realm!name:secret. The nodes restore with it',
          ),
      })
      .strict()
      .describe('The central backup server'),
    encryptionKeyFiles: z
      .record(storeId, z.string())
      .default({})
      .describe('Key file of the backups of each store that encrypts them, as the backup client keeps it'),
    stateDir: z.string(),
    timing: z
      .object({
        poll: milliseconds.default(5_000),
        grace: milliseconds.default(60_000),
        away: milliseconds.default(600_000),
        restore: milliseconds.default(21_600_000),
        boot: milliseconds.default(600_000),
        remove: milliseconds.default(600_000),
        command: milliseconds.default(60_000),
      })
      .strict()
      .prefault({}),
  })
  .strict();

export type StagingWorkerConfig = z.output<typeof stagingWorkerSchema>;

export const pinnedKeysSchema = z
  .array(
    z
      .object({
        hint: z.string(),
        publicKeyPem: z.string(),
        from: z.iso.datetime().exactOptional(),
        to: z.iso.datetime().exactOptional(),
        revoked: z.boolean().exactOptional(),
      })
      .strict(),
  )
  .min(1);

/** A credential, from the file of its own that the configuration names. */
export async function readSecret(path: string): Promise<string> {
  const secret = (await readText(path)).trim();
  if (secret === '') throw new ConfigError(`${path} is empty.`);
  return secret;
}

export async function readConfigFile<T>(path: string, schema: z.ZodType<T>): Promise<T> {
  const text = await readText(path);
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    throw new ConfigError(`${path} is not JSON.`);
  }
  const parsed = parse(schema, value);
  if (parsed.ok) return parsed.value;
  throw new ConfigError(`${path}: ${parsed.problems.join('; ')}`);
}

const readText = (path: string): Promise<string> =>
  readFile(path, 'utf8').catch((error: unknown) => {
    throw new ConfigError(`${path} cannot be read: ${error instanceof Error ? error.message : String(error)}`);
  });

/** What people have to mend; no retry does. */
export class ConfigError extends Error {
  readonly kind = 'Config';
  readonly retryable = false;

  constructor(message: string) {
    super(message);
    this.name = 'ConfigError';
  }
}

function fromEnvironment<T extends z.ZodObject>(schema: T, process_: string): z.output<T> {
  const parsed = schema.safeParse(process.env);
  if (parsed.success) return parsed.data;
  const problems = parsed.error.issues.map(({ path, message }) => {
    const name = String(path[0]);
    return `${name} (${(schema.shape[name] as z.ZodType | undefined)?.description ?? 'setting'}): ${message}`;
  });
  throw new ConfigError(`The ${process_} cannot start: ${problems.join('; ')}`);
}
