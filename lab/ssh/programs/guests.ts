import type { GuestSim } from '../../world/guest-sim.js';
import type { NodeSim } from '../../world/node-sim.js';
import { runInGuest } from '../guest-shell.js';
import { fail, ok, type Program, type Result } from '../result.js';

function find(node: NodeSim, kind: 'qemu' | 'lxc', vmid: string): GuestSim | Result {
  try {
    return node.store.guestOn(node.name, kind, Number(vmid));
  } catch (error) {
    return fail(2, `${(error as Error).message}\n`);
  }
}

function command(args: string[], from: number): string[] | undefined {
  const dashes = args.indexOf('--', from);
  const words = dashes < 0 ? args.slice(from) : args.slice(dashes + 1);
  return words.length === 0 ? undefined : words;
}

export const pct: Program = async ({ node, args, by, stdin }) => {
  const [verb, vmid = ''] = args;
  if (verb !== 'exec') return fail(255, `ERROR: unknown command 'pct ${verb ?? ''}'\n`);
  const argv = command(args, 2);
  if (!argv) return fail(255, '400 not enough arguments\npct exec <vmid> [<extra-args>] [OPTIONS]\n');
  const guest = find(node, 'lxc', vmid);
  if ('code' in guest) return guest;
  if (guest.status !== 'running') return fail(255, `container '${vmid}' not running!\n`);
  return runInGuest({ node, guest, by, argv, stdin });
};

/** Prints JSON as Perl's pretty printer of Proxmox does. */
const pretty = (value: Record<string, unknown>): string =>
  `{\n${Object.entries(value)
    .map(([key, each]) => `   ${JSON.stringify(key)} : ${JSON.stringify(each)}`)
    .join(',\n')}\n}\n`;

export const qm: Program = async ({ node, args, by, stdin }) => {
  const [a, b, vmid = ''] = args;
  if (a !== 'guest' || b !== 'exec') return fail(255, `ERROR: unknown command 'qm ${a ?? ''} ${b ?? ''}'\n`);
  const argv = command(args, args.includes('--') ? 3 : skipOptions(args));
  if (!argv) return fail(255, '400 not enough arguments\nqm guest exec <vmid> [<extra-args>] [OPTIONS]\n');
  const guest = find(node, 'qemu', vmid);
  if ('code' in guest) return guest;
  if (guest.status !== 'running') return fail(255, `VM ${vmid} is not running\n`);
  const dashes = args.indexOf('--');
  const options = dashes < 0 ? args : args.slice(0, dashes);
  const pass = options.findIndex((word) => word === '--pass-stdin' || word === '-pass-stdin');
  const passes = options.includes('--pass-stdin=1') || (pass >= 0 && options[pass + 1] === '1');
  const result = await runInGuest({ node, guest, by, argv, stdin: passes ? stdin : () => Promise.resolve('') });
  return ok(
    pretty({
      ...(result.stderr === '' ? {} : { 'err-data': result.stderr }),
      exitcode: result.code,
      exited: 1,
      ...(result.stdout === '' ? {} : { 'out-data': result.stdout }),
    }),
  );
};

function skipOptions(args: string[]): number {
  let i = 3;
  while (i < args.length && (args[i] as string).startsWith('-')) i += (args[i] as string).includes('=') ? 1 : 2;
  return i;
}
