import { readdirSync, readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { parse } from 'yaml';
import { z } from 'zod';

/** What the lab needs to know of a store. Read leniently: the strict check of these files is not the lab's business. */
const guestSpecSchema = z.object({
  vmid: z.number().int(),
  name: z.string(),
  kind: z.enum(['qemu', 'lxc']),
  role: z.string().default('other'),
  health: z.string().optional(),
  metrics: z.string().optional(),
  config: z
    .array(
      z.object({
        file: z.string(),
        target: z.string(),
        check: z.array(z.string()).default([]),
        reload: z.array(z.string()).default([]),
      }),
    )
    .default([]),
  /** Only for tests: where it runs at first, whether HA manages it, bytes of memory. */
  node: z.string().optional(),
  ha: z.boolean().optional(),
  maxMemory: z.number().optional(),
  running: z.boolean().optional(),
  /** Of its network cards, the first one first; default: one on vmbr0. */
  bridges: z.array(z.string()).optional(),
  /** Disks and mount points beside its first one, by their names in its settings. */
  disks: z.record(z.string(), z.string()).optional(),
  /** Devices of its node that it was given, by their names in its settings. */
  devices: z.record(z.string(), z.string()).optional(),
});

const storeSpecSchema = z.object({
  id: z.string(),
  nodes: z
    .array(
      z.object({
        name: z.string(),
        address: z.string(),
        apiPort: z.number().int().default(8006),
        sshPort: z.number().int().default(22),
      }),
    )
    .min(1),
  guests: z.array(guestSpecSchema).default([]),
  /** The store's backup server; without it one stands at 8 of the first node's network. */
  pbs: z
    .object({
      address: z.string().optional(),
      port: z.number().int().default(8007),
      namespace: z.string().default(''),
      /** Whether the nodes encrypt what they send. */
      encrypted: z.boolean().default(true),
    })
    .optional(),
});

export type StoreSpec = z.infer<typeof storeSpecSchema>;
/** A spec as a test or a file writes it: defaults may be left out. */
export type StoreSpecInput = z.input<typeof storeSpecSchema>;
export type NodeSpec = StoreSpec['nodes'][number];
export type GuestSpec = StoreSpec['guests'][number];

function parseSpec(value: unknown, where: string): StoreSpec {
  const result = storeSpecSchema.safeParse(value);
  if (result.success) return result.data;
  const problems = result.error.issues.map((issue) => `${issue.path.join('.')}: ${issue.message}`).join('; ');
  throw new Error(`The lab cannot simulate ${where}: ${problems}. Correct the file.`);
}

/** Every `clusters/<store>/store.yaml` of a working tree, by name. */
export function readStoresOfRepo(repo: string): StoreSpec[] {
  const clusters = join(repo, 'clusters');
  return readdirSync(clusters)
    .sort()
    .map((name) => join(clusters, name, 'store.yaml'))
    .filter((file) => statSync(file, { throwIfNoEntry: false })?.isFile())
    .map((file) => withTerminals(parseSpec(parse(readFileSync(file, 'utf8')), file)));
}

/** The payment terminals of a store are on a network of their own, on which its till has a second card. */
const withTerminals = (spec: StoreSpec): StoreSpec => ({
  ...spec,
  guests: spec.guests.map((guest) => (guest.role === 'pos' ? { bridges: ['vmbr0', 'vmbr1'], ...guest } : guest)),
});

/** A JSON or YAML file that holds an array of stores. */
export function readStoresFile(file: string): StoreSpec[] {
  const list: unknown = parse(readFileSync(file, 'utf8'));
  if (!Array.isArray(list)) throw new Error(`${file} is not a list of stores. Write an array of store.yaml objects.`);
  return list.map((value, index) => parseSpec(value, `${file}[${index}]`));
}

export function toSpec(input: StoreSpecInput): StoreSpec {
  return parseSpec(input, `store ${input.id}`);
}
