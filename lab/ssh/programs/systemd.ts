import { NodeGone } from '../../world/node-gone.js';
import type { NodeSim } from '../../world/node-sim.js';
import type { CommandOutcome } from '../../world/packages-sim.js';
import type { Unit } from '../../world/units-sim.js';
import { fail, ok, type Program, type Result } from '../result.js';
import { runApt } from './packages.js';

const withSuffix = (name: string): string => (/\.[a-z]+$/.test(name) ? name : `${name}.service`);

export const systemdRun: Program = ({ node, args, by, root }) => {
  let unit = '';
  let remainAfterExit = false;
  let i = 0;
  for (; i < args.length; i += 1) {
    const word = args[i] as string;
    if (word === '--') {
      i += 1;
      break;
    }
    if (!word.startsWith('-')) break;
    if (word.startsWith('--unit=')) unit = word.slice('--unit='.length);
    else if (word === '--unit' || word === '-u') unit = args[(i += 1)] ?? '';
    else if (word === '--remain-after-exit' || word === '-r') remainAfterExit = true;
    else if (/^(--setenv=|--property=|--description=|--service-type=|--nice=|--slice=)/.test(word)) continue;
    else if (word === '-p' || word === '-E') i += 1;
    else if (/^(--collect|-G|--quiet|-q|--no-block|--no-ask-password)$/.test(word)) continue;
    else return fail(1, `systemd-run: unrecognized option '${word}'\n`);
  }
  const command = args.slice(i);
  if (!root) return fail(1, 'Failed to start transient service unit: Interactive authentication required.\n');
  if (command.length === 0) return fail(1, 'Command line to execute required.\n');
  if (!/^(\/usr\/bin\/)?apt-get$/.test(command[0] ?? '')) {
    return fail(1, `Failed to find executable ${command[0]}: No such file or directory\n`);
  }
  const name = withSuffix(unit === '' ? `run-u${node.units.all.size + 1}` : unit);
  try {
    node.units.start(name, { argv: command, remainAfterExit, by }, () => runUnit(node, { name, argv: command, by }));
  } catch (error) {
    if (error instanceof NodeGone) throw error;
    return fail(1, `${(error as Error).message}\n`);
  }
  return ok('', `Running as unit: ${name}; invocation ID: ${node.bootId.replaceAll('-', '')}\n`);
};

/** The program of a transient unit. */
async function runUnit(node: NodeSim, { name, argv, by }: Pick<Unit, 'name' | 'argv' | 'by'>): Promise<CommandOutcome> {
  return runApt({ node, by, root: true, args: argv.slice(1), env: {}, stdin: () => Promise.resolve('') }, name);
}

/** After a restart of the lab: the units that ran go on. */
export function resumeUnits(node: NodeSim): void {
  for (const unit of node.units.all.values()) {
    if (unit.state === 'running') node.units.follow(unit, unit.by, () => runUnit(node, unit));
  }
}

interface Shown {
  [property: string]: string;
}

const stamp = (ms: number | undefined): string => (ms === undefined ? '' : new Date(ms).toUTCString());

function properties(name: string, unit: Unit | undefined): Shown {
  const common = { Id: name, Names: name, Type: 'simple' };
  if (!unit) {
    return {
      ...common,
      LoadState: 'not-found',
      ActiveState: 'inactive',
      SubState: 'dead',
      Result: 'success',
      ExecMainStatus: '0',
      ExecMainCode: '0',
      ExecMainPID: '0',
      MainPID: '0',
      RemainAfterExit: 'no',
      ExecMainStartTimestamp: '',
      ExecMainExitTimestamp: '',
    };
  }
  const active = { running: 'active', exited: unit.remainAfterExit ? 'active' : 'inactive', failed: 'failed' }[
    unit.state
  ];
  const sub = { running: 'running', exited: unit.remainAfterExit ? 'exited' : 'dead', failed: 'failed' }[unit.state];
  return {
    ...common,
    LoadState: 'loaded',
    ActiveState: active,
    SubState: sub,
    Result: unit.state === 'failed' ? 'exit-code' : 'success',
    ExecMainStatus: String(unit.exitCode ?? 0),
    ExecMainCode: unit.state === 'running' ? '0' : '1',
    ExecMainPID: '40007',
    MainPID: unit.state === 'running' ? '40007' : '0',
    RemainAfterExit: unit.remainAfterExit ? 'yes' : 'no',
    ExecMainStartTimestamp: stamp(unit.startedAt),
    ExecMainExitTimestamp: stamp(unit.endedAt),
  };
}

