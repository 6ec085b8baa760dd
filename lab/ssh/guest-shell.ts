import { parse } from 'yaml';
import { sha256, type GuestSim } from '../world/guest-sim.js';
import type { NodeSim } from '../world/node-sim.js';
import { fail, ok, type Result } from './result.js';

/** One command inside a guest. */
export interface GuestCall {
  node: NodeSim;
  guest: GuestSim;
  by: string;
  argv: string[];
  stdin: () => Promise<string>;
}

type Tool = (call: GuestCall, args: string[]) => Result | Promise<Result>;

const missing = (tool: string, path: string): Result => fail(1, `${tool}: ${path}: No such file or directory\n`);
const operands = (args: string[]): string[] => args.filter((word) => !word.startsWith('-'));
const isTarget = (guest: GuestSim, path: string): boolean => guest.spec.config.some(({ target }) => target === path);
const below = (guest: GuestSim, folder: string): string[] => {
  const prefix = `${folder.replace(/\/+$/, '')}/`;
  return [...guest.files.keys()].filter((path) => path.startsWith(prefix));
};
const show = ({ guest, node }: GuestCall, path: string): string | undefined =>
  guest.show(path, node.timing.of('guestWrites'));
const exists = (guest: GuestSim, path: string): boolean => guest.files.has(path) || below(guest, path).length > 0;

function record(
  { node, guest, by }: GuestCall,
  effect: string,
  rest: { before?: unknown; after?: unknown; detail?: Record<string, unknown> },
): void {
  node.record(effect, by, { guest: guest.vmid, ...rest });
}

/** Writes a link; when it is a config's target, that is the switch. */
function link(call: GuestCall, target: string, path: string): void {
  const { guest, node } = call;
  const before = guest.activeDigest(path);
  if (isTarget(guest, path)) node.enter('guest.config.switch');
  guest.files.set(path, { kind: 'link', target });
  if (isTarget(guest, path)) {
    record(call, 'guest.config.switch', { before, after: guest.activeDigest(path), detail: { path, target } });
  }
}

