import type { StoreSim } from '../../world/store-sim.js';
import { requirePrivilege } from '../access.js';
import { parameterError } from '../errors.js';
import { param, type ParamSpecs } from '../params.js';
import { text, type Call, type Route } from '../route.js';

/** vzdump and its jobs. The schedules of jobs are kept and not followed. */
const OPTIONS: ParamSpecs = {
  all: param.flag(true),
  bwlimit: { type: 'integer', optional: true, minimum: 0 },
  compress: { type: 'string', optional: true, enum: ['0', '1', 'gzip', 'lzo', 'zstd'] },
  exclude: param.text,
  fleecing: param.text,
  ionice: { type: 'integer', optional: true, minimum: 0, maximum: 8 },
  lockwait: { type: 'integer', optional: true, minimum: 0 },
  mailnotification: { type: 'string', optional: true, enum: ['always', 'failure'] },
  mailto: param.text,
  mode: { type: 'string', optional: true, enum: ['snapshot', 'suspend', 'stop'] },
  'notes-template': param.text,
  'notification-mode': { type: 'string', optional: true, enum: ['auto', 'legacy-sendmail', 'notification-system'] },
  'pbs-change-detection-mode': { type: 'string', optional: true, enum: ['legacy', 'data', 'metadata'] },
  performance: param.text,
  pool: param.text,
  protected: param.flag(true),
  'prune-backups': param.text,
  quiet: param.flag(true),
  remove: param.flag(true),
  storage: param.text,
  vmid: param.text,
  zstd: { type: 'integer', optional: true },
};

/** Refused to everybody but root@pam. */
const ROOT_OPTIONS: ParamSpecs = {
  script: param.text,
  tmpdir: param.text,
  dumpdir: param.text,
};

const JOB: ParamSpecs = {
  ...OPTIONS,
  ...ROOT_OPTIONS,
  comment: param.text,
  enabled: param.flag(true),
  node: { ...param.node, optional: true },
  'repeat-missed': param.flag(true),
  schedule: param.text,
};

const AUDIT = { path: '/', anyOf: ['Sys.Audit'] };
const MODIFY = { path: '/', anyOf: ['Sys.Modify'] };

export const backupRoutes: Route[] = [
  {
    method: 'POST',
    path: '/nodes/{node}/vzdump',
    params: { ...OPTIONS, ...ROOT_OPTIONS, 'job-id': param.text, node: { ...param.node, optional: true } },
    step: 'backup.start',
    run: vzdump,
  },
  {
    method: 'GET',
    path: '/cluster/backup-info/not-backed-up',
    permission: AUDIT,
    run: ({ store }) => uncovered(store),
  },
  {
    method: 'GET',
    path: '/cluster/backup',
    permission: AUDIT,
    run: ({ store }) => [...store.backupJobs.values()],
  },
  {
    method: 'GET',
    path: '/cluster/backup/{id}',
    params: { id: { type: 'string' } },
    permission: AUDIT,
    run: jobOf,
  },
  {
    method: 'POST',
    path: '/cluster/backup',
    params: { ...JOB, id: param.text },
    permission: MODIFY,
    run: (call) => {
      const id = text(call.params['id'] ?? `backup-${store8(call.store)}`);
      if (call.store.backupJobs.has(id)) throw new Error(`Job '${id}' already exists`);
      return putJob(call, id, {});
    },
  },
  {
    method: 'PUT',
    path: '/cluster/backup/{id}',
    params: { ...JOB, id: { type: 'string' }, delete: param.text },
    permission: MODIFY,
    run: (call) => {
      const rest = { ...jobOf(call) };
      for (const name of text(call.params['delete'] ?? '').split(/[,; ]+/)) delete rest[name];
      return putJob(call, text(call.params['id']), rest);
    },
  },
  {
    method: 'DELETE',
    path: '/cluster/backup/{id}',
    params: { id: { type: 'string' } },
    permission: MODIFY,
    run: (call) => {
      jobOf(call);
      call.store.requireQuorum();
      call.store.backupJobs.delete(text(call.params['id']));
      call.store.world.touch(call.store.id);
      return null;
    },
  },
];

const vmidsIn = (value: unknown): number[] =>
  value === undefined
    ? []
    : String(value as string)
        .split(/[,; ]+/)
        .filter((each) => each !== '')
        .map(Number);

