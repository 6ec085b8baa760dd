import type { z } from 'zod';
import type { CephFacts } from '#domain/facts.js';
import type { CommandResult, CommandRunner } from '#systems/ssh/types.js';
import { CephRefused, CephUnreadable } from './errors.js';
import { osdDfSchema, osdDumpSchema, osdOkToStopSchema, osdTreeSchema, quorumSchema, statusSchema } from './schemas.js';
import type { CephClient } from './types.js';

const DEFAULT_TIMEOUT_MS = 15_000;
/** A call costs a node about a third of a second of CPU; two at a time do not disturb its guests. */
const CONCURRENCY = 2;
const MAX_DETAIL = 500;
const EBUSY = 16;

export interface CephOptions {
  /** Put before every command, `['sudo', '-n']` where the user is not root. */
  prefix?: string[];
  /** Milliseconds for one command: without a manager some of them never end. Default 15,000. */
  timeoutMs?: number;
}

/** Throws `CephUnreadable` whenever an answer is missing or not understood, errors of the runner apart. */
export function createCephClient(runner: CommandRunner, options: CephOptions = {}): CephClient {
  const prefix = options.prefix ?? [];
  const timeoutMs = options.timeoutMs ?? DEFAULT_TIMEOUT_MS;

  const run = (args: string[]): Promise<CommandResult> => runner.run([...prefix, 'ceph', ...args], { timeoutMs });
  const runJson = (args: string[]): Promise<CommandResult> => run([...args, '-f', 'json']);

  const read = async <T extends z.ZodType>(schema: T, args: string[]): Promise<z.output<T>> => {
    const result = await runJson(args);
    if (result.code !== 0) throw new CephUnreadable(`ceph ${args.join(' ')}: ${lastLine(result)}`);
    return parse(schema, args, result);
  };

  const change = async (args: string[]): Promise<void> => {
    const result = await run(args);
    if (result.code !== 0) throw new CephRefused(`ceph ${args.join(' ')}: ${lastLine(result)}`);
  };

  return {
    async facts({ room = false } = {}) {
      const parts = await inTurns(CONCURRENCY, {
        status: () => read(statusSchema, ['status']),
        dump: () => read(osdDumpSchema, ['osd', 'dump']),
        tree: () => read(osdTreeSchema, ['osd', 'tree']),
        df: async () => (room ? read(osdDfSchema, ['osd', 'df']) : undefined),
        quorum: () => read(quorumSchema, ['quorum_status']),
      });
      return factsOf(parts);
    },

    async looksSettled() {
      const { osdmap, pgmap, quorum_names: quorum, monmap } = await read(statusSchema, ['status']);
      const clean = pgmap.pgs_by_state.filter(({ state_name: state }) => state.startsWith('active+clean'));
      return (
        osdmap.num_osds > 0 &&
        osdmap.num_up_osds === osdmap.num_osds &&
        osdmap.num_in_osds === osdmap.num_osds &&
        quorum.length === monmap.num_mons &&
        clean.reduce((sum, { count }) => sum + count, 0) === pgmap.num_pgs
      );
    },

    hostFlags: async () => flagsByHost(await read(osdDumpSchema, ['osd', 'dump'])),

    async osdOkToStop(osds) {
      // With no ids at all the program would not ask about any, and say yes.
      if (osds.length === 0)
        throw new CephUnreadable('ceph osd ok-to-stop: no OSDs given; are those of the host known?');
      const args = ['osd', 'ok-to-stop', ...osds.map(String)];
      const result = await runJson(args);
      const answer = parse(osdOkToStopSchema, args, result);
      const detail = lastLine(result);
      if (answer.ok_to_stop && result.code === 0) return { answer: 'yes', detail };
      if (answer.num_not_ok_pgs === 0 && answer.unknown_pgs.length > 0) return { answer: 'unknown', detail };
      return { answer: 'no', detail };
    },

    async monOkToStop(mon) {
      // Says nothing on stdout, and the reason of both answers on stderr.
      const result = await run(['mon', 'ok-to-stop', mon]);
      const detail = lastLine(result);
      if (result.code === 0) return { answer: 'yes', detail };
      if (result.code === EBUSY) return { answer: 'no', detail };
      throw new CephUnreadable(`ceph mon ok-to-stop ${mon}: ${detail}`);
    },

    setHostNoout: (host) => change(['osd', 'set-group', 'noout', host]),
    unsetHostNoout: (host) => change(['osd', 'unset-group', 'noout', host]),
  };
}