const TOOLS: Record<string, Tool> = {
  true: () => ok(),
  install: async (call, args) => {
    const path = args.at(-1) ?? '';
    if (!args.includes('/dev/stdin') || !path.startsWith('/')) return fail(1, 'install: missing file operand\n');
    const content = await call.stdin();
    const { guest, node } = call;
    node.enter('guest.config.write');
    const before = guest.activeDigest(path);
    // Like the real one it replaces a link rather than writing through it.
    guest.files.set(path, { kind: 'file', content });
    record(call, 'guest.config.write', { before, after: sha256(content), detail: { path } });
    return ok();
  },
  mkdir: () => ok(),
  ln: (call, args) => {
    const [target, path] = operands(args);
    if (target === undefined || path === undefined) return fail(1, 'ln: missing file operand\n');
    const flags = args.filter((word) => word.startsWith('-')).join('');
    if (!flags.includes('s')) return fail(1, `ln: failed to create hard link '${path}'\n`);
    if (call.guest.files.has(path) && !flags.includes('f')) {
      return fail(1, `ln: failed to create symbolic link '${path}': File exists\n`);
    }
    link(call, target, path);
    return ok();
  },
  mv: (call, args) => {
    const [from, to] = operands(args);
    const entry = call.guest.files.get(from ?? '');
    if (from === undefined || to === undefined || !entry) return missing('mv: cannot stat', from ?? '');
    call.guest.files.delete(from);
    if (entry.kind === 'link') link(call, entry.target, to);
    else call.guest.files.set(to, entry);
    return ok();
  },
  readlink: ({ guest }, args) => {
    const path = operands(args)[0] ?? '';
    const full = args.some((word) => /^-[fem]$/.test(word));
    if (full) {
      const end = guest.resolve(path);
      return end === undefined ? fail(1, '') : ok(`${end}\n`);
    }
    const entry = guest.files.get(path);
    return entry?.kind === 'link' ? ok(`${entry.target}\n`) : fail(1, '');
  },
  cat: (call, args) => {
    const path = operands(args)[0] ?? '';
    const content = show(call, path);
    return content === undefined ? missing('cat', path) : ok(content);
  },
  sha256sum: (call, args) => {
    const paths = operands(args);
    const lines = paths.map((path) => ({ path, content: show(call, path) }));
    const absent = lines.filter(({ content }) => content === undefined);
    return {
      code: absent.length > 0 ? 1 : 0,
      stdout: lines
        .filter(({ content }) => content !== undefined)
        .map(({ path, content }) => `${sha256(content as string).slice('sha256:'.length)}  ${path}\n`)
        .join(''),
      stderr: absent.map(({ path }) => `sha256sum: ${path}: No such file or directory\n`).join(''),
    };
  },
  rm: (call, args) => {
    for (const path of operands(args)) {
      const paths = [path, ...below(call.guest, path)];
      const hit = paths.filter((each) => call.guest.files.has(each));
      if (hit.length === 0 && !args.join('').includes('f'))
        return fail(1, `rm: cannot remove '${path}': No such file or directory\n`);
      if (hit.some((each) => call.guest.files.get(each)?.kind === 'link'))
        record(call, 'guest.file.remove', { detail: { path } });
      for (const each of hit) call.guest.files.delete(each);
    }
    return ok();
  },
  ls: ({ guest }, args) => {
    const folder = (operands(args)[0] ?? '/').replace(/\/+$/, '');
    if (!exists(guest, folder) && folder !== '')
      return fail(2, `ls: cannot access '${folder}': No such file or directory\n`);
    if (guest.files.has(folder)) return ok(`${folder}\n`);
    const names = new Set(below(guest, folder).map((path) => path.slice(folder.length + 1).split('/')[0] as string));
    return ok(
      [...names]
        .sort()
        .map((name) => `${name}\n`)
        .join(''),
    );
  },
  test: (call, args) => {
    const { guest } = call;
    const [flag = '', path = ''] = args;
    const holds =
      flag === '-L' || flag === '-h'
        ? guest.files.get(path)?.kind === 'link'
        : flag === '-f'
          ? show(call, path) !== undefined
          : flag === '-d'
            ? below(guest, path).length > 0
            : show(call, path) !== undefined || below(guest, path).length > 0;
    return { code: holds ? 0 : 1, stdout: '', stderr: '' };
  },
  systemctl: (call, args) => {
    const [verb, unit = ''] = operands(args);
    if (verb === 'is-active') return ok('active\n');
    if (verb !== 'reload' && verb !== 'restart' && verb !== 'try-reload-or-restart' && verb !== 'reload-or-restart') {
      return fail(1, `Unknown command verb '${verb ?? ''}'.\n`);
    }
    return reload(call, unit);
  },
  varnishd: ({ guest }, args) => {
    const path = args[args.indexOf('-f') + 1] ?? '';
    const content = guest.read(path);
    if (content === undefined) return fail(2, `Error: Cannot read -f file '${path}': No such file or directory\n`);
    const problem = vclProblem(content);
    if (problem !== undefined) {
      return fail(
        2,
        `Error:\nMessage from VCC-compiler:\n${problem}\nRunning VCC-compiler failed, exited with 2\nVCL compilation failed\n`,
      );
    }
    return ok('', '/* ---===### VCC generated C-code for practice ###===---*/\n');
  },
  'edge-inventory': ({ guest }, args) => {
    const path = args[args.indexOf('--check') + 1] ?? '';
    const content = guest.read(path);
    if (content === undefined) return fail(1, `edge-inventory: ${path}: no such file\n`);
    const problem = yamlProblem(content);
    return problem === undefined ? ok('configuration is valid\n') : fail(1, `edge-inventory: ${path}: ${problem}\n`);
  },
};

/**
 * What the software of each role says of itself: whether its service runs, and whether it can read all of its data. It
 * has read everything when it says that all is sound.
 */
const SELF_TESTS: Record<string, string> = { pos: 'ledger', inventory: 'stock', cache: 'objects' };
const selfTestOf = (role: string): string => `${role in SELF_TESTS ? role : 'edge'}-selftest`;

for (const role of [...Object.keys(SELF_TESTS), 'edge']) TOOLS[`${role}-selftest`] = selfTest;

