import type { BootSim } from '../../world/boot-sim.js';
import { fail, ok, type Program } from '../result.js';

const FILES: Record<string, string> = {
  '/etc/debian_version': '13.2\n',
  '/etc/os-release':
    'PRETTY_NAME="Debian GNU/Linux 13 (trixie)"\nNAME="Debian GNU/Linux"\nVERSION_ID="13"\n' +
    'VERSION="13 (trixie)"\nVERSION_CODENAME=trixie\nDEBIAN_VERSION_FULL=13.2\nID=debian\n',
};

export const cat: Program = ({ node, args }) => {
  const [path, ...more] = args;
  if (path === '/proc/sys/kernel/random/boot_id' && more.length === 0) return ok(`${node.bootId}\n`);
  const text = node.packages.sources.get(path ?? '') ?? FILES[path ?? ''];
  if (text !== undefined && more.length === 0) return ok(text);
  return fail(1, `cat: ${path}: No such file or directory\n`);
};

export const uname: Program = ({ node, args }) => {
  if (args.length === 1 && args[0] === '-r') return ok(`${node.kernel}\n`);
  if (args.length === 0) return ok('Linux\n');
  if (args.length === 1 && args[0] === '-a') {
    return ok(`Linux ${node.name} ${node.kernel} #1 SMP PREEMPT_DYNAMIC practice x86_64 GNU/Linux\n`);
  }
  return fail(1, `uname: extra operand '${args.join(' ')}'\nTry 'uname --help' for more information.\n`);
};

export const date: Program = ({ node, args }) => {
  if (args.length === 1 && args[0] === '+%s') return ok(`${Math.floor(node.clock / 1_000)}\n`);
  if (args.length === 0) return ok(`${new Date(node.clock).toUTCString()}\n`);
  return fail(1, `date: invalid date '${args.join(' ')}'\n`);
};

export const df: Program = ({ node, args }) => {
  const path = args.at(-1);
  if (!args.includes('-P') || !args.includes('-B1') || (path !== '/' && path !== '/boot')) {
    return fail(1, `df: ${path ?? ''}: No such file or directory\n`);
  }
  const used = node.rootTotal - node.rootFree;
  const percent = Math.ceil((used / node.rootTotal) * 100);
  return ok(
    'Filesystem           1-blocks        Used   Available Capacity Mounted on\n' +
      `/dev/mapper/pve-root ${node.rootTotal} ${used} ${node.rootFree}      ${percent}% /\n`,
  );
};

const KERNEL = /^\d+\.\d+\.\d+-\d+-pve$/;

/** Pins are written for the next `refresh`, as on nodes whose boot partitions this tool keeps. */
export const bootTool: Program = ({ node, args, by }) => {
  const { boot } = node;
  const [kind, verb, ...rest] = args;
  if (kind === 'refresh' && args.length === 1) {
    boot.refresh(by);
    const copied = boot.kernels.map((abi) => `\tCopying kernel and creating boot-entry for ${abi}\n`).join('');
    return ok(`Running hook script 'proxmox-auto-removal'..\nRunning hook script 'zz-proxmox-boot'..\n${copied}`);
  }
  if (kind !== 'kernel') return fail(1, `E: Unknown command '${kind ?? ''}'.\n`);
  const once = rest.includes('--next-boot');
  const [abi] = rest.filter((word) => word !== '--next-boot');
  switch (verb) {
    case 'list':
      return ok(kernelList(boot));
    case 'pin': {
      if (abi === undefined) return fail(1, 'E: <kernel-version> is mandatory\n');
      if (!KERNEL.test(abi) || !boot.pin(abi, once, by)) {
        return fail(1, `E: no kernel image found in /boot for '${abi}', not setting default.\n`);
      }
      const file = once ? '/etc/kernel/next-boot-pin' : '/etc/kernel/proxmox-boot-pin';
      return ok(`Set kernel '${abi}' in ${file}. Use the 'refresh' command to update the ESPs.\n`);
    }
    case 'unpin':
      boot.unpin(once, by);
      return ok(
        `Removed ${once ? '/etc/kernel/next-boot-pin' : '/etc/kernel/proxmox-boot-pin'}. Use the 'refresh' command to update the ESPs.\n`,
      );
    default:
      return fail(1, `E: Unknown command 'kernel ${verb ?? ''}'.\n`);
  }
};

function kernelList({ kernels, pins }: BootSim): string {
  const chosen = (title: string, abi: string | undefined): string => (abi === undefined ? '' : `\n${title}:\n${abi}\n`);
  return (
    `Manually selected kernels:\nNone.\n\nAutomatically selected kernels:\n${kernels.join('\n')}\n` +
    chosen('Pinned kernel', pins.pinned) +
    chosen('Kernel pinned on next-boot', pins.next)
  );
}

export const trueProgram: Program = () => ok();
export const echo: Program = ({ args }) => ok(`${args.join(' ')}\n`);
export const hostname: Program = ({ node }) => ok(`${node.name}\n`);
export const id: Program = ({ by, args, root }) => {
  if (args.length === 1 && args[0] === '-un') return ok(`${root ? 'root' : by}\n`);
  if (args.length === 1 && args[0] === '-u') return ok(`${root ? 0 : 996}\n`);
  return ok(root ? 'uid=0(root) gid=0(root)\n' : `uid=996(${by}) gid=996(${by})\n`);
};

export const install: Program = async ({ node, args, stdin, by, root }) => {
  const target = args.at(-1) ?? '';
  if (!args.includes('/dev/stdin') || !target.startsWith('/')) return fail(1, 'install: missing file operand\n');
  if (!root) return fail(1, `install: cannot create regular file '${target}': Permission denied\n`);
  if (!/^\/etc\/apt\/sources\.list\.d\/[\w.-]+\.(list|sources)$/.test(target)) {
    return fail(1, `install: cannot create regular file '${target}': the practice fleet keeps package sources only\n`);
  }
  const text = await stdin();
  node.enter('apt.sources');
  node.packages.writeSource(target, text, by);
  return ok();
};

export const rm: Program = ({ node, args, by, root }) => {
  const target = args.at(-1) ?? '';
  if (!root) return fail(1, `rm: cannot remove '${target}': Permission denied\n`);
  if (!node.packages.sources.has(target))
    return args.includes('-f') ? ok() : fail(1, `rm: cannot remove '${target}': No such file or directory\n`);
  node.enter('apt.sources');
  node.packages.removeSource(target, by);
  return ok();
};
