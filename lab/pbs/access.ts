import type { IncomingHttpHeaders } from 'node:http';
import { createTickets, same } from '../api/tickets.js';
import type { Step } from '../world/fault-table.js';
import { userOf } from '../world/pbs/access.js';
import { AUDITOR } from '../world/pbs/estate.js';
import { PbsError } from '../world/pbs/datastore.js';
import type { PbsSim } from '../world/pbs/pbs-sim.js';
import type { Caller } from './route.js';

/** The one person of a practice server, so that outside clients which know only passwords can look around. */
export const PRACTICE_AUDITOR = { user: AUDITOR, password: 'practice' } as const;

const refused = (): PbsError => new PbsError('authentication failed', 401);

/** Throws the 401 of the real server. */
export function authenticate(
  pbs: PbsSim,
  method: string,
  headers: IncomingHttpHeaders,
  { now, step, about }: { now: number; step: Step; about: string | undefined },
): Caller {
  const cookie = /(?:^|;\s*)(?:__Host-)?PBSAuthCookie=([^;]+)/.exec(headers.cookie ?? '')?.[1];
  if (cookie) return byTicket(pbs, decode(cookie), method, headers, now);
  const token = /^PBSAPIToken[= ](.+)$/.exec(headers.authorization ?? '')?.[1];
  // The secret stands after a colon; an equals sign, as Proxmox VE has it, makes no token of it.
  const [id, secret] = split(token ?? '');
  if (id === undefined || secret === undefined) throw refused();
  const known = pbs.login(id, decode(secret));
  if (pbs.bites('token-expired', step, 'before', about)) throw refused();
  return { authId: known.id };
}

function split(token: string): [string?, string?] {
  const at = token.indexOf(':');
  return at < 0 ? [] : [token.slice(0, at), token.slice(at + 1)];
}

function decode(value: string): string {
  try {
    return decodeURIComponent(value);
  } catch {
    throw refused();
  }
}

function byTicket(pbs: PbsSim, ticket: string, method: string, headers: IncomingHttpHeaders, now: number): Caller {
  const tickets = ticketsOf(pbs);
  const user = tickets.holder(ticket, now);
  if (user === undefined) throw refused();
  if (method !== 'GET' && !tickets.csrfHolds(user, String(headers['csrfpreventiontoken'] ?? ''))) throw refused();
  return { authId: user };
}

/** `POST /access/ticket`. The password may be a valid ticket, which renews it. */
export function login(pbs: PbsSim, username: string, password: string, now: number) {
  const tickets = ticketsOf(pbs);
  const isTicket = tickets.holder(password, now) === username;
  const isKnown = username === PRACTICE_AUDITOR.user && (same(password, PRACTICE_AUDITOR.password) || isTicket);
  if (!isKnown) throw refused();
  return tickets.issue(username, now);
}

const ticketsOf = ({ id, world }: PbsSim) => createTickets('PBS', world.seed.bytes(`pbs-ticket/${id}`));

/** Whoever asks may see it when it is his own, or with the privilege. */
export const mayReadTask = (pbs: PbsSim, { authId }: Caller, user: string): boolean =>
  user === authId ||
  (!authId.includes('!') && userOf(user) === authId) ||
  pbs.privileges(authId, '/system/tasks').includes('Sys.Audit');
