import type { NodeSim } from '../../world/node-sim.js';
import { isDowngrade, type Upgrade } from '../../world/packages-sim.js';
import { fail, ok, type Invocation, type Program, type Result } from '../result.js';

interface AptCall {
  simulate: boolean;
  downloadOnly: boolean;
  yes: boolean;
  allowDowngrades: boolean;
  options: Record<string, string>;
  verb: string;
  packages: string[];
}

function parseApt(args: string[]): AptCall | { unknown: string } {
  const call: AptCall = {
    simulate: false,
    downloadOnly: false,
    yes: false,
    allowDowngrades: false,
    options: {},
    verb: '',
    packages: [],
  };
  const option = (text: string): void => {
    const equals = text.indexOf('=');
    call.options[text.slice(0, equals).toLowerCase()] = text.slice(equals + 1);
  };
  for (let i = 0; i < args.length; i += 1) {
    const word = args[i] as string;
    if (word === '-o' || word === '--option') option(args[(i += 1)] ?? '');
    else if (word.startsWith('-o')) option(word.slice(2));
    else if (/^(-s|--simulate|--just-print|--dry-run)$/.test(word)) call.simulate = true;
    else if (/^(-d|--download-only)$/.test(word)) call.downloadOnly = true;
    else if (/^(-y|--yes|--assume-yes|-qqy|-qy|-yq|-yqq)$/.test(word)) call.yes = true;
    else if (word === '--allow-downgrades') call.allowDowngrades = true;
    else if (/^(-q+|--quiet|--no-install-recommends|--allow-change-held-packages)$/.test(word)) continue;
    else if (word.startsWith('-')) return { unknown: word };
    else if (call.verb === '') call.verb = word;
    else call.packages.push(word);
  }
  return call;
}

const needsRoot = (what: string): Result =>
  fail(100, `E: Could not open lock file ${what} - open (13: Permission denied)\n`);

export const aptGet: Program = (call) => runApt(call);

/** Also the body of the transient unit, hence apart; `unit` is its name. */
export function runApt({ node, args, by, root }: Invocation, unit?: string): Result | Promise<Result> {
  const call = parseApt(args);
  if ('unknown' in call)
    return fail(100, `E: Command line option '${call.unknown.slice(1, 2)}' [from ${call.unknown}] is not known.\n`);
  switch (call.verb) {
    case 'update':
      return root ? node.packages.update(by) : needsRoot('/var/lib/apt/lists/lock');
    case 'check':
      return root ? check(node) : needsRoot('/var/lib/dpkg/lock-frontend');
    case 'clean':
      if (!root) return needsRoot('/var/cache/apt/archives/lock');
      node.packages.downloaded.clear();
      return ok();
    case 'install':
    case 'dist-upgrade':
    case 'full-upgrade':
      return change(node, call, by, root, unit);
    case '':
      return fail(1, '', 'apt 3.0.3 (amd64)\n');
    default:
      return fail(100, `E: Invalid operation ${call.verb}\n`);
  }
}

function check(node: NodeSim): Result {
  const head = 'Reading package lists...\nBuilding dependency tree...\nReading state information...\n';
  if (node.packages.halfConfigured.length === 0) return ok(head);
  return fail(
    100,
    "E: dpkg was interrupted, you must manually run 'dpkg --configure -a' to correct the problem. \n",
    head,
  );
}

function change(node: NodeSim, call: AptCall, by: string, root: boolean, unit?: string): Result | Promise<Result> {
  const { packages } = node;
  const wanted = call.verb === 'install' ? named(node, call.packages) : undefined;
  if (wanted && 'error' in wanted) return fail(100, wanted.error);
  const changes = wanted ?? packages.pendingUpgrades();
  if (call.simulate) {
    return new Promise((resolve) => {
      const answer = (): void => resolve(ok(SIMULATION_NOTE + packages.summary(changes) + simulation(changes)));
      node.timers.after(node.timing.of('aptSimulate'), answer, () => resolve(fail(143, 'Terminated\n')));
    });
  }
  if (!root) return needsRoot('/var/lib/dpkg/lock-frontend');
  if (!call.yes) return fail(1, 'Abort.\n', `${packages.summary(changes)}Do you want to continue? [Y/n] `);
  if (!call.allowDowngrades && changes.some(isDowngrade)) {
    const error = 'E: Packages were downgraded and -y was used without --allow-downgrades.\n';
    return fail(100, error, packages.summary(changes));
  }
  if (call.downloadOnly) return packages.download(by, changes);
  const seconds = Number(call.options['dpkg::lock::timeout'] ?? 0);
  return packages.install(by, {
    ...(wanted === undefined ? {} : { wanted: changes }),
    lockTimeoutMs: (seconds < 0 ? 3_600 : seconds) * 1_000,
    unit,
  });
}

