import type { Step } from '../world/fault-table.js';

/** Which step a command stands for, so that a fault can be aimed at it. A read is only told by whom it asks. */
export function stepOf(argv: string[]): Step {
  const [program = '', ...args] = argv;
  const line = args.join(' ');
  switch (program) {
    case 'apt-get':
      if (args.includes('update')) return 'apt.update';
      if (args.includes('-s') || args.includes('--simulate') || args.includes('check')) return 'node.read';
      return args.includes('--download-only') || args.includes('-d') ? 'apt.download' : 'packages.install';
    case 'install':
    case 'rm':
      return 'apt.sources';
    case 'systemd-run':
      return 'unit.start';
    case 'systemctl':
      if (args[0] === 'reboot') return 'node.reboot.request';
      return args[0] === 'reset-failed' ? 'unit.reset' : args[0] === 'stop' ? 'unit.stop' : 'node.read';
    case 'ha-manager':
      if (line.includes('node-maintenance enable')) return 'ha.maintenance.enable';
      return line.includes('node-maintenance disable') ? 'ha.maintenance.disable' : 'node.read';
    case 'ceph':
      if (line.startsWith('osd set-group')) return 'ceph.noout.set';
      return line.startsWith('osd unset-group') ? 'ceph.noout.unset' : 'ceph.read';
    case 'dpkg':
      return args.includes('--configure') ? 'packages.configure' : 'node.read';
    case 'proxmox-boot-tool':
      if (args[0] === 'refresh') return 'boot.refresh';
      return args[1] === 'pin' ? 'boot.pin' : args[1] === 'unpin' ? 'boot.unpin' : 'node.read';
    case 'pct':
    case 'qm':
      return stepInGuest(args);
    default:
      return 'node.read';
  }
}

function stepInGuest(args: string[]): Step {
  if (args[0] === 'destroy') return 'guest.destroy';
  if (args[0] === 'set') return 'guest.configure';
  if (args.includes('install')) return 'guest.config.write';
  if (args.includes('ln') || args.includes('mv') || args.includes('rm')) return 'guest.config.switch';
  return args.includes('reload') || args.includes('restart') ? 'guest.config.reload' : 'node.read';
}
