import { setTimeout as delay } from 'node:timers/promises';
import type { GuestSim } from '../../world/guest-sim.js';
import { NodeGone } from '../../world/node-gone.js';
import type { NodeSim } from '../../world/node-sim.js';
import { runInGuest } from '../guest-shell.js';
import { fail, ok, type Invocation, type Program, type Result } from '../result.js';

const POLL_MS = 5;

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

/** What a restore that failed left behind is taken away with these: unlocked, then destroyed. Ends with the work. */
async function takeAway(kind: 'qemu' | 'lxc', { node, args, by }: Invocation): Promise<Result | undefined> {
  const [verb, vmid = ''] = args;
  if (verb !== 'unlock' && verb !== 'destroy') return undefined;
  const guest = find(node, kind, vmid);
  if ('code' in guest) return guest;
  if (verb === 'unlock') {
    const before = guest.lock;
    guest.lock = undefined;
    node.record('guest.unlock', by, { guest: guest.vmid, before, detail: { restored: guest.restored !== undefined } });
    return ok();
  }
  const has = (name: string): boolean => args.includes(`--${name}`);
  const order = {
    what: 'destroy',
    node: node.name,
    vmid: guest.vmid,
    kind,
    purge: has('purge'),
    force: has('force'),
  } as const;
  try {
    const task = node.store.restores.destroy(node, { ...order, actor: { user: 'root@pam', by } });
    while (task.exitstatus === undefined) await delay(POLL_MS, undefined, { ref: false });
    return task.exitstatus === 'OK' ? ok(`${task.log.join('\n')}\n`) : fail(255, `${task.exitstatus}\n`);
  } catch (error) {
    if (error instanceof NodeGone) throw error;
    return fail(255, `${(error as Error).message}\n`);
  }
}

/** `set <vmid> --delete <names>`: settings are taken away, by root. */
function change(kind: 'qemu' | 'lxc', { node, args, by }: Invocation): Result | undefined {
  const [verb, vmid = '', option, names = ''] = args;
  if (verb !== 'set') return undefined;
  const guest = find(node, kind, vmid);
  if ('code' in guest) return guest;
  if (option !== '--delete' || names === '') return fail(255, 'The practice fleet only takes settings away\n');
  const word = kind === 'qemu' ? 'VM' : 'CT';
  node.enter('guest.configure');
  if (guest.lock !== undefined) return fail(255, `${word} is locked (${guest.lock})\n`);
  const taken = names.split(',');
  const before = Object.fromEntries(taken.map((name) => [name, guest.options?.[name] ?? guest.spec.devices?.[name]]));
  guest.options = { ...guest.options, ...Object.fromEntries(taken.map((name): [string, null] => [name, null])) };
  node.record('guest.configure', by, {
    guest: guest.vmid,
    before,
    after: {},
    detail: { restored: guest.restored !== undefined },
  });
  return ok(kind === 'qemu' ? `update VM ${vmid}: -delete ${names}\n` : '');
}

export const pct: Program = async (call) => {
  const { node, args, by, stdin } = call;
  const [verb, vmid = ''] = args;
  const taken = (await takeAway('lxc', call)) ?? change('lxc', call);
  if (taken) return taken;
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

export const qm: Program = async (call) => {
  const { node, args, by, stdin } = call;
  const [a, b, vmid = ''] = args;
  const taken = (await takeAway('qemu', call)) ?? change('qemu', call);
  if (taken) return taken;
  if (a !== 'guest' || b !== 'exec') return fail(255, `ERROR: unknown command 'qm ${a ?? ''} ${b ?? ''}'\n`);
  const argv = command(args, args.includes('--') ? 3 : skipOptions(args));
  if (!argv) return fail(255, '400 not enough arguments\nqm guest exec <vmid> [<extra-args>] [OPTIONS]\n');
  const guest = find(node, 'qemu', vmid);
  if ('code' in guest) return guest;
  if (guest.status !== 'running') return fail(255, `VM ${vmid} is not running\n`);
  if (guest.restored && !guest.agentAnswers(node.timing)) return fail(255, 'QEMU guest agent is not running\n');
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
