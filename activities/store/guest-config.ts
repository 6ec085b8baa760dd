import { createHash } from 'node:crypto';
import type { Guest } from '#domain/fleet.js';
import type { StepAnswer, StoreTask } from '#domain/messages/store.js';
import type { GuestKind } from '#systems/proxmox/types.js';
import { SUDO, type Opened, type StoreDeps } from './deps.js';
import { readGuests, runnerOf } from './facts.js';
import { waitFor } from './wait.js';

/** Each file stands under its own digest in the guest; a link names the active one, so the last good one is a link away. */
const RELEASES = '/etc/edge-governor/releases';

/**
 * Gives every guest its files of the release: write, check, switch the link, reload, probe. A guest that refuses or
 * falls ill gets its last good file back. Retry-safe: a file that is active already is left alone.
 */
export async function applyConfig(
  deps: StoreDeps,
  _: StoreTask,
  { artifact }: Opened,
): Promise<StepAnswer<{ changed: string[] }>> {
  const changed: string[] = [];
  for (const guest of artifact.store.guests) {
    for (const config of guest.config) {
      const content = artifact.files[config.file] ?? '';
      const exec = await guestShell(deps, guest);
      const digest = createHash('sha256').update(content).digest('hex');
      const file = `${RELEASES}/${digest}/${config.file}`;
      const before = (await exec(['readlink', config.target])).stdout.trim();
      if (before === file) continue;

      await must(
        exec(['install', '-D', '-m', '0644', '/dev/stdin', file], content),
        `${guest.name}: writing ${config.file}`,
      );
      if (config.check.length > 0) {
        const check = await exec(config.check.map((word) => word.replaceAll('{file}', file)));
        if (check.code !== 0)
          return rejected(guest, config.file, `its check failed: ${(check.stderr || check.stdout).trim()}`);
      }
      await must(exec(['ln', '-sfn', file, config.target]), `${guest.name}: switching ${config.target}`);
      const ill = await reloadAndProbe(deps, guest, exec, config.reload);
      if (ill) {
        if (before !== '') await exec(['ln', '-sfn', before, config.target]);
        await exec(config.reload);
        return rejected(guest, config.file, ill);
      }
      changed.push(`${guest.name}:${config.file}`);
    }
  }
  return { kind: 'done', changed };
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