/** `OK` and no task when none of the guests that are named is on the node. One that is nowhere fails in the task. */
function vzdump({ store, node, caller, actor, params }: Call): string {
  checkOptions(params);
  const storage = text(params['storage'] ?? 'local');
  if (params['storage'] !== undefined) requirePrivilege(caller, `/storage/${storage}`, ['Datastore.AllocateSpace']);
  const wished = chosen(store, params);
  for (const vmid of wished) requirePrivilege(caller, `/vms/${vmid}`, ['VM.Backup']);
  const isHere = (vmid: number): boolean => (store.guests.get(vmid)?.node ?? node.name) === node.name;
  const vmids = wished.filter(isHere).sort((a, b) => a - b);
  if (vmids.length === 0 && params['all'] !== true) return 'OK';
  const retention = params['prune-backups'];
  const prunes = retention !== undefined && retention !== 'keep-all=1' && params['remove'] !== false;
  const notes = params['notes-template'];
  return store.backups.start(node, {
    node: node.name,
    vmids,
    elsewhere: wished.filter((vmid) => !isHere(vmid)).sort((a, b) => a - b),
    storage,
    mode: text(params['mode'] ?? 'snapshot'),
    lockwait: Number(params['lockwait'] ?? 180),
    notes: notes === undefined ? undefined : text(notes).replaceAll('\\n', '\n'),
    protected: params['protected'] === true,
    prune: prunes ? text(retention) : undefined,
    commandLine: commandLine(params),
    actor,
    done: [],
    failed: [],
    warnings: 0,
  }).upid;
}

function checkOptions(params: Call['params']): void {
  for (const name of [...Object.keys(ROOT_OPTIONS), 'job-id']) {
    if (params[name] !== undefined) throw parameterError({ [name]: 'Only root may set this option.' });
  }
  if (params['all'] === true && params['vmid'] !== undefined) {
    throw parameterError({ all: "option conflicts with option 'vmid'" });
  }
  if (params['vmid'] === undefined && params['all'] !== true && params['exclude'] === undefined) {
    throw parameterError({ vmid: 'property is missing' });
  }
}

function chosen(store: StoreSim, params: Call['params']): number[] {
  if (params['vmid'] !== undefined) return [...new Set(vmidsIn(params['vmid']))];
  const excluded = vmidsIn(params['exclude']);
  return [...store.guests.keys()].filter((vmid) => !excluded.includes(vmid));
}

function commandLine(params: Call['params']): string {
  const { vmid, node: _node, ...rest } = params;
  const options = Object.entries(rest)
    .filter(([, value]) => value !== undefined)
    .map(([name, value]) => ` --${name} ${typeof value === 'boolean' ? Number(value) : String(value)}`);
  return `vzdump${vmidsIn(vmid)
    .map((each) => ` ${each}`)
    .join('')}${options.join('')}`;
}

function jobOf({ store, params }: Call): Record<string, unknown> {
  const id = text(params['id']);
  const job = store.backupJobs.get(id);
  if (!job) throw parameterError({ id: `No such job '${id}'` });
  return job;
}

function putJob({ store, params }: Call, id: string, before: Record<string, unknown>): null {
  store.requireQuorum();
  const { delete: _gone, ...given } = params;
  const values = Object.entries(given).map(([name, value]) => [
    name,
    typeof value === 'boolean' ? Number(value) : value,
  ]);
  store.backupJobs.set(id, { enabled: 1, ...before, ...Object.fromEntries(values), id, type: 'vzdump' });
  store.world.touch(store.id);
  return null;
}

const store8 = (store: StoreSim): string =>
  store.world.seed.bytes(`backup-job/${store.id}/${store.backupJobs.size}`).toString('hex').slice(0, 8);

/** Guests that no job is about; what was really backed up does not count here. */
function uncovered(store: StoreSim) {
  const jobs = [...store.backupJobs.values()];
  const covers = (job: Record<string, unknown>, vmid: number): boolean =>
    job['all'] === 1 ? !vmidsIn(job['exclude']).includes(vmid) : vmidsIn(job['vmid']).includes(vmid);
  return [...store.guests.values()]
    .filter(({ vmid }) => !jobs.some((job) => covers(job, vmid)))
    .map(({ vmid, name, kind }) => ({ vmid, name, type: kind }));
}
