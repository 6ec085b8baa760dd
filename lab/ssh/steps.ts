/**
 * Which effect a command stands for, by the name that it has in the journal: that is how a fault names it.
 * A read goes by its program's name, e.g. `ceph` or `uname`.
 */
export function stepOf(argv: string[]): string {
  const [program = '', ...args] = argv;
  const line = args.join(' ');
  switch (program) {
    case 'apt-get':
      if (args.includes('update')) return 'apt.update';
      if (args.includes('--download-only') || args.includes('-d')) return 'apt.download';
      return args.includes('-s') || args.includes('check') ? 'apt-get' : 'packages.install';
    case 'install':
      return 'apt.sources';
    case 'systemd-run':
      return 'unit.start';
    case 'systemctl':
      if (args[0] === 'reboot') return 'node.reboot.request';
      return args[0] === 'reset-failed' ? 'unit.reset' : args[0] === 'stop' ? 'unit.stop' : 'systemctl';
    case 'ha-manager':
      if (line.includes('node-maintenance enable')) return 'ha.maintenance.enable';
      return line.includes('node-maintenance disable') ? 'ha.maintenance.disable' : 'ha-manager';
    case 'ceph':
      if (line.startsWith('osd set-group')) return 'ceph.noout.set';
      return line.startsWith('osd unset-group') ? 'ceph.noout.unset' : 'ceph';
    case 'dpkg':
      return args.includes('--configure') ? 'packages.configure' : 'dpkg';
    case 'pct':
    case 'qm':
      return stepInGuest(args);
    default:
      return program;
  }
}

function stepInGuest(args: string[]): string {
  if (args.includes('install')) return 'guest.config.write';
  if (args.includes('ln') || args.includes('mv')) return 'guest.config.switch';
  return args.includes('reload') || args.includes('restart') ? 'guest.config.reload' : 'guest.exec';
}
