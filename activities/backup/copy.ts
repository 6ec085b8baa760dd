import type { SnapshotFacts } from '#domain/backup.js';
import { heldOn } from '#domain/permissions.js';
import type { PbsClient, Place } from '#systems/pbs/types.js';
import { failureOf } from './answers.js';

/** What a backup server has of a store, for a token that may see all of it. */
export async function readSnapshots(client: PbsClient, { datastore, namespace }: Place): Promise<SnapshotFacts[]> {
  await requireOn(client, datastore, namespace, 'Datastore.Audit');
  return client.snapshots(datastore, namespace);
}

/** Lists leave out what a token may not see, without a word: to such a one everything looks empty, and well. */
export async function requireOn(
  client: PbsClient,
  datastore: string,
  namespace: string,
  privilege: string,
): Promise<void> {
  const path = `/datastore/${datastore}${namespace === '' ? '' : `/${namespace}`}`;
  if (!heldOn(await client.permissions(), path).includes(privilege))
    throw new Refused(`The token lacks ${privilege} on ${path}.`);
}

class Refused extends Error {
  readonly kind = 'Permission';
  readonly retryable = false;
}

export const isRefusal = (error: unknown): error is Error => failureOf(error).failure === 'credentials';
