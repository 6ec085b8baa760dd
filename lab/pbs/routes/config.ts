import { createHash } from 'node:crypto';
import { permissionDenied, PbsError, type DatastoreConfig } from '../../world/pbs/datastore.js';
import type { PbsSim } from '../../world/pbs/pbs-sim.js';
import type { Params } from '../params.js';
import { heldOn, text, With, words, type Call, type Route } from '../route.js';

/** Configuration: jobs, remotes, object stores, datastores. One way to read, make, change and remove for all. */
interface Section {
  path: string;
  /** Name of the key in paths and rows. */
  key: 'id' | 'name';
  /** As in `no such … 'x'`. */
  what: string;
  /** Of the part of the state: `verify-job`. */
  part: string;
  /** Never shown. */
  secrets: readonly string[];
  map: (pbs: PbsSim) => Map<string, unknown>;
  mayRead: (call: Call, entry: Entry) => boolean;
  mayWrite: (call: Call, entry: Entry) => boolean;
}

type Entry = Record<string, unknown>;

const onStore =
  (...anyOf: string[]) =>
  (call: Call, entry: Entry): boolean =>
    heldOn(call, String(entry['store']), String(entry['ns'] ?? '')).some((each) => anyOf.includes(each));
const onPath =
  (path: (entry: Entry) => string, privilege: string) =>
  ({ pbs, caller }: Call, entry: Entry): boolean =>
    pbs.privileges(caller.authId, path(entry)).includes(privilege);
const remotePath = (entry: Entry): string => `/remote/${String(entry['name'])}`;
/** Where a job pushes to, as privileges are given on it. */
const targetOf = ({ remote, 'remote-store': store, 'remote-ns': ns }: Entry): string =>
  ['/remote', remote, store, ns].filter((part) => part !== undefined && part !== '').join('/');
const s3Path = (): string => '/system/s3-endpoint';

const SECTIONS: Section[] = [
  {
    path: '/config/verify',
    key: 'id',
    what: 'verification job',
    part: 'verify-job',
    secrets: [],
    map: (pbs) => pbs.verifyJobs,
    mayRead: onStore('Datastore.Audit', 'Datastore.Verify'),
    mayWrite: onStore('Datastore.Verify'),
  },
  {
    path: '/config/prune',
    key: 'id',
    what: 'prune job',
    part: 'prune-job',
    secrets: [],
    map: (pbs) => pbs.pruneJobs,
    mayRead: onStore('Datastore.Audit'),
    mayWrite: onStore('Datastore.Modify'),
  },
  {
    path: '/config/sync',
    key: 'id',
    what: 'sync job',
    part: 'sync-job',
    secrets: [],
    map: (pbs) => pbs.syncJobs,
    mayRead: onStore('Datastore.Audit'),
    mayWrite: (call, entry) =>
      entry['sync-direction'] === 'push'
        ? onStore('Datastore.Read')(call, entry) && onPath(targetOf, 'Remote.DatastoreBackup')(call, entry)
        : onStore('Datastore.Backup')(call, entry),
  },
  {
    path: '/config/remote',
    key: 'name',
    what: 'remote',
    part: 'remote',
    secrets: ['password'],
    map: (pbs) => pbs.remotes,
    mayRead: onPath(remotePath, 'Remote.Audit'),
    mayWrite: onPath(remotePath, 'Remote.Modify'),
  },
  {
    path: '/config/s3',
    key: 'id',
    what: 's3 endpoint',
    part: 's3',
    secrets: ['secret-key'],
    map: (pbs) => pbs.s3,
    mayRead: onPath(s3Path, 'Sys.Audit'),
    mayWrite: onPath(s3Path, 'Sys.Modify'),
  },
];

function routesOf(section: Section): Route[] {
  const { path, key } = section;
  const one = `${path}/{${key}}`;
  const list = (call: Call): Entry[] =>
    [...section.map(call.pbs).values()]
      .map((entry) => entry as Entry)
      .filter((entry) => section.mayRead(call, entry) && isListed(call, section, entry));
  return [
    {
      method: 'GET',
      path,
      run: (call) =>
        new With(
          list(call).map((entry) => shown(section, entry)),
          { digest: digestOf(call, section) },
        ),
    },
    {
      method: 'GET',
      path: one,
      run: (call) => {
        const entry = find(call, section);
        if (!section.mayRead(call, entry)) throw permissionDenied();
        return new With(shown(section, entry), { digest: digestOf(call, section) });
      },
    },
    {
      method: 'POST',
      path,
      run: (call) => {
        const entry = given(call.params);
        if (!section.mayWrite(call, entry)) throw permissionDenied();
        const id = String(entry[key]);
        if (section.map(call.pbs).has(id)) throw new PbsError(`${section.what} '${id}' already exists.`);
        return put(call, section, id, entry);
      },
    },
    {
      method: 'PUT',
      path: one,
      run: (call) => {
        const entry = find(call, section);
        if (!section.mayWrite(call, entry)) throw permissionDenied();
        requireDigest(call, section);
        return put(call, section, String(entry[key]), changed(entry, call.params));
      },
    },
    {
      method: 'DELETE',
      path: one,
      run: (call) => {
        const entry = find(call, section);
        if (!section.mayWrite(call, entry)) throw permissionDenied();
        requireDigest(call, section);
        call.pbs.forget(`${section.part} ${String(entry[key])}`);
        return null;
      },
    },
  ];
}

