import type { TendDeps } from '#activities/backup/deps.js';
import { createPbsClient } from '#systems/pbs/client.js';
import { readSecret, type OffsiteWorkerConfig } from './config.js';

/** A backup server as its worker reaches it, once for each of the two identities. */
export async function openPbs(
  pbs: OffsiteWorkerConfig['pbs'],
): Promise<Pick<TendDeps, 'node' | 'verifier' | 'pruner' | 'datastore'>> {
  const { node, address, port, fingerprint, datastore } = pbs;
  const clientWith = async (tokenFile: string) =>
    createPbsClient({ name: node, address, port, token: await readSecret(tokenFile), fingerprint });
  const [verifier, pruner] = await Promise.all([clientWith(pbs.verifyTokenFile), clientWith(pbs.pruneTokenFile)]);
  return { node, verifier, pruner, datastore };
}
