import { WorkflowNotFoundError, type Client } from '@temporalio/client';

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