/** Of sync jobs only those that pull, unless it is said. */
function isListed({ params }: Call, { part }: Section, entry: Entry): boolean {
  const wanted = words(params['sync-direction']) ?? 'pull';
  return part !== 'sync-job' || wanted === 'all' || (entry['sync-direction'] ?? 'pull') === wanted;
}

function put({ pbs }: Call, section: Section, id: string, entry: Entry): null {
  section.map(pbs).set(id, entry);
  pbs.touch(`${section.part} ${id}`);
  return null;
}

function find(call: Call, section: Section): Entry {
  const id = text(call.params[section.key]);
  const entry = section.map(call.pbs).get(id);
  if (entry === undefined) throw new PbsError(`no such ${section.what} '${id}'`);
  return entry as Entry;
}

const given = (params: Params): Entry =>
  Object.fromEntries(Object.entries(params).filter(([name, value]) => value !== undefined && name !== 'digest'));

function changed(entry: Entry, { delete: gone, ...rest }: Params): Entry {
  const next = { ...entry, ...given(rest) };
  for (const name of (gone as string[] | undefined) ?? []) delete next[name];
  return next;
}

const shown = ({ secrets }: Section, entry: Entry): Entry =>
  Object.fromEntries(Object.entries(entry).filter(([name]) => !secrets.includes(name)));

const sha256 = (value: unknown): string => createHash('sha256').update(JSON.stringify(value)).digest('hex');
const digestOf = ({ pbs }: Call, section: Section): string => sha256([...section.map(pbs)]);

function requireDigest(call: Call, section: Section): void {
  const wanted = words(call.params['digest']);
  if (wanted === undefined || wanted === digestOf(call, section)) return;
  throw new PbsError('detected modified configuration - file changed by other user? Try again.');
}

// Datastores

const MAINTENANCE = /^(type=)?(read-only|offline|delete|unmount|s3-refresh)(,message=("[^"]*"|[^,]*))?$/;

function requireMode(params: Params): void {
  const mode = words(params['maintenance-mode']);
  if (mode === undefined || MAINTENANCE.test(mode)) return;
  throw new PbsError("parameter verification failed - 'maintenance-mode': value is not defined in the enumeration.");
}

const datastoreConfigRoutes: Route[] = [
  {
    method: 'GET',
    path: '/config/datastore',
    run: (call) =>
      new With(
        [...call.pbs.datastores.values()]
          .filter(({ name }) => heldOn(call, name).includes('Datastore.Audit'))
          .map(({ config }) => config),
        { digest: digestOfDatastores(call) },
      ),
  },
  {
    method: 'GET',
    path: '/config/datastore/{name}',
    permission: { path: '/datastore/{name}', anyOf: ['Datastore.Audit'] },
    run: (call) => new With(call.pbs.datastore(text(call.params['name'])).config, { digest: digestOfDatastores(call) }),
  },
  {
    method: 'POST',
    path: '/config/datastore',
    permission: { path: '/datastore', anyOf: ['Datastore.Allocate'] },
    run: createDatastore,
  },
  {
    method: 'PUT',
    path: '/config/datastore/{name}',
    permission: { path: '/datastore/{name}', anyOf: ['Datastore.Modify'] },
    run: (call) => {
      const datastore = call.pbs.datastore(text(call.params['name']));
      const { digest, ...params } = call.params;
      if (digest !== undefined && digest !== digestOfDatastores(call)) {
        throw new PbsError('detected modified configuration - file changed by other user? Try again.');
      }
      requireMode(params);
      datastore.config = changed({ ...datastore.config }, params) as unknown as DatastoreConfig;
      datastore.touchSettings();
      return null;
    },
  },
];

function createDatastore(call: Call): string {
  const { 'reuse-datastore': _reuse, 'overwrite-in-use': _overwrite, ...params } = call.params;
  const config = given(params) as unknown as DatastoreConfig;
  if (call.pbs.datastores.has(config.name)) throw new PbsError(`datastore '${config.name}' already exists.`);
  const client = /client=([^,]+)/.exec(config.backend ?? '')?.[1];
  if (client !== undefined && !call.pbs.s3.has(client)) throw new PbsError(`no such s3 endpoint '${client}'`);
  requireMode(params);
  return call.pbs.tasks.start({
    type: 'create-datastore',
    id: config.name,
    user: call.caller.authId,
    durationMs: call.pbs.timing.of('pruneDatastore'),
    run: () => call.pbs.addDatastore(config).touchSettings(),
  }).upid;
}

const digestOfDatastores = ({ pbs }: Call): string => sha256([...pbs.datastores.values()].map(({ config }) => config));

export const configRoutes: Route[] = [...SECTIONS.flatMap(routesOf), ...datastoreConfigRoutes];
