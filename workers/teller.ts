import type { Logger } from 'pino';
import { parse as parseYaml } from 'yaml';
import { fleetSchema } from '#domain/fleet.js';
import type { Notification } from '#domain/messages/train.js';
import type { GitRepo } from '#systems/git/types.js';
import { howItEnded, runProgram } from '#systems/programs/run.js';

const TIMEOUT_MS = 20_000;
const MAX_FLEET_BYTES = 1_000_000;

/**
 * Tells people through the command that `notify.command` of fleet.yaml names: it gets the notification as JSON on its
 * standard input and nothing of the service's environment but PATH and HOME. Without a command the log is all.
 */
export function createTeller({ repo, branch, log }: { repo: GitRepo; branch: string; log: Logger }) {
  return async (notification: Notification): Promise<void> => {
    log.info({ notification }, notification.summary);
    const text = await repo.read(await repo.head(branch), 'fleet.yaml', MAX_FLEET_BYTES);
    const fleet = fleetSchema.safeParse(parseYaml(text.toString('utf8'), { schema: 'core', maxAliasCount: 20 }));
    if (!fleet.success)
      throw new Error(`Nobody was told: fleet.yaml at the tip of ${branch} is not valid. See: edge fleet check`);
    const [program, ...args] = fleet.data.notify.command ?? [];
    if (program === undefined) return;
    const end = await runProgram(program, args, {
      input: JSON.stringify(notification),
      timeoutMs: TIMEOUT_MS,
      extendEnv: false,
      env: { PATH: process.env['PATH'] ?? '', HOME: process.env['HOME'] ?? '' },
      maxBuffer: 100_000,
    });
    if (end.kind === 'ended' && end.code === 0) return;
    throw new Error(`Nobody was told: ${program} ${howItEnded(end)}.`);
  };
}