function show(node: NodeSim, args: string[]): Result {
  const names: string[] = [];
  const wanted: string[] = [];
  let valueOnly = false;
  for (let i = 0; i < args.length; i += 1) {
    const word = args[i] as string;
    if (word === '-p' || word === '--property') wanted.push(...(args[(i += 1)] ?? '').split(','));
    else if (word.startsWith('--property=')) wanted.push(...word.slice('--property='.length).split(','));
    else if (word.startsWith('-p')) wanted.push(...word.slice(2).split(','));
    else if (word === '--value') valueOnly = true;
    else if (!word.startsWith('-')) names.push(word);
  }
  const blocks = names.map((given) => {
    const name = withSuffix(given);
    const all = properties(name, node.units.all.get(name));
    const keys = wanted.length === 0 ? Object.keys(all) : wanted.filter((key) => key in all);
    return keys.map((key) => (valueOnly ? `${all[key]}\n` : `${key}=${all[key]}\n`)).join('');
  });
  return ok(blocks.join('\n'));
}

const asPattern = (glob: string): RegExp =>
  new RegExp(
    `^${glob
      .replace(/[.+^${}()|[\]\\]/g, '\\$&')
      .replace(/\*/g, '.*')
      .replace(/\?/g, '.')}$`,
  );

function listUnits(node: NodeSim, args: string[]): Result {
  const patterns = args.filter((word) => !word.startsWith('-'));
  const all = args.includes('--all') || args.includes('-a');
  const states = args
    .find((word) => word.startsWith('--state='))
    ?.slice('--state='.length)
    .split(',');
  const rows = [...node.units.all.values()]
    .filter(({ name }) => patterns.length === 0 || patterns.some((glob) => asPattern(glob).test(name)))
    .map((unit) => {
      const shown = properties(unit.name, unit);
      return {
        unit: unit.name,
        load: 'loaded',
        active: shown['ActiveState'] as string,
        sub: shown['SubState'] as string,
        description: unit.argv.join(' '),
      };
    })
    .filter((row) => all || row.active !== 'inactive')
    .filter((row) => states === undefined || states.includes(row.active) || states.includes(row.sub));
  if (args.includes('--output=json')) return ok(`${JSON.stringify(rows)}\n`);
  return ok(rows.map((row) => `${row.unit} ${row.load} ${row.active} ${row.sub} ${row.description}\n`).join(''));
}

/** What runs on every node that is up. */
const ALWAYS_ACTIVE = new Set(
  ['corosync', 'pve-cluster', 'pve-ha-crm', 'pve-ha-lrm', 'pvedaemon', 'pveproxy', 'pvestatd', 'ssh'].map(withSuffix),
);

export const systemctl: Program = ({ node, args, by, root }) => {
  const [verb, ...rest] = args.filter((word) => word !== '--no-pager');
  switch (verb) {
    case 'show':
      return show(node, rest);
    case 'list-units':
      return listUnits(node, rest);
    case 'is-system-running': {
      const failed = node.units.failed.length > 0;
      return { code: failed ? 1 : 0, stdout: failed ? 'degraded\n' : 'running\n', stderr: '' };
    }
    case 'is-active': {
      const name = withSuffix(rest[0] ?? '');
      const own = properties(name, node.units.all.get(name))['ActiveState'] as string;
      const state = ALWAYS_ACTIVE.has(name) ? 'active' : own;
      return { code: state === 'active' ? 0 : 3, stdout: `${state}\n`, stderr: '' };
    }
    case 'reset-failed':
    case 'stop':
    case 'reboot':
      if (!root) return fail(1, `Failed to ${verb}: Interactive authentication required.\n`);
      return act(node, verb, rest[0], by);
    default:
      return fail(1, `Unknown command verb '${verb ?? ''}'.\n`);
  }
};

function act(node: NodeSim, verb: 'reset-failed' | 'stop' | 'reboot', unit: string | undefined, by: string): Result {
  if (verb === 'reboot') {
    node.reboot(by);
    return ok();
  }
  const name = withSuffix(unit ?? '');
  if (!node.units.all.has(name)) {
    return verb === 'stop'
      ? fail(5, `Failed to stop ${name}: Unit ${name} not loaded.\n`)
      : fail(1, `Failed to reset failed state of unit ${name}: Unit ${name} not loaded.\n`);
  }
  if (verb === 'reset-failed') node.units.reset(name, by);
  else if (!node.units.stop(name, by)) return fail(1, `Job for ${name} canceled.\n`);
  return ok();
}

export const journalctl: Program = ({ node, args }) => {
  const at = args.indexOf('-u');
  const name = withSuffix(at < 0 ? '' : (args[at + 1] ?? ''));
  const lines = node.units.logs.get(name) ?? [];
  const n = args.indexOf('-n');
  const count = n < 0 ? lines.length : Number(args[n + 1] ?? 10);
  if (!Number.isInteger(count) || count < 0) return fail(1, `Failed to parse lines '${args[n + 1]}'\n`);
  if (lines.length === 0) return ok('-- No entries --\n');
  return ok(count === 0 ? '' : `${lines.slice(-count).join('\n')}\n`);
};
