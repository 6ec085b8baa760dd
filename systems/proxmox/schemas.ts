import { z } from 'zod';

/**
 * Answers of the Proxmox API as they really come: booleans as 0, 1, "1", "" or true; numbers as strings now and then;
 * unknown keys in every object. What the service rests on must be there, the rest may be missing.
 */

const NUMBER = /^-?\d+(\.\d+)?([eE][+-]?\d+)?$/;

export const bool = z
  .union([z.boolean(), z.literal([0, 1, '0', '1', ''])])
  .transform((value) => value === true || value === 1 || value === '1');

export const num = z.union([z.number(), z.string().regex(NUMBER).transform(Number)]);

const text = z.string();
/** A field that is text when it says something; null and a missing field say nothing. */
const optionalText = z
  .string()
  .nullish()
  .transform((value) => value ?? undefined);

export const versionSchema = z.looseObject({ version: text, release: text });

/** Path → privilege → whether it is inherited further down; both 0 and 1 mean granted on this path. */
export const permissionsSchema = z.record(z.string(), z.record(z.string(), z.unknown()));

export const clusterStatusSchema = z.array(
  z.looseObject({
    type: text,
    name: text,
    quorate: bool.optional(),
    online: bool.optional(),
    local: bool.optional(),
  }),
);

export const resourcesSchema = z.array(
  z.looseObject({
    type: text,
    vmid: num.optional(),
    name: optionalText,
    node: optionalText,
    status: optionalText,
    template: bool.optional(),
    maxmem: num.nullish(),
    lock: optionalText,
    hastate: optionalText,
  }),
);

export const guestStatusSchema = z.looseObject({
  status: text,
  lock: optionalText,
  ha: z.looseObject({ managed: bool.optional() }).nullish(),
});

export const managerStatusSchema = z.looseObject({
  manager_status: z.looseObject({
    node_status: z.record(z.string(), z.string()).default({}),
    service_status: z.record(z.string(), z.looseObject({ node: text, state: text })).default({}),
  }),
  quorum: z.looseObject({ quorate: bool.optional() }),
});

export const haRowsSchema = z.array(
  z.looseObject({
    id: text,
    type: text,
    node: optionalText,
    status: optionalText,
    sid: optionalText,
    state: optionalText,
    quorate: bool.optional(),
  }),
);

export const nodeStatusSchema = z.looseObject({
  uptime: num,
  'current-kernel': z.looseObject({ release: text }),
  rootfs: z.looseObject({ avail: num }),
  memory: z.looseObject({ free: num }).optional(),
});

export const tasksSchema = z.array(
  z.looseObject({
    upid: text,
    node: text,
    type: text,
    id: z
      .union([z.string(), z.number().transform(String)])
      .nullish()
      .transform((value) => value ?? ''),
    user: text,
    starttime: num,
    endtime: num.optional(),
    status: optionalText,
  }),
);

export const taskStatusSchema = z.looseObject({
  status: z.enum(['running', 'stopped']),
  exitstatus: optionalText,
});

export const taskLogSchema = z.array(z.looseObject({ n: num, t: text }));

export const notBackedUpSchema = z.array(
  z.looseObject({ vmid: num, type: z.enum(['qemu', 'lxc']), name: optionalText }),
);

/** Sizes are missing, or 0, while the storage cannot be reached. */
export const storageStatusSchema = z.looseObject({
  type: text,
  content: text,
  enabled: bool.optional(),
  active: bool.optional(),
  total: num.optional(),
  used: num.optional(),
  avail: num.optional(),
});

export const storagesSchema = z.array(
  z.looseObject({
    storage: text,
    type: text,
    content: optionalText,
    server: optionalText,
    port: num.optional(),
    datastore: optionalText,
    namespace: optionalText,
    username: optionalText,
    fingerprint: optionalText,
    'encryption-key': optionalText,
    nodes: optionalText,
    disable: bool.optional(),
  }),
);

export const volumesSchema = z.array(z.looseObject({ volid: text }));

/** Numbers of a config file come as numbers or as text, and raw settings of a container as lists; here all is text. */
/** A file of lines `name: value`; comments begin with #, sections of snapshots with [. */
export const archivedConfigSchema = z.string().transform((file) => {
  const [own = ''] = file.split(/^\[/m);
  const lines = own.split('\n').filter((line) => !line.startsWith('#'));
  return Object.fromEntries(lines.flatMap((line) => [SETTING.exec(line)?.slice(1) ?? []]).filter(isSetting));
});
const SETTING = /^([a-z][\w-]*): (.*?)\s*$/i;
const isSetting = (pair: string[]): pair is [string, string] => pair.length === 2;

export const guestConfigSchema = z.record(
  z.string(),
  z.unknown().transform((value) => {
    if (typeof value === 'boolean') return value ? '1' : '0';
    return typeof value === 'string' ? value : JSON.stringify(value);
  }),
);

export const poolSchema = z.looseObject({
  members: z.array(z.looseObject({ type: text, vmid: num.optional() })),
});

export const networksSchema = z.array(
  z.looseObject({ iface: text, type: text, bridge_ports: optionalText, ovs_ports: optionalText }),
);

export const agentPidSchema = z.looseObject({ pid: num });

export const agentStatusSchema = z.looseObject({
  exited: bool,
  exitcode: num.optional(),
  'out-data': optionalText,
  'err-data': optionalText,
});

export const errorBodySchema = z.looseObject({
  message: optionalText,
  errors: z.record(z.string(), z.unknown()).nullish(),
});
