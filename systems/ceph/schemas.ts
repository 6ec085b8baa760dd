import { z } from 'zod';

/**
 * What the `ceph` program prints with `-f json`, releases 16 to 20. Counters are left out when they are zero; the
 * objects around them are not, and a fact whose object is missing has not been read.
 */

const count = z.number().default(0);
const check = z.looseObject({
  severity: z.string(),
  summary: z.looseObject({ message: z.string() }),
  muted: z.boolean().default(false),
});

export const statusSchema = z.looseObject({
  health: z.looseObject({ status: z.string(), checks: z.record(z.string(), check) }),
  quorum_names: z.array(z.string()),
  monmap: z.looseObject({ num_mons: count }),
  osdmap: z.looseObject({ num_osds: count, num_up_osds: count, num_in_osds: count }),
  pgmap: z.looseObject({
    num_pgs: z.number(),
    pgs_by_state: z.array(z.looseObject({ state_name: z.string(), count: z.number() })),
    degraded_objects: count,
    misplaced_objects: count,
    unfound_objects: count,
  }),
  mgrmap: z.looseObject({ available: z.boolean(), num_standbys: count }),
});

export const quorumSchema = z.looseObject({
  quorum_names: z.array(z.string()),
  monmap: z.looseObject({ mons: z.array(z.looseObject({ name: z.string() })) }),
});

const hostFlags = z.record(z.string(), z.array(z.string()));

export const osdDumpSchema = z.looseObject({
  flags: z.string(),
  pools: z.array(z.looseObject({ pool_name: z.string(), size: z.number(), min_size: z.number() })),
  osds: z.array(z.looseObject({ osd: z.number(), up: z.number(), in: z.number() })),
  crush_node_flags: hostFlags,
});

export const osdTreeSchema = z.looseObject({
  nodes: z.array(
    z.looseObject({ id: z.number(), name: z.string(), type: z.string(), children: z.array(z.number()).default([]) }),
  ),
});

export const osdDfSchema = z.looseObject({
  nodes: z.array(z.looseObject({ id: z.number(), utilization: count })),
});

export const osdOkToStopSchema = z.looseObject({
  ok_to_stop: z.boolean(),
  num_not_ok_pgs: count,
  unknown_pgs: z.array(z.string()).default([]),
});
