import { createHash } from 'node:crypto';
import type { Guest } from '#domain/fleet.js';
import type { StepAnswer } from '#domain/messages/store.js';
import type { GuestKind } from '#systems/proxmox/types.js';
import type { TrustRecord } from '#systems/store-state/types.js';
import { SUDO, type Opened, type StoreDeps } from './deps.js';
import { readGuests, runnerOf } from './facts.js';
import { waitFor } from './wait.js';

/** Each file stands under its own digest in the guest; a link names the active one, so the last good one is a link away. */
const RELEASES = '/etc/edge-governor/releases';

/**
 * Gives every guest its files of the release: write, check, switch the link, reload, probe. A guest that refuses or
 * falls ill gets its last good file back. Retry-safe, for this operation and for the next one: only a file that was
 * proven to be loaded is left alone. What a link names may be a file that was refused, or that no reload ever read.
 */
export async function applyConfig(deps: StoreDeps, { artifact }: Opened): Promise<StepAnswer<{ changed: string[] }>> {
  const changed: string[] = [];
  for (const guest of artifact.store.guests) {
    for (const config of guest.config) {
      const content = artifact.files[config.file];
      if (content === undefined) return rejected(guest, config.file, 'the release does not carry this file');
      const exec = await guestShell(deps, guest);
      const file = pathOf(content, config.file);
      const active = await linkAt(exec, config.target);
      const known = deps.state.trust().loaded?.[placeOf(guest, config)];
      if (active === file && known?.file === file && known.proven) continue;

      await write(exec, file, content, `${guest.name}: writing ${config.file}`);
      const good = goodBefore(known, active, file) ?? (await keepOriginal(exec, config.target, config.file));
      const refusal = await checked(exec, config.check, file);
      if (refusal && active !== file) return rejected(guest, config.file, refusal);
      await remember(deps, guest, config, { file: good, proven: false });
      if (active !== file) await switchTo(exec, file, config.target, guest.name);
      const ill = refusal ?? (await reloadAndProbe(deps, guest, exec, config.reload));
      if (ill) {
        const why = good === file ? 'no other is known' : await putBack(exec, good, config.target, config.reload);
        return rejected(guest, config.file, why ? `${ill}; the last good file is NOT back: ${why}` : ill);
      }
      await remember(deps, guest, config, { file, proven: true });
      changed.push(`${guest.name}:${config.file}`);
    }
  }
  return { kind: 'done', changed };
}

type Loaded = NonNullable<TrustRecord['loaded']>[string];

const placeOf = ({ vmid }: Guest, { target }: Guest['config'][number]): string => `${vmid} ${target}`;

/** On disk before the effect that it is about: whoever comes next, in this operation or another, knows what is proven. */
const remember = ({ state }: StoreDeps, guest: Guest, config: Guest['config'][number], now: Loaded): Promise<void> =>
  state.saveTrust({ loaded: { ...state.trust().loaded, [placeOf(guest, config)]: now } });

/** Where the way back leads; empty when there was nothing, undefined when a plain file may be there. */
function goodBefore(known: Loaded | undefined, active: string, file: string): string | undefined {
  // A guest that was made anew has neither the link nor the file that is remembered of it.
  if (active === '') return undefined;
  // A proven file that the link does not name any more was replaced by someone else, and what they chose ran since.
  const isOverruled = known?.proven === true && active !== file;
  return known && !isOverruled ? known.file : active;
}

async function checked(exec: Exec, check: string[], file: string): Promise<string | undefined> {
  if (check.length === 0) return undefined;
  const { code, stdout, stderr } = await exec(check.map((word) => word.replaceAll('{file}', file)));
  return code === 0 ? undefined : `its check failed: ${(stderr || stdout).trim()}`;
}

const pathOf = (content: string, name: string): string =>
  `${RELEASES}/${createHash('sha256').update(content).digest('hex')}/${name}`;

const linkAt = async (exec: Exec, target: string): Promise<string> => (await exec(['readlink', target])).stdout.trim();

/** A plain file that the image brought would be lost under the first link: it is kept, as the last good one. */
async function keepOriginal(exec: Exec, target: string, name: string): Promise<string> {
  const original = await exec(['cat', target]);
  if (original.code !== 0) return '';
  const file = pathOf(original.stdout, name);
  await write(exec, file, original.stdout, `keeping the original ${target}`);
  return file;
}

const write = (exec: Exec, file: string, content: string, what: string): Promise<void> =>
  must(exec(['install', '-D', '-m', '0644', '/dev/stdin', file], content), what);

const switchTo = (exec: Exec, file: string, target: string, guest: string): Promise<void> =>
  must(exec(['ln', '-sfn', file, target]), `${guest}: switching ${target}`);

/** Undefined when the guest is back on its last good file; else why not. */
async function putBack(exec: Exec, before: string, target: string, reload: string[]): Promise<string | undefined> {
  const undone = await exec(before === '' ? ['rm', '-f', target] : ['ln', '-sfn', before, target]);
  if (undone.code !== 0) return undone.stderr.trim();
  // Where nothing was before there is nothing that a reload could have to load.
  const reloaded = await exec(reload);
  return reloaded.code === 0 || before === '' ? undefined : reloaded.stderr.trim();
}

type Exec = (argv: string[], stdin?: string) => Promise<{ code: number; stdout: string; stderr: string }>;

/** Runs commands inside a guest, on the node where it is at this moment. */
async function guestShell(deps: StoreDeps, guest: Guest): Promise<Exec> {
  const found = (await readGuests(deps)).find(({ vmid }) => vmid === guest.vmid);
  if (!found) throw new Error(`Guest ${guest.vmid} (${guest.name}) is not in the cluster.`);
  const runner = runnerOf(deps, found.node);
  const kind: GuestKind = found.kind;
  if (kind === 'lxc')
    return (argv, stdin) =>
      runner.run([...SUDO, 'pct', 'exec', String(guest.vmid), '--', ...argv], stdin === undefined ? {} : { stdin });
  return async (argv, stdin) => {
    const pass = stdin === undefined ? [] : ['--pass-stdin', '1'];
    const result = await runner.run(
      [...SUDO, 'qm', 'guest', 'exec', String(guest.vmid), ...pass, '--', ...argv],
      stdin === undefined ? {} : { stdin },
    );
    if (result.code !== 0) return result;
    const answer = JSON.parse(result.stdout) as { exitcode?: number; 'out-data'?: string; 'err-data'?: string };
    return { code: answer.exitcode ?? 255, stdout: answer['out-data'] ?? '', stderr: answer['err-data'] ?? '' };
  };
}

async function reloadAndProbe(
  deps: StoreDeps,
  guest: Guest,
  exec: Exec,
  reload: string[],
): Promise<string | undefined> {
  const reloaded = await exec(reload);
  if (reloaded.code !== 0) return `its reload failed: ${reloaded.stderr.trim()}`;
  const well = await waitFor(deps, deps.timing.rejoin, async () =>
    (await deps.probe(guest)).healthy ? true : undefined,
  );
  return well.seen ? undefined : 'the guest is not healthy with it';
}

async function must(result: ReturnType<Exec>, what: string): Promise<void> {
  const { code, stderr } = await result;
  if (code !== 0) throw new Error(`${what} failed: ${stderr.trim().slice(0, 300)}`);
}

const rejected = (guest: Guest, file: string, why: string) => ({
  kind: 'failed' as const,
  stop: {
    reason: 'ConfigRejected' as const,
    step: 'apply config',
    summary: `${guest.name} does not take ${file}: ${why.slice(0, 300)}`,
  },
});
