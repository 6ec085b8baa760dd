import { AnswerLost } from '../api/answers.js';
import { compilePaths, type Found } from '../api/paths.js';
import type { Step } from '../world/fault-table.js';
import { permissionDenied, PbsError } from '../world/pbs/datastore.js';
import type { PbsSim } from '../world/pbs/pbs-sim.js';
import { authenticate } from './access.js';
import { DECLARED } from './declared.js';
import { checkParams } from './params.js';
import { notFound, type PbsRequest } from './request.js';
import { With, type Caller, type Route } from './route.js';
import { configRoutes } from './routes/config.js';
import { datastoreRoutes } from './routes/datastores.js';
import { jobRoutes } from './routes/jobs.js';
import { nodeRoutes } from './routes/node.js';
import { taskRoutes } from './routes/tasks.js';

export const routes: readonly Route[] = [
  ...nodeRoutes,
  ...taskRoutes,
  ...datastoreRoutes,
  ...jobRoutes,
  ...configRoutes,
];

const paths = compilePaths(routes);

/** Carries out one call, in the order of checks of the real server. */
export async function dispatch(pbs: PbsSim, request: PbsRequest): Promise<Record<string, unknown>> {
  const found = paths.find(request.method, request.segments);
  const step: Step = found?.route.step ?? 'pbs.read';
  const caller = found?.route.world
    ? { authId: '' }
    : authenticate(pbs, request.method, request.headers, {
        now: Date.now(),
        step,
        about: found?.route.about?.(pbs, found.fromUri),
      });
  if (!found) throw notFound(request.path);
  try {
    return await execute(pbs, found, step, request, caller);
  } catch (error) {
    if (error instanceof PbsError && error.status === 403) {
      pbs.record('api.refused', caller.authId, { method: request.method, uri: request.path, why: error.message });
    }
    throw error;
  }
}

async function execute(pbs: PbsSim, { route, fromUri }: Found<Route>, step: Step, request: PbsRequest, caller: Caller) {
  if (route.permission) {
    const path = route.permission.path.replaceAll(/\{([\w-]+)\}/g, (_whole, name: string) => fromUri[name] ?? '');
    const held = pbs.privileges(caller.authId, path);
    if (!route.permission.anyOf.some((privilege) => held.includes(privilege))) throw permissionDenied();
  }
  const params = checkParams(DECLARED[`${route.method} ${route.path}`]?.params ?? {}, request.params, fromUri);
  const about = route.about?.(pbs, fromUri);
  const lost = (moment: 'before' | 'after'): boolean => pbs.bites('lost-answer', step, moment, about);
  if (lost('before')) throw new AnswerLost();
  const result = await route.run({ pbs, caller, params });
  // After the effect: what the client sees says nothing about what happened.
  if (lost('after')) throw new AnswerLost();
  return result instanceof With ? { data: result.data, ...result.beside } : { data: result ?? null };
}
