import { owns } from './access.js';
import type { Datastore, Group } from './datastore.js';
import type { PruneOrder, VerifyOrder } from './work.js';

/** The groups that an order is about: the one it names, else those of its namespace and below that belong to its owner. */
export function groupsOf(
  datastore: Datastore,
  { ns, maxDepth, type, id, owner }: Pick<PruneOrder | VerifyOrder, 'ns' | 'maxDepth' | 'type' | 'id' | 'owner'>,
): Group[] {
  if (type !== undefined && id !== undefined) return [datastore.group(ns, type, id)];
  return datastore
    .namespacesBelow(datastore.namespace(ns), maxDepth)
    .flatMap((each) => datastore.groups(each))
    .filter((group) => owner === undefined || owns(owner, group.owner));
}
