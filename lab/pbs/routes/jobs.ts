import type { LastRun } from '../../world/pbs/pbs-sim.js';
import { permissionDenied, PbsError } from '../../world/pbs/datastore.js';
import type { PruneJob, SyncJob, VerifyJob } from '../../world/pbs/jobs.js';
import type { Order, SyncOrder } from '../../world/pbs/work.js';
import { KEEP_OPTIONS, type KeepOptions } from '../../world/pbs/keep.js';
import { heldOn, text, words, type Call, type Route } from '../route.js';

/** The state of jobs, and their running by hand; schedules are kept and not followed. */
const MAX_DEPTH = 7;

export const jobRoutes: Route[] = [
  {
    method: 'GET',
    path: '/admin/verify',
    run: (call) => rows(call, 'verify', [...call.pbs.verifyJobs.values()], ['Datastore.Audit', 'Datastore.Verify']),
  },
  {
    method: 'GET',
    path: '/admin/prune',
    run: (call) => rows(call, 'prune', [...call.pbs.pruneJobs.values()], ['Datastore.Audit', 'Datastore.Modify']),
  },
  {
    method: 'GET',
    path: '/admin/sync',
    run: (call) => {
      // Without the word only what is pulled.
      const wanted = words(call.params['sync-direction']) ?? 'pull';
      const jobs = [...call.pbs.syncJobs.values()].filter(
        (job) => wanted === 'all' || (job['sync-direction'] ?? 'pull') === wanted,
      );
      return rows(call, 'sync', jobs, ['Datastore.Audit']);
    },
  },
  {
    method: 'POST',
    path: '/admin/verify/{id}/run',
    step: 'snapshot.verify',
    run: (call) => {
      const job = find(call, call.pbs.verifyJobs, 'verification');
      return start(call, ['Datastore.Verify'], job, {
        kind: 'verify',
        job: job.id,
        store: job.store,
        ns: job.ns ?? '',
        maxDepth: job['max-depth'] ?? MAX_DEPTH,
        ignoreVerified: job['ignore-verified'] ?? true,
        outdatedAfter: job['outdated-after'],
      });
    },
  },
  {
    method: 'POST',
    path: '/admin/prune/{id}/run',
    step: 'datastore.prune',
    run: (call) => {
      const job = find(call, call.pbs.pruneJobs, 'prune');
      const keep = Object.fromEntries(KEEP_OPTIONS.map((name) => [name, job[name]])) as KeepOptions;
      return start(call, ['Datastore.Modify'], job, {
        kind: 'prune',
        job: job.id,
        store: job.store,
        ns: job.ns ?? '',
        maxDepth: job['max-depth'] ?? MAX_DEPTH,
        keep,
        dryRun: false,
      });
    },
  },
  {
    method: 'POST',
    path: '/admin/sync/{id}/run',
    step: 'datastore.sync',
    about: (pbs, { id = '' }) => pbs.storeBehind(pbs.syncJobs.get(id)?.remote),
    run: (call) => {
      const job = find(call, call.pbs.syncJobs, 'sync');
      const isPush = job['sync-direction'] === 'push';
      const place = [job.remote, ...(isPush ? [job['remote-store'], job['remote-ns'] ?? ''] : [])];
      const path = `/remote/${place.filter((part) => part !== '').join('/')}`;
      const held = job.remote === undefined ? undefined : call.pbs.privileges(call.caller.authId, path);
      if (held && !held.includes(isPush ? 'Remote.DatastoreBackup' : 'Remote.Read')) throw permissionDenied();
      return start(call, [isPush ? 'Datastore.Read' : 'Datastore.Backup'], job, syncOrder(job));
    },
  },
];

type Job = VerifyJob | PruneJob | SyncJob;

function start(call: Call, anyOf: readonly string[], job: Job, order: Order): string {
  const held = heldOn(call, job.store, job.ns);
  if (!anyOf.some((each) => held.includes(each))) throw permissionDenied();
  const onlyReads = order.kind === 'verify' || (order.kind === 'sync' && order.direction === 'push');
  call.pbs.datastore(job.store).require(onlyReads ? 'read' : 'write');
  return call.pbs.start(order, call.caller.authId).upid;
}

function find<J>({ pbs, params }: Call, jobs: ReadonlyMap<string, J>, what: string): J {
  const id = text(params['id']);
  const job = jobs.get(id);
  if (!job) throw new PbsError(`no such ${what} job '${id}' on ${pbs.hostname}`);
  return job;
}

function rows(call: Call, kind: Order['kind'], jobs: readonly Job[], anyOf: readonly string[]) {
  return jobs
    .filter((job) => call.params['store'] === undefined || job.store === call.params['store'])
    .filter((job) => heldOn(call, job.store, job.ns).some((each) => anyOf.includes(each)))
    .map((job) => ({ ...job, ...lastRun(call.pbs.runs.get(`${kind} ${job.id}`)) }));
}

const lastRun = (run: LastRun | undefined) => ({
  ...(run === undefined ? {} : { 'last-run-upid': run.upid }),
  ...(run?.state === undefined ? {} : { 'last-run-state': run.state }),
  ...(run?.endtime === undefined ? {} : { 'last-run-endtime': run.endtime }),
});

const syncOrder = (job: SyncJob): SyncOrder => ({
  kind: 'sync',
  direction: job['sync-direction'] === 'push' ? 'push' : 'pull',
  job: job.id,
  store: job.store,
  ns: job.ns ?? '',
  remote: job.remote,
  remoteStore: job['remote-store'],
  remoteNs: job['remote-ns'] ?? '',
  owner: job.owner ?? 'root@pam',
  maxDepth: job['max-depth'] ?? MAX_DEPTH,
  groupFilter: job['group-filter'] ?? [],
  removeVanished: job['remove-vanished'] ?? false,
  transferLast: job['transfer-last'],
  verifiedOnly: job['verified-only'] ?? false,
  encryptedOnly: job['encrypted-only'] ?? false,
  resyncCorrupt: job['resync-corrupt'] ?? false,
});
