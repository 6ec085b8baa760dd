import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { createSshRunner } from '#systems/ssh/client.js';
import type { CommandResult } from '#systems/ssh/types.js';

/** Runs a command on a node of a practice store with the rights of its store worker, besides whatever the service does. */
export async function onNode(labDir: string, store: string, node: string, argv: string[]): Promise<CommandResult> {
  const folder = join(labDir, 'enrolment', store);
  const { ssh } = JSON.parse(await readFile(join(folder, 'store-worker.json'), 'utf8')) as {
    ssh: { user: string; keyFile: string; nodes: Record<string, { address: string; port: number; hostKey: string }> };
  };
  const { address, port, hostKey } = ssh.nodes[node] as (typeof ssh.nodes)[string];
  const privateKey = await readFile(ssh.keyFile, 'utf8');
  const runner = createSshRunner({ host: address, port, user: ssh.user, privateKey, hostKey });
  try {
    return await runner.run(argv);
  } finally {
    await runner.close();
  }
}
