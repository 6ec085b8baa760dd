import type { Client } from '@temporalio/client';
import { CONTROL_DEPLOYMENT, CONTROL_QUEUE } from '#domain/naming.js';
import { makeCurrent, readVersions, type Namespace } from '#workers/versions.js';
import { recentPollers } from './pollers.js';

/** Which builds of the control worker there are, and which of them runs the workflows. */
export type ControlVersions =
  | { kind: 'unsupported' }
  | {
      kind: 'supported';
      /** The build that gets every workflow task; undefined when none was ever made current. */
      current: string | undefined;
      /** Builds that poll now. */
      polling: string[];
      /** A control worker without a version polls; it gets tasks only as long as no build is current. */
      unversioned: boolean;
    };

const namespaceOf = ({ workflowService, options }: Client): Namespace => ({
  workflowService,
  namespace: options.namespace,
  identity: options.identity,
});

export async function controlVersions(client: Client): Promise<ControlVersions> {
  const versions = await readVersions(namespaceOf(client));
  if (versions.kind === 'unsupported') return versions;
  const pollers = await recentPollers(client, CONTROL_QUEUE, 'workflow');
  const builds = pollers.map(({ deploymentOptions }) =>
    deploymentOptions?.deploymentName === CONTROL_DEPLOYMENT ? deploymentOptions.buildId || undefined : undefined,
  );
  return {
    kind: 'supported',
    current: versions.current,
    polling: [...new Set(builds.flatMap((build) => build ?? []))].toSorted(),
    unversioned: builds.includes(undefined),
  };
}

export const makeControlCurrent = (client: Client, build: string): Promise<void> =>
  makeCurrent(namespaceOf(client), build);

/** Why no workflow moves although control workers poll; undefined when all is well. */
export function whyNothingMoves(versions: ControlVersions): { text: string; remedy: string } | undefined {
  if (versions.kind === 'unsupported') return undefined;
  const { current, polling, unversioned } = versions;
  if (current === undefined ? unversioned : polling.includes(current)) return undefined;
  const polls = [...polling.map((build) => `build ${build}`), ...(unversioned ? ['one without a version'] : [])];
  const who =
    polls.length === 0
      ? 'no control worker polls'
      : `only ${polls.join(' and ')} ${polls.length === 1 ? 'polls' : 'poll'}`;
  return {
    text: `Workflows stand still: ${current === undefined ? 'no build is current' : `build ${current} is current`} and ${who}.`,
    remedy:
      polling.length === 0
        ? `Start the control worker${current === undefined ? '' : ` of build ${current}`}.`
        : `edge workers make-current ${polling.length === 1 ? polling[0] : 'BUILD'}`,
  };
}
