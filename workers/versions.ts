import { setTimeout as delay } from 'node:timers/promises';
import type { WorkflowService } from '@temporalio/client';
import { CONTROL_DEPLOYMENT } from '#domain/naming.js';

/**
 * Which build of the control worker runs the workflows. Temporal gives every workflow task to the build that is current;
 * a running workflow moves to it with its next task. Until a build is current, none of the versioned ones gets a task.
 */

export interface Namespace {
  workflowService: WorkflowService;
  namespace: string;
  identity: string;
}

export type Versions =
  | { kind: 'unsupported' }
  | {
      kind: 'supported';
      current: string | undefined;
      /** Builds that the server has seen polling. */
      builds: string[];
      /** A change is refused when somebody else made one since this look. */
      conflictToken: Uint8Array;
    };

const NOT_FOUND = 5;
const PERMISSION_DENIED = 7;
const UNIMPLEMENTED = 12;

/** Throws what the server answers, but for a server that has no versions of workers. */
export async function readVersions(of: Namespace): Promise<Versions> {
  try {
    return (await describe(of)) ?? (await none(of));
  } catch (error) {
    const { code, details = '' } = error as { code?: number; details?: string };
    const isDisabled = code === PERMISSION_DENIED && /deployment.*disabled/i.test(details);
    if (isDisabled || code === UNIMPLEMENTED) return { kind: 'unsupported' };
    throw error;
  }
}

async function describe({ workflowService, namespace }: Namespace): Promise<Versions | undefined> {
  try {
    const { workerDeploymentInfo: info, conflictToken } = await workflowService.describeWorkerDeployment({
      namespace,
      deploymentName: CONTROL_DEPLOYMENT,
    });
    return {
      kind: 'supported',
      current: info?.routingConfig?.currentDeploymentVersion?.buildId || undefined,
      builds: (info?.versionSummaries ?? []).flatMap(({ deploymentVersion }) => deploymentVersion?.buildId || []),
      conflictToken,
    };
  } catch (error) {
    if ((error as { code?: number }).code === NOT_FOUND) return undefined;
    throw error;
  }
}

/** A server whose versions are turned off has not found one either (seen on 1.29); it says so only when asked for all. */
async function none({ workflowService, namespace }: Namespace): Promise<Versions> {
  await workflowService.listWorkerDeployments({ namespace, pageSize: 1 });
  return { kind: 'supported', current: undefined, builds: [], conflictToken: new Uint8Array() };
}

/** Refused by the server while the build does not poll every queue that the current one polls. Repeating it changes nothing. */
export async function makeCurrent(to: Namespace, build: string, conflictToken?: Uint8Array): Promise<void> {
  await to.workflowService.setWorkerDeploymentCurrentVersion({
    namespace: to.namespace,
    deploymentName: CONTROL_DEPLOYMENT,
    buildId: build,
    identity: to.identity,
    ...(conflictToken ? { conflictToken } : {}),
  });
}

const FIRST_WAIT = 50;
const LONGEST_WAIT = 1_000;

/**
 * Makes a build current that has just begun to poll, as soon as the server knows it; tries for as long as it takes.
 * With `first` only when no build is: which of several builds is to go on is for people to say.
 */
export async function takeOver(
  to: Namespace,
  build: string,
  when: 'first' | 'always',
  say: (line: string) => void,
): Promise<void> {
  let said = '';
  for (let wait = FIRST_WAIT; ; wait = Math.min(wait * 2, LONGEST_WAIT)) {
    try {
      const versions = await readVersions(to);
      if (versions.kind === 'unsupported' || versions.current === build) return;
      if (when === 'first' && versions.current !== undefined) {
        say(`Build ${versions.current} runs the workflows. To go on with this one: edge workers make-current ${build}`);
        return;
      }
      if (versions.builds.includes(build)) return await makeCurrent(to, build, versions.conflictToken);
    } catch (error) {
      const line = `Build ${build} is not current yet: ${(error as Error).message}`;
      if (line !== said) say((said = line));
    }
    await delay(wait);
  }
}
