import type { CephSim } from '../../world/ceph-sim.js';
import { SETTABLE_FLAGS } from '../../world/ceph-sim.js';
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
};
/** These are answered by the manager, and wait for one. */
const FROM_MANAGER = new Set(['osd df']);
const INVALID = 'Error EINVAL: invalid command\n';

interface Parsed {
  words: string[];
  asJson: boolean;
}

function parseArgs(args: string[]): Parsed {
  const words: string[] = [];
  let asJson = false;
  for (let i = 0; i < args.length; i += 1) {
    const word = args[i] as string;
    if (word === '-f' || word === '--format') asJson = (args[(i += 1)] ?? '').startsWith('json');
    else if (word.startsWith('--format=')) asJson = word.startsWith('--format=json');
    else if (word === '--connect-timeout') i += 1;
    else if (!word.startsWith('--connect-timeout=')) words.push(word);
  }
  return { words, asJson };
}

const text = (value: unknown): string => `\n${JSON.stringify(value)}\n`;

export const ceph: Program = ({ node, args, by }) => {
  const cluster = node.store.ceph;
  const { words, asJson } = parseArgs(args);
  // Without a quorum the client hunts for monitors for ever.
  if (!cluster.hasQuorum) return hang();
  const line = words.join(' ');
  const read = READS[line];
  if (read) {
    if (FROM_MANAGER.has(line) && !cluster.mgrAvailable) return hang();
    if (!asJson) return ok(`${(json.healthDetail(cluster) as { status: string }).status}\n`);
    return ok(text(read.json(cluster)), read.stderr ?? '');
  }
  const [kind, verb, ...rest] = words;
  if (kind === 'osd' && verb === 'ok-to-stop') return osdOkToStop(cluster, rest);
  if (kind === 'mon' && verb === 'ok-to-stop') return monOkToStop(cluster, rest);
  if (kind === 'osd' && (verb === 'set-group' || verb === 'unset-group')) return group(cluster, verb, rest, by);
  if (kind === 'osd' && (verb === 'set' || verb === 'unset')) return flag(cluster, verb, rest, by);
  return fail(22, INVALID);
};

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

function monOkToStop(cluster: CephSim, names: string[]): Result | Promise<Result> {
  const unknown = names.find((name) => !cluster.hosts.includes(name));
  if (names.length === 0 || unknown !== undefined) return fail(22, INVALID);
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

function group(cluster: CephSim, verb: string, [flagName, ...hosts]: string[], by: string): Result {
  if (flagName === undefined || !['noup', 'nodown', 'noin', 'noout'].includes(flagName) || hosts.length === 0) {
    return fail(22, 'Error EINVAL: invalid flag; must be one of noup, nodown, noin, noout\n');
  }
  const unknown = hosts.find((host) => !cluster.hosts.includes(host));
  if (unknown !== undefined) return fail(22, `Error EINVAL: invalid bucket or class name: ${unknown}\n`);
  for (const host of hosts) {
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
