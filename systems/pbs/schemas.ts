import { z } from 'zod';

/**
 * Answers of the backup server. Flags and numbers are what JSON says they are; unknown keys come with every version.
 * What the service rests on must be there, the rest may be missing.
 */

const text = z.string();
const optionalText = z
  .string()
  .nullish()
  .transform((value) => value ?? undefined);
const count = z.number().int().min(0);
/** Epoch seconds. */
const instant = z.number().int();
const kind = z.enum(['vm', 'ct', 'host']);

export const versionSchema = z.looseObject({ version: text, release: text });

export const permissionsSchema = z.record(z.string(), z.record(z.string(), z.unknown()));

export const datastoresSchema = z.array(
  z.looseObject({
    store: text,
    'backend-type': text.default('filesystem'),
    maintenance: optionalText,
    'mount-status': optionalText,
  }),
);

export const spaceSchema = z.looseObject({ total: count, used: count, avail: count });

/** A datastore that cannot be read has an `error`, and its numbers are missing or −1. */
export const usageSchema = z.array(
  z.looseObject({
    store: text,
    total: z.number().optional(),
    used: z.number().optional(),
    avail: z.number().optional(),
    'estimated-full-date': z.number().optional(),
    error: optionalText,
  }),
);

export const namespacesSchema = z.array(z.looseObject({ ns: text }));

export const groupsSchema = z.array(
  z.looseObject({
    'backup-type': kind,
    'backup-id': text,
    'last-backup': instant,
    'backup-count': count,
    owner: optionalText,
  }),
);

/** Files are objects, although the published form says that they are names. */
const fileSchema = z.union([
  z.looseObject({ filename: text, 'crypt-mode': optionalText }),
  text.transform((filename) => ({ filename, 'crypt-mode': undefined })),
]);

export const snapshotsSchema = z.array(
  z.looseObject({
    'backup-type': kind,
    'backup-id': text,
    'backup-time': instant,
    files: z.array(fileSchema),
    size: count.optional(),
    protected: z.boolean(),
    comment: optionalText,
    fingerprint: optionalText,
    verification: z.looseObject({ state: text, upid: text }).nullish(),
  }),
);

export const pruneSchema = z.array(
  z.looseObject({ 'backup-time': instant, keep: z.boolean(), protected: z.boolean().default(false) }),
);

export const collectionSchema = z.looseObject({
  upid: optionalText,
  'last-run-state': optionalText,
  'last-run-endtime': instant.optional(),
  'disk-bytes': count,
  'index-data-bytes': count,
  'pending-bytes': count,
  'removed-bytes': count,
  'still-bad': count,
});

export const syncJobsSchema = z.array(
  z.looseObject({
    id: text,
    store: text,
    ns: optionalText,
    remote: optionalText,
    'remote-store': optionalText,
    'sync-direction': text.default('pull'),
    'last-run-upid': optionalText,
    'last-run-state': optionalText,
    'last-run-endtime': instant.optional(),
  }),
);

export const tasksSchema = z.array(
  z.looseObject({ upid: text, worker_type: text, starttime: instant, status: optionalText }),
);

export const taskStatusSchema = z.looseObject({ status: z.enum(['running', 'stopped']), exitstatus: optionalText });

export const taskLogSchema = z.array(z.looseObject({ n: count, t: text }));
