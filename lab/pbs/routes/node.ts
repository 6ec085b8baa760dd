import { createHash } from 'node:crypto';
import { ROLES, userOf } from '../../world/pbs/access.js';
import type { PbsSim } from '../../world/pbs/pbs-sim.js';
import { login } from '../access.js';
import { text, words, type Call, type Route } from '../route.js';

const VERSION = { version: '4.2', release: '1', repoid: '0123456789abcdef' };
const GIB = 1024 ** 3;
/** Paths that a dump of permissions tells apart from the root. */
const ACL_PATHS = ['/', '/access', '/datastore', '/remote', '/system'];

export const nodeRoutes: Route[] = [
  { method: 'GET', path: '/ping', world: true, run: () => ({ pong: true }) },
  { method: 'GET', path: '/version', run: () => VERSION },
  { method: 'GET', path: '/nodes', run: () => [{ node: 'localhost' }] },
  {
    method: 'POST',
    path: '/access/ticket',
    world: true,
    run: ({ pbs, params }) => login(pbs, text(params['username']), text(params['password'] ?? ''), Date.now()),
  },
  {
    method: 'GET',
    path: '/access/permissions',
    run: permissions,
  },
  {
    method: 'GET',
    path: '/access/roles',
    run: () => Object.entries(ROLES).map(([roleid, privs]) => ({ roleid, privs })),
  },
  {
    method: 'GET',
    path: '/access/acl',
    permission: { path: '/access/acl', anyOf: ['Sys.Audit', 'Permissions.Modify'] },
    run: ({ pbs, params }) =>
      pbs.acl
        .filter(({ path }) => params['path'] === undefined || path === params['path'])
        .map(({ path, authId, role, propagate }) => ({
          path,
          propagate,
          roleid: role,
          ugid: authId,
          ugid_type: 'user',
        })),
  },
  {
    method: 'GET',
    path: '/nodes/{node}/identity',
    run: ({ pbs }) => ({ 'pbs-instance-id': createHash('sha256').update(pbs.hostname).digest('hex').slice(0, 32) }),
  },
  {
    method: 'GET',
    path: '/nodes/{node}/status',
    permission: { path: '/system/status', anyOf: ['Sys.Audit'] },
    run: ({ pbs }) => statusOf(pbs),
  },
];

/** Of the caller; of another only with a privilege. */
function permissions({ pbs, caller, params }: Call) {
  const wished = words(params['auth-id']) ?? caller.authId;
  const mayAsk = wished === caller.authId || userOf(wished) === caller.authId;
  const authId = mayAsk || pbs.privileges(caller.authId, '/access').includes('Sys.Audit') ? wished : caller.authId;
  const own = pbs.acl.filter((entry) => entry.authId === authId).map(({ path }) => path);
  const paths = params['path'] === undefined ? [...new Set([...ACL_PATHS, ...own])].sort() : [text(params['path'])];
  const rows = paths.map((path): [string, Record<string, boolean>] => [
    path,
    Object.fromEntries(pbs.privileges(authId, path).map((privilege) => [privilege, true])),
  ]);
  return Object.fromEntries(rows.filter(([, held]) => Object.keys(held).length > 0));
}

function statusOf(pbs: PbsSim) {
  return {
    uptime: Math.floor((Date.now() - pbs.bootedAt) / 1_000),
    cpu: 0.02,
    wait: 0.001,
    loadavg: [0.12, 0.1, 0.09],
    memory: { total: 16 * GIB, used: 3 * GIB, free: 13 * GIB },
    swap: { total: 4 * GIB, used: 0, free: 4 * GIB },
    root: { total: 60 * GIB, used: 9 * GIB, avail: 51 * GIB },
    cpuinfo: { model: 'Practice CPU', cpus: 8, sockets: 1 },
    kversion: 'Linux 6.14.11-3-pve #1 SMP PREEMPT_DYNAMIC practice',
    'current-kernel': {
      sysname: 'Linux',
      release: '6.14.11-3-pve',
      version: '#1 SMP PREEMPT_DYNAMIC practice',
      machine: 'x86_64',
    },
    'boot-info': { mode: 'efi', secureboot: false },
    info: { fingerprint: pbs.fingerprint ?? '' },
  };
}
