import type { IncomingHttpHeaders } from 'node:http';
import { createTickets, same } from '../api/tickets.js';
import type { Step } from '../world/fault-table.js';
import type { StoreSim } from '../world/store-sim.js';
import { TOKEN_PRIVILEGES } from '../world/world.js';
import { PveError, permissionError } from './errors.js';

/** Who is asking: a token of the service, or a person with a ticket. */
export interface Caller {
  /** `user@realm` or `user@realm!token`. */
  authId: string;
  isToken: boolean;
  privileges: Record<string, string[]>;
  /** Where the guests of the site are in pools. */
  site?: StoreSim;
}

/** The one person of a practice store, so that outside clients which know only passwords can look around. */
export const PRACTICE_ADMIN = { user: 'auditor@pve', password: 'practice' } as const;
const ADMIN_PRIVILEGES = [
  ...TOKEN_PRIVILEGES,
  'Sys.Syslog',
  'VM.Allocate',
  'VM.Config.Network',
  'Datastore.Allocate',
  'Pool.Audit',
  'SDN.Use',
];

/** What is held on a path; on that of a guest also what is held on its pool. */
export function privilegesOn(caller: Caller, path: string): string[] {
  const own = granted(caller, path);
  const vmid = /^\/vms\/(\d+)$/.exec(path)?.[1];
  const pool = vmid === undefined ? undefined : caller.site?.guests.get(Number(vmid))?.pool;
  return pool === undefined ? own : [...own, ...granted(caller, `/pool/${pool}`)];
}

/** An ACL entry on a path holds below it as well; an entry further down replaces it. */
function granted(caller: Caller, path: string): string[] {
  for (let at = path; ; at = at.slice(0, at.lastIndexOf('/')) || '/') {
    const found = caller.privileges[at];
    if (found) return found;
    if (at === '/') return [];
  }
}

export function requirePrivilege(caller: Caller, path: string, anyOf: readonly string[]): void {
  const held = privilegesOn(caller, path);
  if (!anyOf.some((privilege) => held.includes(privilege))) throw permissionError(`${path}, ${anyOf.join('|')}`);
}

/** Throws the 401 of the real server. A ticket that is sent wins over a token. */
export function authenticate(
  store: StoreSim,
  method: string,
  headers: IncomingHttpHeaders,
  { now, step }: { now: number; step: Step },
): Caller {
  const cookie = /(?:^|;\s*)PVEAuthCookie=([^;]+)/.exec(headers.cookie ?? '')?.[1];
  if (cookie) return byTicket(store, decodeURIComponent(cookie), method, headers, now);
  const token = /^PVEAPIToken[= ](.+)$/.exec(headers.authorization ?? '')?.[1];
  if (token) return byToken(store, decodeURIComponent(token), step);
  throw new PveError(401, 'No ticket');
}

function byToken(store: StoreSim, value: string, step: Step): Caller {
  const { token } = store;
  const split = value.lastIndexOf('=');
  const known = split > 0 && value.slice(0, split) === token.id && same(value.slice(split + 1), token.secret);
  const { faults } = store.world;
  const expired =
    token.expired || faults.bite('token-expired', { store: store.id, step, moment: 'before' }) !== undefined;
  if (!known || expired) throw new PveError(401, 'Authentication failed!');
  return { authId: token.id, isToken: true, privileges: token.privileges, site: store };
}

function byTicket(store: StoreSim, ticket: string, method: string, headers: IncomingHttpHeaders, now: number): Caller {
  const tickets = ticketsOf(store);
  const user = tickets.holder(ticket, now);
  if (user === undefined) throw new PveError(401, 'permission denied - invalid PVE ticket');
  if (method !== 'GET' && !tickets.csrfHolds(user, String(headers['csrfpreventiontoken'] ?? ''))) {
    throw new PveError(401, 'Permission denied - invalid csrf token');
  }
  return { authId: user, isToken: false, privileges: { '/': [...ADMIN_PRIVILEGES] }, site: store };
}

/** `POST /access/ticket`. The password may be a valid ticket, which renews it. */
export function login(store: StoreSim, username: string, password: string, now: number) {
  const tickets = ticketsOf(store);
  const isTicket = tickets.holder(password, now) === username;
  const known = username === PRACTICE_ADMIN.user && (same(password, PRACTICE_ADMIN.password) || isTicket);
  if (!known) throw new PveError(401, 'authentication failure');
  return { ...tickets.issue(username, now), clustername: store.id, cap: {} };
}

/** They hold on all nodes of a store. */
const ticketsOf = ({ id, world }: StoreSim) => createTickets('PVE', world.seed.bytes(`pve-ticket/${id}`));
