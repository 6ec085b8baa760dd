import type { Task } from '../../world/tasks.js';
import { permissionDenied, PbsError } from '../../world/pbs/datastore.js';
import { mayReadTask } from '../access.js';
import { number, text, With, words, type Call, type Route } from '../route.js';

export const taskRoutes: Route[] = [
  {
    method: 'GET',
    path: '/nodes/{node}/tasks',
    run: (call) => {
      const found = call.pbs.tasks.all
        .filter((task) => mayReadTask(call.pbs, call.caller, task.user))
        .filter(matching(call))
        .sort((a, b) => b.starttime - a.starttime || b.pid - a.pid);
      const start = number(call.params['start']) ?? 0;
      const limit = number(call.params['limit']) ?? 50;
      return new With(found.slice(start, limit === 0 ? undefined : start + limit).map(listRow), {
        total: found.length,
      });
    },
  },
  { method: 'GET', path: '/nodes/{node}/tasks/{upid}/status', run: (call) => statusOf(readable(call)) },
  {
    method: 'GET',
    path: '/nodes/{node}/tasks/{upid}/log',
    run: (call) => {
      const task = readable(call);
      // The first line is 1, and so is 0.
      const first = Math.max(1, number(call.params['start']) ?? 1);
      const limit = number(call.params['limit']) ?? 50;
      const lines = task.log.map((t, index) => ({ n: index + 1, t })).slice(first - 1);
      return new With(limit === 0 ? lines : lines.slice(0, limit), {
        total: task.log.length,
        success: 1,
        ...(call.params['test-status'] === true ? { active: task.exitstatus === undefined } : {}),
      });
    },
  },
  {
    method: 'DELETE',
    path: '/nodes/{node}/tasks/{upid}',
    run: (call) => {
      const task = find(call);
      const isOwn = task.user === call.caller.authId;
      const may = isOwn || call.pbs.privileges(call.caller.authId, '/system/tasks').includes('Sys.Modify');
      if (!may) throw permissionDenied();
      call.pbs.tasks.abort(task.upid);
      return null;
    },
  },
];

function find({ pbs, params }: Call): Task {
  const task = pbs.tasks.find(text(params['upid']));
  if (!task) throw new PbsError('no such task');
  return task;
}

function readable(call: Call): Task {
  const task = find(call);
  if (!mayReadTask(call.pbs, call.caller, task.user)) throw permissionDenied();
  return task;
}

function matching({ params }: Call): (task: Task) => boolean {
  const store = words(params['store']);
  const wanted = params['statusfilter'] as string[] | undefined;
  const [since, until] = [number(params['since']), number(params['until'])];
  return (task) => {
    const isRunning = task.exitstatus === undefined;
    if (params['running'] === true && !isRunning) return false;
    if (store !== undefined && !task.id.split(':').includes(store)) return false;
    // Both filters look for a part of the word.
    if (params['typefilter'] !== undefined && !task.type.includes(text(params['typefilter']))) return false;
    if (params['userfilter'] !== undefined && !task.user.includes(text(params['userfilter']))) return false;
    if (since !== undefined && task.starttime < since) return false;
    if (until !== undefined && task.starttime > until) return false;
    if (params['errors'] === true && !['error', 'unknown'].includes(kindOfEnd(task))) return false;
    return !wanted || (!isRunning && wanted.includes(kindOfEnd(task)));
  };
}

function kindOfEnd({ exitstatus }: Task): string {
  if (exitstatus === undefined || exitstatus === 'unknown') return 'unknown';
  if (exitstatus === 'OK') return 'ok';
  return exitstatus.startsWith('WARNINGS: ') ? 'warning' : 'error';
}

const listRow = ({ upid, pid, pstart, starttime, type, id, user, endtime, exitstatus }: Task) => ({
  upid,
  node: 'localhost',
  pid,
  pstart,
  starttime,
  worker_type: type,
  worker_id: id === '' ? null : id,
  user,
  ...(endtime === undefined ? {} : { endtime }),
  ...(exitstatus === undefined ? {} : { status: exitstatus }),
});

/** The user of a token's task is told in two fields. */
function statusOf({ upid, node, pid, pstart, starttime, type, id, user: authId, endtime, exitstatus }: Task) {
  const [user = '', tokenid] = authId.split('!');
  return {
    upid,
    node,
    pid,
    pstart,
    starttime,
    type,
    ...(id === '' ? {} : { id }),
    user,
    ...(tokenid === undefined ? {} : { tokenid }),
    status: exitstatus === undefined ? 'running' : 'stopped',
    ...(exitstatus === undefined ? {} : { exitstatus }),
    ...(endtime === undefined ? {} : { endtime }),
  };
}
