import type { CephSim } from '../../world/ceph-sim.js';
import { SETTABLE_FLAGS } from '../../world/ceph-sim.js';
import type { NodeSim } from '../../world/node-sim.js';
import * as json from '../ceph-json.js';
import { fail, hang, ok, type Program, type Result } from '../result.js';

const READS: Record<string, { json: (ceph: CephSim) => unknown; stderr?: string }> = {
  status: { json: json.status },
  '-s': { json: json.status },
  health: { json: json.healthDetail },
  'health detail': { json: json.healthDetail },
  'osd dump': { json: json.osdDump },
  'osd tree': { json: json.osdTree },
  'osd df': { json: json.osdDf },
  'osd pool ls detail': { json: json.poolDetail },
  'mon dump': { json: json.monDump, stderr: 'dumped monmap epoch 3\n' },
  'mgr dump': { json: json.mgrDump },
  quorum_status: { json: json.quorumStatus },
  versions: { json: json.versions },
  'pg stat': { json: json.pgStat },
  df: { json: json.df },
};
/** These are answered by the manager, and wait for one. */
const FROM_MANAGER = new Set(['osd df', 'pg stat', 'df']);
const INVALID = 'Error EINVAL: invalid command\n';

interface Parsed {
  words: string[];
  format: 'plain' | 'json' | 'json-pretty';
}

function parseArgs(args: string[]): Parsed {
  const words: string[] = [];
  let format = 'plain';
  for (let i = 0; i < args.length; i += 1) {
    const word = args[i] as string;
    if (word === '-f' || word === '--format') format = args[(i += 1)] ?? '';
    else if (word.startsWith('--format=')) format = word.slice('--format='.length);
    else if (word === '--connect-timeout') i += 1;
    else if (!word.startsWith('--connect-timeout=')) words.push(word);
  }
  return { words, format: format === 'json' || format === 'json-pretty' ? format : 'plain' };
}

const text = (value: unknown, indent?: number): string => `\n${JSON.stringify(value, undefined, indent)}\n`;

export const ceph: Program = ({ node, args, by }) => {
  const cluster = node.store.ceph;
  const { words, format } = parseArgs(args);
  // Without a quorum the client hunts for monitors for ever.
  if (!cluster.hasQuorum) return hang();
  const line = words.join(' ');
  const read = READS[line];
  if (read) {
    if (FROM_MANAGER.has(line) && !cluster.mgrAvailable) return hang();
    if (format === 'plain') return ok(plain(line, cluster));
    return ok(text(read.json(cluster), format === 'json-pretty' ? 4 : undefined), read.stderr ?? '');
  }
  const [kind, verb, ...rest] = words;
  if (kind === 'osd' && verb === 'ok-to-stop') return osdOkToStop(cluster, rest);
  if (kind === 'mon' && verb === 'ok-to-stop') return monOkToStop(cluster, rest);
  if (kind === 'osd' && (verb === 'set-group' || verb === 'unset-group')) return group(node, verb, rest, by);
  if (kind === 'osd' && (verb === 'set' || verb === 'unset')) return flag(cluster, verb, rest, by);
  return fail(22, INVALID);
};

/** For people: the health with its checks, and for `status` what the cluster is made of. */
function plain(line: string, cluster: CephSim): string {
  const { status, checks } = json.healthDetail(cluster) as { status: string; checks: Record<string, Said> };
  const lines = Object.values(checks).map(({ summary }) => summary.message);
  if (line !== 'status' && line !== '-s') return `${[status, ...lines].join('; ').slice(0, 2_000)}\n`;
  const up = cluster.osds.filter((osd) => osd.up).length;
  const pgs = cluster.pgStates().map(({ state, count }) => `${count} ${state}`);
  return (
    `  cluster:\n    id:     ${cluster.fsid}\n    health: ${[status, ...lines].join('\n            ')}\n \n` +
    `  services:\n    mon: ${cluster.hosts.length} daemons, quorum ${cluster.quorum.join(',')}\n` +
    `    mgr: ${cluster.activeMgr ?? 'no daemons active'}(active), standbys: ${cluster.standbyMgrs.join(', ')}\n` +
    `    osd: ${cluster.osds.length} osds: ${up} up, ${cluster.osds.filter((osd) => osd.in).length} in\n \n` +
    `  data:\n    pools:   ${cluster.pools.length} pools, ${cluster.pgs().length} pgs\n    pgs:     ${pgs.join('\n             ')}\n \n`
  );
}

interface Said {
  summary: { message: string };
}

function osdOkToStop(cluster: CephSim, words: string[]): Result | Promise<Result> {
  const ids = words.map((word) => Number(word.replace(/^osd\./, '')));
  if (ids.length === 0 || ids.some((id) => !Number.isInteger(id))) return fail(22, INVALID);
  const answer = cluster.osdOkToStop(ids);
  if (answer === undefined) return hang();
  const stdout = text(json.osdOkToStop(ids, answer));
  if (answer.ok) return ok(stdout);
  const count = answer.badPgs.length;
  const stderr = `Error EBUSY: unsafe to stop osd(s) at this time (${count} PGs are or would become offline)\n`;
  return fail(16, stderr, stdout);
}

/** A name that is no monitor's takes none away, and is answered like one that is: seen on 16.2. */
function monOkToStop(cluster: CephSim, names: string[]): Result | Promise<Result> {
  if (names.length === 0) return fail(22, INVALID);
  const answer = cluster.monOkToStop(names);
  if (answer === undefined) return hang();
  const left = answer.left.join(',');
  if (answer.ok) return ok('\n', `quorum should be preserved (${left}) after stopping [${names.join(',')}]\n`);
  return fail(
    16,
    `Error EBUSY: not enough monitors would be available (${left}) after stopping mons [${names.join(',')}]\n`,
    '\n',
  );
}

function group(node: NodeSim, verb: string, [flagName, ...hosts]: string[], by: string): Result {
  if (flagName === undefined || !['noup', 'nodown', 'noin', 'noout'].includes(flagName) || hosts.length === 0) {
    return fail(22, 'Error EINVAL: invalid flag; must be one of noup, nodown, noin, noout\n');
  }
  const cluster = node.store.ceph;
  const unknown = hosts.find((host) => !cluster.hosts.includes(host));
  if (unknown !== undefined) return fail(22, `Error EINVAL: invalid bucket or class name: ${unknown}\n`);
  for (const host of hosts) {
    if (flagName === 'noout') node.enter(verb === 'set-group' ? 'ceph.noout.set' : 'ceph.noout.unset', host);
    if (verb === 'set-group') cluster.setHostFlag(host, flagName, by);
    else cluster.unsetHostFlag(host, flagName, by);
  }
  return ok();
}

function flag(cluster: CephSim, verb: string, [name]: string[], by: string): Result {
  if (name === undefined || !(SETTABLE_FLAGS as readonly string[]).includes(name)) return fail(22, INVALID);
  if (verb === 'set') cluster.setFlag(name, by);
  else cluster.unsetFlag(name, by);
  return ok('', `${name} is ${verb}\n`);
}
