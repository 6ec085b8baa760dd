import { setTimeout as delay } from 'node:timers/promises';
import { AnswerLost } from '../api/answers.js';
import { compilePaths, type Found } from '../api/paths.js';
import type { FaultKind, Moment, Step } from '../world/fault-table.js';
import { NodeGone } from '../world/node-gone.js';
import type { NodeSim } from '../world/node-sim.js';
import type { Caller } from './access.js';
import { authenticate, requirePrivilege } from './access.js';
import { Hangs, PveError, permissionError } from './errors.js';
import { checkParams } from './params.js';
import type { PveRequest } from './request.js';
import { WithTotal } from './route.js';
import type { Route } from './route.js';
import { agentRoutes } from './routes/agent.js';
import { backupRoutes } from './routes/backup.js';
import { cephRoutes } from './routes/ceph.js';
import { clusterRoutes } from './routes/cluster.js';
import { configRoutes } from './routes/config.js';
import { guestRoutes } from './routes/guests.js';
import { nodeRoutes } from './routes/nodes.js';
import { restoreRoutes } from './routes/restore.js';
import { siteRoutes } from './routes/site.js';
import { storageRoutes } from './routes/storage.js';
import { taskRoutes } from './routes/tasks.js';

export const routes: readonly Route[] = [
  ...clusterRoutes,
  ...nodeRoutes,
  ...guestRoutes,
  ...configRoutes,
  ...agentRoutes,
  ...restoreRoutes,
  ...siteRoutes,
  ...storageRoutes,
  ...backupRoutes,
  ...taskRoutes,
  ...cephRoutes,
];

const paths = compilePaths(routes);

/** How an index names its children. */
const INDEX_KEYS: Record<string, string> = {
  '/': 'subdir',
  '/access': 'subdir',
  '/cluster/ha': 'id',
  '/nodes/{node}/apt': 'id',
  '/nodes/{node}/qemu/{vmid}': 'subdir',
  '/nodes/{node}/qemu/{vmid}/status': 'subdir',
  '/nodes/{node}/qemu/{vmid}/agent': 'subdir',
  '/nodes/{node}/lxc/{vmid}': 'subdir',
  '/nodes/{node}/lxc/{vmid}/status': 'subdir',
};

/** Carries out one call that came in at `entry`, in the order of checks of the real server. */
export async function dispatch(entry: NodeSim, request: PveRequest): Promise<{ data: unknown; total?: number }> {
  const { store } = entry;
  const found = paths.find(request.method, request.segments);
  if (found?.route.world) {
    if (found.route.noToken && request.headers.authorization?.startsWith('PVEAPIToken')) {
      const why = `URI '${request.uri}' not available with API token, need proper ticket.`;
      throw permissionError(why);
    }
    const caller: Caller = { authId: '', isToken: false, privileges: {} };
    return execute(entry, entry, found, request, caller);
  }

  const caller = authenticate(store, request.method, request.headers, {
    now: entry.clock,
    step: found ? stepOf(found.route) : 'api.read',
  });
  if (!found) {
    const children = request.method === 'GET' ? indexOf(request.segments) : undefined;
    if (children) return { data: children };
    throw new PveError(501, `Method '${request.method} ${request.uri}' not implemented`);
  }
  const { route, fromUri } = found;
  try {
    if (route.rootOnly) throw permissionError('user != root@pam');
    if (route.permission) requirePrivilege(caller, fillIn(route.permission.path, fromUri), route.permission.anyOf);
  } catch (error) {
    const detail = { method: request.method, uri: request.uri, why: (error as Error).message };
    entry.record('api.refused', caller.authId, { detail });
    throw error;
  }

  const target = targetOf(entry, fromUri['node'], stepOf(route));
  return execute(entry, target, found, request, caller);
}

async function execute(
  entry: NodeSim,
  target: NodeSim,
  { route, fromUri }: Found<Route>,
  request: PveRequest,
  caller: Caller,
) {
  const { store } = target;
  const { faults, timing } = store.world;
  const params = checkParams(route.params ?? {}, request.params, fromUri);
  const met = (kind: FaultKind, moment: Moment): boolean =>
    faults.bite(kind, { store: store.id, node: target.name, step: stepOf(route), moment }) !== undefined;
  const givesUp = async (): Promise<never> => {
    await delay(timing.of('proxyTimeout'));
    throw new PveError(596, 'Connection timed out');
  };
  if (met('lost-answer', 'before')) throw new AnswerLost();
  if (met('proxy-596', 'before')) await givesUp();
  const actor = { user: caller.authId, by: caller.authId };
  let result: unknown;
  try {
    // In a call without a node in its path, the node that was asked is the one that carries it out.
    result = await route.run({ store, node: target, caller, actor, params });
  } catch (error) {
    if (error instanceof Hangs) return givesUp();
    if (!(error instanceof NodeGone)) throw error;
    // The entry node's own end is seen by the server, which cuts the connection.
    throw new PveError(596, 'Broken pipe');
  }
  // Both come after the effect: what the client sees says nothing about what happened.
  if (met('lost-answer', 'after')) throw new AnswerLost();
  if (met('proxy-596', 'after')) await givesUp();
  return result instanceof WithTotal ? { data: result.data, total: result.total } : { data: result ?? null };
}

/** The node that the path names, reached from the entry node. */
function targetOf(entry: NodeSim, name: string | undefined, step: Step): NodeSim {
  if (name === undefined || name === entry.name || name === 'localhost') return entry;
  const target = entry.store.nodes.get(name);
  if (!target) {
    const why = `failed to get address info for: ${name}: Name or service not known`;
    throw new PveError(500, `hostname lookup '${name}' failed - ${why}`);
  }
  if (!target.up) throw new PveError(595, 'No route to host');
  if (target.bite('proxy-595', step, 'before')) throw new PveError(595, 'Connection refused');
  return target;
}

/** What faults are aimed at. */
const stepOf = ({ step, path }: Route): Step => step ?? (path.includes('/ceph') ? 'ceph.read' : 'api.read');

/** What lies below a path, as an index lists it; undefined when nothing does. */
function indexOf(segments: string[]): Record<string, string>[] | undefined {
  const below = paths.below(segments);
  return below?.names.map((name) => ({ [INDEX_KEYS[below.path] ?? 'name']: name }));
}

const fillIn = (path: string, values: Record<string, string>): string =>
  path.replaceAll(/\{(\w+)\}/g, (_whole, name: string) => values[name] ?? '');
