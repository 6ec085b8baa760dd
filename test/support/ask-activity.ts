import { randomUUID } from 'node:crypto';
import type { Client } from '@temporalio/client';
import { defaultPayloadConverter, toPayloads } from '@temporalio/common';
import { msToTs } from '@temporalio/common/lib/time.js';

/** `temporal.api.enums.v1.CommandType.COMMAND_TYPE_SCHEDULE_ACTIVITY_TASK`. */
const SCHEDULE_ACTIVITY = 1;

/** The server wants to know how long it is polled. */
const POLL_MS = 60_000;

/** What a worker made of a task: what it returned, or how it failed. */
export type Asked =
  { kind: 'done'; result: unknown } | { kind: 'failed'; type: string; message: string; isFinal: boolean };

/** Gives a worker one task, once, as a workflow would, and without a worker for workflows. Resolves when the task is scheduled. */
export async function askActivity(
  client: Client,
  to: { queue: string; activity: string; task: unknown },
): Promise<{ answer: Promise<Asked> }> {
  const { workflowService } = client;
  const { namespace } = client.options;
  const own = `ask-${randomUUID()}`;
  const identity = 'test';
  const nextTask = () =>
    client.withDeadline(Date.now() + POLL_MS, () =>
      workflowService.pollWorkflowTaskQueue({ namespace, taskQueue: { name: own }, identity }),
    );
  await client.workflow.start('ask', { workflowId: own, taskQueue: own });
  const { taskToken } = await nextTask();
  await workflowService.respondWorkflowTaskCompleted({
    taskToken,
    namespace,
    identity,
    commands: [
      {
        commandType: SCHEDULE_ACTIVITY,
        scheduleActivityTaskCommandAttributes: {
          activityId: '1',
          activityType: { name: to.activity },
          taskQueue: { name: to.queue },
          input: { payloads: toPayloads(defaultPayloadConverter, to.task) ?? [] },
          startToCloseTimeout: msToTs('1 minute'),
          scheduleToCloseTimeout: msToTs('1 minute'),
          retryPolicy: { maximumAttempts: 1 },
        },
      },
    ],
  });
  const answer = nextTask().then(({ history }) => answerIn(history));
  // A task may outlive the test that gave it.
  answer.catch(() => undefined);
  return { answer };
}

type History = Awaited<ReturnType<Client['workflowService']['pollWorkflowTaskQueue']>>['history'];

function answerIn(history: History): Asked {
  for (const {
    activityTaskCompletedEventAttributes: done,
    activityTaskFailedEventAttributes: failed,
  } of history?.events ?? []) {
    const [payload] = done?.result?.payloads ?? [];
    if (payload) return { kind: 'done', result: defaultPayloadConverter.fromPayload(payload as never) };
    if (!failed?.failure) continue;
    const { message, applicationFailureInfo } = failed.failure;
    return {
      kind: 'failed',
      type: applicationFailureInfo?.type ?? '',
      message: message ?? '',
      isFinal: applicationFailureInfo?.nonRetryable ?? false,
    };
  }
  throw new Error('The task came to no end that is known here.');
}
