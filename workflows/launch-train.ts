import { WorkflowExecutionAlreadyStartedError } from '@temporalio/common';
import { ParentClosePolicy, startChild } from '@temporalio/workflow';
import { launchInputSchema, type LaunchInput, type LaunchReport } from '#domain/messages/train.js';
import { trainWorkflowId } from '#domain/naming.js';
import { parseInput } from './parse-input.js';
import type { patchTrain } from './patch-train.js';
import { notify } from './proxies.js';
import { searchKeys } from './search-keys.js';

/**
 * What the schedule starts: begins the week's train, or says loudly that the last one is still running.
 * A train that is refused is shown by this workflow's result and by a notification, never silent.
 */
export async function launchTrain(raw: LaunchInput): Promise<LaunchReport> {
  const { fleet, requestedBy } = parseInput(launchInputSchema, raw);
  const workflowId = trainWorkflowId(fleet);
  try {
    await startChild<typeof patchTrain>('patchTrain', {
      workflowId,
      parentClosePolicy: ParentClosePolicy.ABANDON,
      staticSummary: `weekly train of ${fleet}`,
      typedSearchAttributes: [{ key: searchKeys.operation, value: 'train' }],
      args: [{ fleet, requestedBy: requestedBy ?? 'schedule' }],
    });
    return { started: true, workflowId, summary: `The train of ${fleet} was started.` };
  } catch (error) {
    if (!(error instanceof WorkflowExecutionAlreadyStartedError)) throw error;
    const summary = `The train of ${fleet} was not started: the one before it is still running. End it, then start one by hand.`;
    await notify({ event: 'refused', fleet, train: '', reason: 'TrainRunning', summary, answers: [] });
    return { started: false, workflowId, summary };
  }
}