interface Parts {
  status: z.output<typeof statusSchema>;
  dump: z.output<typeof osdDumpSchema>;
  tree: z.output<typeof osdTreeSchema>;
  df: z.output<typeof osdDfSchema> | undefined;
  quorum: z.output<typeof quorumSchema>;
}

function factsOf({ status, dump, tree, df, quorum }: Parts): CephFacts {
  const hostOf = new Map<number, string>();
  for (const node of tree.nodes) {
    if (node.type === 'host') for (const child of node.children) hostOf.set(child, node.name);
  }
  const utilizationOf = new Map(df?.nodes.map((node) => [node.id, node.utilization]));

  return {
    health: status.health.status,
    checks: Object.entries(status.health.checks).map(([code, check]) => ({
      code,
      severity: check.severity,
      message: check.summary.message,
      muted: check.muted,
    })),
    // The two answers are moments apart: a monitor counts only when both saw it.
    monsInQuorum: quorum.quorum_names.filter((name) => status.quorum_names.includes(name)),
    monsInMap: quorum.monmap.mons.map((mon) => mon.name),
    mgrAvailable: status.mgrmap.available,
    mgrStandbys: status.mgrmap.num_standbys,
    osds: dump.osds.map((osd) => {
      const utilization = utilizationOf.get(osd.osd);
      if (df && utilization === undefined && osd.up === 1) {
        throw new CephUnreadable(`ceph osd df: says nothing of osd.${osd.osd}, which is up`);
      }
      return {
        id: osd.osd,
        host: hostOf.get(osd.osd) ?? '',
        up: osd.up === 1,
        in: osd.in === 1,
        ...(df ? { utilization: utilization ?? 0 } : {}),
      };
    }),
    pgs: {
      total: status.pgmap.num_pgs,
      states: status.pgmap.pgs_by_state.map(({ state_name: state, count }) => ({ state, count })),
    },
    degradedObjects: status.pgmap.degraded_objects,
    misplacedObjects: status.pgmap.misplaced_objects,
    unfoundObjects: status.pgmap.unfound_objects,
    flags: dump.flags.split(',').filter((flag) => flag !== ''),
    hostFlags: flagsByHost(dump),
    pools: dump.pools.map((pool) => ({ name: pool.pool_name, size: pool.size, minSize: pool.min_size })),
  };
}

const flagsByHost = (dump: z.output<typeof osdDumpSchema>): Record<string, string[]> =>
  Object.fromEntries(Object.entries(dump.crush_node_flags).filter(([, flags]) => flags.length > 0));

function parse<T extends z.ZodType>(schema: T, args: string[], result: CommandResult): z.output<T> {
  const command = `ceph ${args.join(' ')}`;
  let value: unknown;
  try {
    value = JSON.parse(result.stdout);
  } catch (error) {
    throw new CephUnreadable(`${command}: no JSON (exit code ${result.code}): ${lastLine(result)}`, error);
  }
  const parsed = schema.safeParse(value);
  if (parsed.success) return parsed.data;
  const issue = parsed.error.issues[0];
  throw new CephUnreadable(`${command}: ${issue?.path.join('.') || 'answer'}: ${issue?.message ?? 'not understood'}`);
}

/** What the program said for people: the last line on stderr, where even good news appears. */
function lastLine(result: CommandResult): string {
  const line = result.stderr.trim().split('\n').at(-1)?.trim();
  return (line || `exit code ${result.code}`).slice(0, MAX_DETAIL);
}

/** Runs named jobs, a few at a time, and gives their results by name. The first failure is thrown, after all have ended. */
async function inTurns<T extends Record<string, unknown>>(
  limit: number,
  jobs: { [K in keyof T]: () => Promise<T[K]> },
): Promise<T> {
  const queue = Object.entries(jobs) as [keyof T, () => Promise<T[keyof T]>][];
  const results: Partial<T> = {};
  const errors: unknown[] = [];
  const worker = async () => {
    for (let next = queue.shift(); next; next = queue.shift()) {
      const [name, job] = next;
      try {
        results[name] = await job();
      } catch (error) {
        errors.push(error);
        queue.length = 0;
      }
    }
  };
  await Promise.all(Array.from({ length: limit }, worker));
  if (errors.length > 0) throw errors[0];
  return results as T;
}
