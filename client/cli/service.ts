import { formatDuration } from '#domain/durations.js';
import { startService, type Service, type ServiceOptions } from '#workers/embedded/supervisor.js';
import { CliFailure } from './failure.js';

/** Starts the embedded service; whatever keeps it from starting is one sentence. */
export async function startEmbedded(options: ServiceOptions): Promise<Service> {
  try {
    return await startService(options);
  } catch (error) {
    throw new CliFailure(`The service did not start: ${(error as Error).message}`, { cause: error });
  }
}

type ServiceEvent = Parameters<NonNullable<ServiceOptions['onEvent']>>[0];

/** Events of the service's processes as lines; those that only interest a log are left out. */
export function eventLine(event: ServiceEvent): string | undefined {
  switch (event.kind) {
    case 'started':
      return undefined;
    case 'ready':
      return `${event.name} is ready after ${formatDuration(event.afterMs)}`;
    case 'ended':
      return `${event.name} ended ${event.how}`;
    case 'restarting':
      return `${event.name} is started again in ${formatDuration(event.inMs)}`;
    default:
      return event satisfies never;
  }
}
