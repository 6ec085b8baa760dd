import { fail, ok, type Program } from '../result.js';

export const cat: Program = ({ node, args }) => {
  const [path, ...more] = args;
  if (path === '/proc/sys/kernel/random/boot_id' && more.length === 0) return ok(`${node.bootId}\n`);
  const text = node.packages.sources.get(path ?? '');
  if (text !== undefined && more.length === 0) return ok(text);
  return fail(1, `cat: ${path}: No such file or directory\n`);
};

export const uname: Program = ({ node, args }) => {
  if (args.length === 1 && args[0] === '-r') return ok(`${node.kernel}\n`);
  if (args.length === 0) return ok('Linux\n');
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

export const bootTool: Program = ({ node, args }) => {
  if (args.join(' ') !== 'kernel list') return fail(1, 'ERROR: unknown subcommand\n');
  return ok(
    `Manually selected kernels:\nNone.\n\nAutomatically selected kernels:\n${node.packages.bootKernels.join('\n')}\n`,
  );
};

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
  node.reached('apt.sources', 'before');
  node.packages.writeSource(target, await stdin(), by);
  return ok();
};

export const rm: Program = ({ node, args, by, root }) => {
  const target = args.at(-1) ?? '';
  if (!root) return fail(1, `rm: cannot remove '${target}': Permission denied\n`);
  if (!node.packages.sources.has(target))
    return args.includes('-f') ? ok() : fail(1, `rm: cannot remove '${target}': No such file or directory\n`);
  node.packages.removeSource(target, by);
  return ok();
};
