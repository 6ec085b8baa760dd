import { WorkflowNotFoundError, type Client } from '@temporalio/client';
import type { StoreView } from '#domain/messages/store.js';
import type { InWork } from '#domain/messages/train.js';

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
