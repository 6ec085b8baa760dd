import type { NodeSim } from '../../world/node-sim.js';
import type { Task } from '../../world/tasks.js';
import { privilegesOn } from '../access.js';
import type { Caller } from '../access.js';
import { parameterError, permissionError } from '../errors.js';
import { param } from '../params.js';
import type { ParamSpecs } from '../params.js';
import { WithTotal, text } from '../route.js';
import type { Call, Route } from '../route.js';

const UPID = /^UPID:[a-zA-Z0-9-]+:[0-9A-Fa-f]{8}:[0-9A-Fa-f]{8,9}:[0-9A-Fa-f]{8}:[^:\s/]+:[^:\s/]*:[^:\s/]+:$/;
const ONE: ParamSpecs = { node: param.node, upid: param.upid };

export const taskRoutes: Route[] = [
  {
    method: 'GET',
    path: '/cluster/tasks',
    run: ({ store, caller }) =>
      store.nodesUp
        .flatMap((node) => node.tasks.all.filter((task) => mayRead(caller, node, task)))
        .sort(newestFirst)
        .slice(0, 25)
        .map((task) => listRow(task)),
  },
  {
    method: 'GET',
    path: '/nodes/{node}/tasks',
    params: {
      node: param.node,
      source: { type: 'string', optional: true, enum: ['archive', 'active', 'all'] },
      start: { type: 'integer', optional: true, minimum: 0 },
      limit: { type: 'integer', optional: true, minimum: 0 },
      since: param.integer,
      until: param.integer,
      vmid: { ...param.vmid, optional: true },
      typefilter: param.text,
      userfilter: param.text,
      statusfilter: param.text,
      errors: param.flag(true),
    },
    run: (call) => {
      const found = call.node.tasks.all.filter((task) => mayRead(call.caller, call.node, task)).filter(matching(call));
      const start = Number(call.params['start'] ?? 0);
      const limit = Number(call.params['limit'] ?? 50);
      const page = found.sort(newestFirst).slice(start, limit === 0 ? undefined : start + limit);
      return new WithTotal(page.map(listRow), found.length);
    },
  },
  {
    method: 'GET',
    path: '/nodes/{node}/tasks/{upid}/status',
    params: ONE,
    run: (call) => {
      const task = readable(call);
      return {
        ...identity(task),
        status: task.exitstatus === undefined ? 'running' : 'stopped',
        ...(task.exitstatus === undefined ? {} : { exitstatus: task.exitstatus }),
      };
    },
  },
  {
    method: 'GET',
    path: '/nodes/{node}/tasks/{upid}/log',
    params: {
      ...ONE,
      start: { type: 'integer', optional: true, minimum: 0 },
      limit: { type: 'integer', optional: true, minimum: 0 },
      download: param.flag(true),
    },
    run: (call) => {
      const { log } = readable(call);
      const start = Number(call.params['start'] ?? 0);
      const limit = Number(call.params['limit'] ?? 50);
      const lines = log.map((t, index) => ({ n: index + 1, t }));
      if (lines.length === 0) return new WithTotal([{ n: 1, t: 'no content' }], 0);
      return new WithTotal(lines.slice(start, limit === 0 ? undefined : start + limit), lines.length);
    },
  },
  {
    method: 'DELETE',
    path: '/nodes/{node}/tasks/{upid}',
    params: ONE,
    run: (call) => {
      const { caller, node } = call;
      const task = find(call);
      const may = owns(caller, task) || privilegesOn(caller, `/nodes/${node.name}`).includes('Sys.Modify');
      if (!may) throw permissionError(`/nodes/${node.name}, Sys.Modify`);
      node.tasks.abort(task.upid);
      return null;
    },
  },
];

function find({ node, params }: Call): Task {
  const upid = text(params['upid']);
  if (!UPID.test(upid)) throw parameterError({ upid: 'unable to parse worker upid' });
  const task = node.tasks.find(upid);
  if (!task) throw parameterError({ upid: 'no such task' });
  return task;
}

function readable(call: Call): Task {
  const task = find(call);
  if (!mayRead(call.caller, call.node, task)) throw permissionError(`/nodes/${call.node.name}, Sys.Audit`);
  return task;
}

/** A token sees what it started itself, a user also what his tokens did; the rest takes a privilege. */
const owns = (caller: Caller, task: Task): boolean =>
  task.user === caller.authId || (!caller.isToken && task.user.startsWith(`${caller.authId}!`));
const mayRead = (caller: Caller, node: NodeSim, task: Task): boolean =>
  owns(caller, task) || privilegesOn(caller, `/nodes/${node.name}`).includes('Sys.Audit');

const newestFirst = (a: Task, b: Task): number => b.starttime - a.starttime || b.pid - a.pid;

function matching({ params }: Call): (task: Task) => boolean {
  const source = text(params['source'] ?? 'archive');
  const wanted = params['statusfilter'] === undefined ? undefined : text(params['statusfilter']).split(/[,; ]+/);
  return (task) => {
    const running = task.exitstatus === undefined;
    if (source === 'active' && !running) return false;
    if (source === 'archive' && running) return false;
    if (params['typefilter'] !== undefined && task.type !== params['typefilter']) return false;
    if (params['vmid'] !== undefined && task.id !== String(params['vmid'])) return false;
    if (params['userfilter'] !== undefined && !task.user.includes(text(params['userfilter']))) return false;
    if (params['since'] !== undefined && task.starttime < Number(params['since'])) return false;
    if (params['until'] !== undefined && task.starttime > Number(params['until'])) return false;
    if (params['errors'] && kindOfEnd(task) !== 'error') return false;
    return !wanted || wanted.includes(kindOfEnd(task));
  };
}

function kindOfEnd(task: Task): string {
  if (task.exitstatus === undefined || task.exitstatus === 'unexpected status') return 'unknown';
  if (task.exitstatus === 'OK') return 'ok';
  return task.exitstatus.startsWith('WARNINGS: ') ? 'warning' : 'error';
}

/** The user of a token's task is told in two fields. */
function identity(task: Task) {
  const [user = '', tokenid] = task.user.split('!');
  const { upid, node, pid, pstart, starttime, type, id } = task;
  return { upid, node, pid, pstart, starttime, type, id, user, ...(tokenid === undefined ? {} : { tokenid }) };
}

const listRow = (task: Task) => ({
  ...identity(task),
  ...(task.endtime === undefined ? {} : { endtime: task.endtime }),
  // A task in the active list without a status of its own is given this word.
  status: task.exitstatus ?? 'RUNNING',
});
