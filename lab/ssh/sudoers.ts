/**
 * What `edge-governor` may run as root on a node. The same list stands in the documentation as a sudoers file; a
 * command that is not here asks for a password, which nobody has.
 */
type Rule = (args: string[]) => boolean;

const UNIT = /^edge-governor-upgrade-[0-9a-f]{1,64}(\.service)?$/;
const NODE = /^[a-z0-9-]{1,63}$/;
const VMID = /^\d{3,9}$/;
const SOURCES_FILE = '/etc/apt/sources.list.d/edge-governor.list';

const optionless = (args: string[]): string[] => {
  const words: string[] = [];
  for (let i = 0; i < args.length; i += 1) {
    if (args[i] === '-o') i += 1;
    else if (!(args[i] as string).startsWith('-')) words.push(args[i] as string);
  }
  return words;
};

const aptGet: Rule = (args) => {
  const [verb, ...packages] = optionless(args);
  if (verb === 'install')
    return packages.length > 0 && packages.every((word) => /^[a-z0-9][a-z0-9+.-]+=\S+$/.test(word));
  if (verb !== 'update' && verb !== 'check' && verb !== 'dist-upgrade' && verb !== 'clean') return false;
  return packages.length === 0;
};

const same = (left: string[], right: string[]): boolean =>
  left.length === right.length && left.every((word, i) => word === right[i]);

const systemdRun: Rule = (args) => {
  const end = args.findIndex((word) => !word.startsWith('-') || word === '--');
  const options = end < 0 ? args : args.slice(0, end);
  const command = end < 0 ? [] : args.slice(args[end] === '--' ? end + 1 : end);
  const unit = options.find((word) => word.startsWith('--unit='))?.slice('--unit='.length);
  if (unit === undefined || !UNIT.test(unit)) return false;
  return /^(\/usr\/bin\/)?apt-get$/.test(command[0] ?? '') && aptGet(command.slice(1));
};

const systemctl: Rule = ([verb, ...names]) => {
  if (verb === 'reboot') return names.length === 0;
  return (verb === 'reset-failed' || verb === 'stop') && names.length === 1 && UNIT.test(names[0] ?? '');
};

const withoutFormat = (args: string[]): string[] => {
  const words: string[] = [];
  for (let i = 0; i < args.length; i += 1) {
    const word = args[i] as string;
    if (word === '-f' || word === '--format' || word === '--connect-timeout') i += 1;
    else if (!/^(--format=|-fjson|--connect-timeout=)/.test(word)) words.push(word);
  }
  return words;
};

const CEPH_READS = [
  'status',
  '-s',
  'health',
  'health detail',
  'osd dump',
  'osd tree',
  'osd df',
  'mon dump',
  'mgr dump',
  'quorum_status',
  'versions',
  'osd pool ls detail',
  'pg stat',
  'df',
  'osd stat',
  'mon stat',
];
const ceph: Rule = (args) => {
  const words = withoutFormat(args);
  const line = words.join(' ');
  return (
    CEPH_READS.includes(line) ||
    /^osd ok-to-stop( \d+)+$/.test(line) ||
    /^mon ok-to-stop( [a-z0-9-]+)+$/.test(line) ||
    /^osd (set|unset)-group noout [a-z0-9-]+$/.test(line)
  );
};

const haManager: Rule = (args) => {
  if (same(args, ['status'])) return true;
  const [a, b, verb, node, ...rest] = args;
  const known = a === 'crm-command' && b === 'node-maintenance' && (verb === 'enable' || verb === 'disable');
  return known && NODE.test(node ?? '') && rest.length === 0;
};

const RULES: Record<string, Rule> = {
  'apt-get': aptGet,
  'systemd-run': systemdRun,
  systemctl,
  ceph,
  'ha-manager': haManager,
  install: (args) => same(args, ['-D', '-m', '0644', '/dev/stdin', SOURCES_FILE]),
  rm: (args) => same(args, ['-f', SOURCES_FILE]),
  dpkg: (args) => same(args, ['--configure', '-a']) || same(args, ['--audit']),
  'proxmox-boot-tool': (args) => same(args, ['kernel', 'list']),
  pct: ([verb, vmid]) => verb === 'exec' && VMID.test(vmid ?? ''),
  qm: ([a, b, vmid]) => a === 'guest' && b === 'exec' && VMID.test(vmid ?? ''),
  journalctl: (args) => args.some((word, i) => word === '-u' && UNIT.test(args[i + 1] ?? '')),
};

/** True when the list has it. `program` is the bare name. */
export function maySudo(program: string, args: string[]): boolean {
  return RULES[program]?.(args) ?? false;
}

/** Programs that answer nothing useful without root. */
export const ROOT_ONLY = new Set(['systemd-run', 'ha-manager', 'ceph', 'pct', 'qm', 'proxmox-boot-tool']);