/** `name=version` words of `apt-get install`, as far as they change something, and what these depend on. */
function named({ packages }: NodeSim, words: readonly string[]): Upgrade[] | { error: string } {
  const changes: Upgrade[] = [];
  for (const word of words) {
    const [name = '', version] = word.split('=');
    if (!packages.knows(name)) return { error: `E: Unable to locate package ${name}\n` };
    if (version === undefined || !packages.offers(name, version)) {
      return { error: `E: Version '${version ?? ''}' for '${name}' was not found\n` };
    }
    const image = packages.kernelImageOf(name, version);
    for (const needed of [{ name, version }, ...(image === undefined ? [] : [image])]) {
      const old = packages.installed.get(needed.name);
      if (old === needed.version || changes.some((change) => change.name === needed.name)) continue;
      changes.push(old === undefined ? needed : { ...needed, old });
    }
  }
  return changes;
}

const SIMULATION_NOTE =
  'NOTE: This is only a simulation!\n      apt-get needs root privileges for real execution.\n' +
  "      Keep also in mind that locking is deactivated,\n      so don't depend on the relevance to the real current situation!\n";

function simulation(upgrades: Upgrade[]): string {
  const origin = (name: string): string =>
    /^(openssl|openssh-server|systemd)$/.test(name) ? 'Debian:13.2/stable' : 'Proxmox:13/stable';
  const inst = upgrades.map(
    ({ name, old, version }) =>
      `Inst ${name}${old === undefined ? '' : ` [${old}]`} (${version} ${origin(name)} [amd64])\n`,
  );
  const conf = upgrades.map(({ name, version }) => `Conf ${name} (${version} ${origin(name)} [amd64])\n`);
  return inst.join('') + conf.join('');
}

export const aptMark: Program = ({ node, args }) => {
  if (args[0] !== 'showhold') return fail(100, `E: Invalid operation ${args[0] ?? ''}\n`);
  return ok(
    [...node.packages.holds]
      .sort()
      .map((name) => `${name}\n`)
      .join(''),
  );
};

export const dpkg: Program = ({ node, args, by, root }) => {
  const line = args.join(' ');
  if (line === '--audit' || line === '-C') {
    // Code 0 even when it finds something, as the real one: what it prints is the answer.
    return ok(node.packages.audit());
  }
  if (line === '--configure -a') {
    if (!root) return fail(2, 'dpkg: error: requested operation requires superuser privilege\n');
    return node.packages.configure(by);
  }
  if (line === '--print-architecture') return ok('amd64\n');
  return fail(2, `dpkg: error: unknown option ${args[0] ?? ''}\n`);
};

const FIELDS: Record<string, (node: NodeSim, name: string) => string> = {
  Package: (_node, name) => name,
  'binary:Package': (_node, name) => name,
  Version: (node, name) => node.packages.installed.get(name) ?? '',
  Architecture: () => 'amd64',
  'db:Status-Abbrev': (node, name) => (node.packages.halfConfigured.includes(name) ? 'iF ' : 'ii '),
  'db:Status-Status': (node, name) => (node.packages.halfConfigured.includes(name) ? 'half-configured' : 'installed'),
  Status: (node, name) => `install ok ${node.packages.halfConfigured.includes(name) ? 'half-configured' : 'installed'}`,
};

function formatRow(format: string, node: NodeSim, name: string): string {
  return format
    .replace(/\$\{([A-Za-z:-]+)(?:;-?\d+)?\}/g, (_whole, field: string) => FIELDS[field]?.(node, name) ?? '')
    .replace(/\\n/g, '\n')
    .replace(/\\t/g, '\t');
}

const asPattern = (glob: string): RegExp =>
  new RegExp(
    `^${glob
      .replace(/[.+^${}()|[\]\\]/g, '\\$&')
      .replace(/\*/g, '.*')
      .replace(/\?/g, '.')}$`,
  );

export const dpkgQuery: Program = ({ node, args }) => {
  let format = '${Package}\t${Version}\n';
  let show = false;
  const patterns: string[] = [];
  for (let i = 0; i < args.length; i += 1) {
    const word = args[i] as string;
    if (word === '-W' || word === '--show') show = true;
    else if (word === '-f' || word === '--showformat') format = args[(i += 1)] ?? format;
    else if (word.startsWith('-f=')) format = word.slice(3);
    else if (word.startsWith('--showformat=')) format = word.slice('--showformat='.length);
    else if (word.startsWith('-f')) format = word.slice(2);
    else if (word.startsWith('-')) return fail(2, `dpkg-query: error: unknown option ${word}\n`);
    else patterns.push(word);
  }
  if (!show) return fail(2, 'dpkg-query: error: need an action option\n');
  const names = [...node.packages.installed.keys()].sort();
  const chosen = patterns.length === 0 ? names : names.filter((name) => patterns.some((p) => asPattern(p).test(name)));
  const missing = patterns.filter((p) => !names.some((name) => asPattern(p).test(name)));
  const stdout = chosen.map((name) => formatRow(format, node, name)).join('');
  const stderr = missing.map((p) => `dpkg-query: no packages found matching ${p}\n`).join('');
  return { code: missing.length > 0 ? 1 : 0, stdout, stderr };
};
