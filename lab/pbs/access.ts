import { createHmac, timingSafeEqual } from 'node:crypto';
import type { IncomingHttpHeaders } from 'node:http';
import type { Step } from '../world/fault-table.js';
import { userOf } from '../world/pbs/access.js';
import { AUDITOR } from '../world/pbs/estate.js';
import { PbsError } from '../world/pbs/datastore.js';
import type { PbsSim } from '../world/pbs/pbs-sim.js';
import type { Caller } from './route.js';

/** The one person of a practice server, so that outside clients which know only passwords can look around. */
export const PRACTICE_AUDITOR = { user: AUDITOR, password: 'practice' } as const;
const TICKET_LIFE_SECONDS = 7_200;
const TICKET_SKEW_SECONDS = 300;

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
  const [, user = '', stamp = '', signature = ''] = /^PBS:([^:]+):([0-9A-F]{8})::(.+)$/.exec(ticket) ?? [];
  const age = Math.floor(now / 1_000) - parseInt(stamp || '0', 16);
  const isFresh = age < TICKET_LIFE_SECONDS && age >= -TICKET_SKEW_SECONDS;
  if (!same(signature, sign(pbs, `PBS:${user}:${stamp}`)) || !isFresh) throw refused();
  const csrf = String(headers['csrfpreventiontoken'] ?? '');
  if (method !== 'GET' && !same(csrf, csrfToken(pbs, user, csrf.split(':')[0] ?? ''))) throw refused();
  return { authId: user };
}

/** `POST /access/ticket`. The password may be a valid ticket, which renews it. */
export function login(pbs: PbsSim, username: string, password: string, now: number) {
  const isKnown = username === PRACTICE_AUDITOR.user && (same(password, PRACTICE_AUDITOR.password) || renews());
  if (!isKnown) throw refused();
  const stamp = Math.floor(now / 1_000)
    .toString(16)
    .toUpperCase()
    .padStart(8, '0');
  return {
    username,
    ticket: `PBS:${username}:${stamp}::${sign(pbs, `PBS:${username}:${stamp}`)}`,
    CSRFPreventionToken: csrfToken(pbs, username, stamp),
  };

  function renews(): boolean {
    try {
      return byTicket(pbs, password, 'GET', {}, now).authId === username;
    } catch {
      return false;
    }
  }
}

/** Whoever asks may see it when it is his own, or with the privilege. */
export const mayReadTask = (pbs: PbsSim, { authId }: Caller, user: string): boolean =>
  user === authId ||
  (!authId.includes('!') && userOf(user) === authId) ||
  pbs.privileges(authId, '/system/tasks').includes('Sys.Audit');

function sign(pbs: PbsSim, text: string): string {
  const key = pbs.world.seed.bytes(`pbs-ticket/${pbs.id}`);
  return createHmac('sha256', key).update(text).digest('base64');
}

const csrfToken = (pbs: PbsSim, user: string, stamp: string): string =>
  `${stamp}:${sign(pbs, `csrf:${user}:${stamp}`)}`;

function same(left: string, right: string): boolean {
  const [a, b] = [Buffer.from(left), Buffer.from(right)];
  return a.length === b.length && timingSafeEqual(a, b);
}
