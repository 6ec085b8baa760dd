import { WorkflowNotFoundError, type Client } from '@temporalio/client';
import type { NightCare } from '#domain/messages/backup.js';
import type { StoreView } from '#domain/messages/store.js';
import type { InWork } from '#domain/messages/train.js';
import { nightRuns, nightWorkflowId } from '#domain/naming.js';

/**
 * Whether a run under this id is going on. Asked of the run itself: the list of runs lags behind. Any other answer than
 * "there is none" is no answer; it throws, and is asked again.
 */
export const isRunningIn =
  ({ workflow }: Client) =>
  async (workflowId: string): Promise<boolean> => {
    try {
      return (await workflow.getHandle(workflowId).describe()).status.name === 'RUNNING';
    } catch (error) {
      if (error instanceof WorkflowNotFoundError) return false;
      throw error;
    }
  };

/**
 * What the nights of a fleet that run have in their care. One that does not answer is left out. That by hand is asked by
 * its id, since the list of runs lags behind.
 */
export const nightCaresIn =
  (client: Client) =>
  async (fleet: string): Promise<NightCare[]> => {
    const { workflow } = client;
    const ids = new Set([nightWorkflowId(fleet, 'by-hand')]);
    const query = `WorkflowType = 'nightlyBackup' AND WorkflowId STARTS_WITH '${nightRuns(fleet)}' AND ExecutionStatus = 'Running'`;
    for await (const { workflowId } of workflow.list({ query })) ids.add(workflowId);
    const isRunning = isRunningIn(client);
    const cares = await Promise.all(
      [...ids].map(async (id) => {
        // One that was terminated would go on answering.
        if (!(await isRunning(id))) return [];
        const ask = () => workflow.getHandle(id).query<NightCare>('nightCare');
        return client.withDeadline(Date.now() + ANSWER_WITHIN, ask).catch(() => []);
      }),
    );
    return cares.flat();
  };

/** Milliseconds. */
const ANSWER_WITHIN = 10_000;

/**
 * The operations that a wave waits for, each asked for its step. One that ends meanwhile, or that no worker can answer
 * for, is left out.
 */
export const inWorkIn =
  ({ workflow }: Client) =>
  async (wave: string): Promise<InWork[]> => {
    const { raw } = await workflow.getHandle(wave).describe();
    const ids = (raw.pendingChildren ?? []).flatMap(({ workflowId }) => workflowId ?? []);
    const views = await Promise.all(
      ids.map((id) =>
        workflow
          .getHandle(id)
          .query<StoreView>('store')
          .catch(() => undefined),
      ),
    );
    return views.flatMap((view) => (view && !view.result ? [inWorkOf(view)] : []));
  };

const inWorkOf = ({ store, step, since, cutOff, paused }: StoreView): InWork => ({
  store,
  step,
  since,
  cutOff,
  paused,
});
