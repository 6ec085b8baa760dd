import type { Client } from '@temporalio/client';

export type QueueKind = 'workflow' | 'activity';
const QUEUE_TYPES: Record<QueueKind, number> = { workflow: 1, activity: 2 };
/** The server lists a poller for five minutes after its last poll; a poll lasts one. */
const POLL_AGE = 2 * 60_000;

/** Who polls a task queue, as far as the server can tell: a worker that died a minute ago is still in the list. */
export async function recentPollers(client: Client, queue: string, kind: QueueKind) {
  const { pollers } = await client.workflowService.describeTaskQueue({
    namespace: client.options.namespace,
    taskQueue: { name: queue },
    taskQueueType: QUEUE_TYPES[kind],
  });
  const oldest = Date.now() - POLL_AGE;
  return (pollers ?? []).filter(({ lastAccessTime }) => Number(lastAccessTime?.seconds ?? 0) * 1_000 >= oldest);
}

export const isPolled = async (client: Client, queue: string, kind: QueueKind): Promise<boolean> =>
  (await recentPollers(client, queue, kind)).length > 0;