function selfTest({ guest, node }: GuestCall): Result {
  const name = selfTestOf(guest.spec.role);
  const data = SELF_TESTS[guest.spec.role] ?? 'data';
  const { damaged = [] } = guest.restored ?? {};
  const say = (problem: string): Result => fail(1, `${name}: ${problem}\n`);
  if (guest.restored && !guest.isBooted(node.timing)) return say('the service does not run');
  const rotten = damaged.filter((place) => place !== 'files' && place !== 'zeros');
  if (rotten.length > 0) return say(`${data}: block ${rotten.join(', ')} is damaged`);
  if (damaged.includes('files')) return say('configuration: files are damaged');
  if (!guest.measure(Date.now(), 0, 0).healthy) return say('the service is not healthy');
  return ok(`${name}: ${data} sound, service healthy\n`);
}

function reload(call: GuestCall, unit: string): Result {
  const { guest, node } = call;
  const name = unit.replace(/\.service$/, '');
  const targets = guest.spec.config
    .filter((config) => config.reload.some((word) => word.replace(/\.service$/, '') === name))
    .map(({ target }) => target);
  if (targets.length === 0) return fail(5, `Failed to reload ${name}.service: Unit ${name}.service not found.\n`);
  node.enter('guest.config.reload');
  const before = targets.map((target) => guest.loadedDigest(target));
  const unreadable = targets.find((target) => guest.read(target) === undefined || !isLoadable(target, guest));
  if (unreadable !== undefined) {
    return fail(
      1,
      `Job for ${name}.service failed.\nSee "systemctl status ${name}.service" and "journalctl -xeu ${name}.service" for details.\n`,
    );
  }
  guest.reload(targets);
  record(call, 'guest.config.reload', {
    before: before[0],
    after: guest.loadedDigest(targets[0] as string),
    detail: { unit: name, targets },
  });
  return ok();
}

/** A service refuses what its own check would have refused. */
function isLoadable(target: string, guest: GuestSim): boolean {
  const content = guest.read(target) ?? '';
  if (/\.vcl$/.test(target)) return vclProblem(content) === undefined;
  if (/\.ya?ml$/.test(target)) return yamlProblem(content) === undefined;
  return true;
}

function vclProblem(content: string): string | undefined {
  const bare = content
    .replace(/\/\*[\s\S]*?\*\//g, '')
    .replace(/(\/\/|#).*$/gm, '')
    .replace(/"[^"\n]*"/g, '""')
    .trim();
  if (!/^vcl 4\.[01];/.test(bare)) return 'VCL version declaration missing';
  const depth = [...bare].reduce((sum, c) => (sum < 0 ? sum : sum + (c === '{' ? 1 : c === '}' ? -1 : 0)), 0);
  if (depth !== 0) return 'Unbalanced braces';
  if (!/\b(backend|import)\b/.test(bare))
    return 'No backends or directors found in VCL program, at least one is necessary.';
  return undefined;
}

function yamlProblem(content: string): string | undefined {
  try {
    const value: unknown = parse(content);
    return typeof value === 'object' && value !== null && !Array.isArray(value) ? undefined : 'is not a mapping';
  } catch (error) {
    return (error as Error).message.split('\n')[0] ?? 'is not YAML';
  }
}

const nameOf = (program: string): string => program.replace(/^\/(usr\/(local\/)?)?(s?bin)\//, '');

/** Whether the guest has it: of the self-tests only its own. */
export function hasProgram(guest: GuestSim, program: string): boolean {
  const name = nameOf(program);
  return Object.hasOwn(TOOLS, name) && (!name.endsWith('-selftest') || name === selfTestOf(guest.spec.role));
}

/** Runs one of the few programs that practice guests have; others are not found, as in a real guest. */
export function runInGuest(call: GuestCall): Result | Promise<Result> {
  const [program = '', ...args] = call.argv;
  const tool = hasProgram(call.guest, program) ? TOOLS[nameOf(program)] : undefined;
  if (!tool) {
    record(call, 'command.refused', { detail: { argv: call.argv, why: 'not found in the guest' } });
    return fail(127, `bash: line 1: ${program}: command not found\n`);
  }
  return tool(call, args);
}
