import { createHmac, timingSafeEqual } from 'node:crypto';

/** What people log in with, made alike by both products. It holds after a restart of the lab. */
export interface Tickets {
  issue(user: string, now: number): { username: string; ticket: string; CSRFPreventionToken: string };
  /** Whom it was issued to, when it is genuine and in its time. */
  holder(ticket: string, now: number): string | undefined;
  /** A call that changes something bears this beside the ticket. */
  csrfHolds(user: string, token: string): boolean;
}

const LIFE_SECONDS = 7_200;
/** A clock that runs behind by so much is forgiven. */
const SKEW_SECONDS = 300;

export function createTickets(product: 'PVE' | 'PBS', key: Buffer): Tickets {
  const form = new RegExp(`^${product}:([^:]+):([0-9A-F]{8})::(.+)$`);
  const sign = (text: string): string => createHmac('sha256', key).update(text).digest('base64');
  const csrfToken = (user: string, stamp: string): string => `${stamp}:${sign(`csrf:${user}:${stamp}`)}`;
  return {
    issue(user, now) {
      const stamp = seconds(now).toString(16).toUpperCase().padStart(8, '0');
      const text = `${product}:${user}:${stamp}`;
      return { username: user, ticket: `${text}::${sign(text)}`, CSRFPreventionToken: csrfToken(user, stamp) };
    },
    holder(ticket, now) {
      const [, user = '', stamp = '', signature = ''] = form.exec(ticket) ?? [];
      const age = seconds(now) - parseInt(stamp || '0', 16);
      const isInTime = age < LIFE_SECONDS && age >= -SKEW_SECONDS;
      return same(signature, sign(`${product}:${user}:${stamp}`)) && isInTime ? user : undefined;
    },
    csrfHolds: (user, token) => same(token, csrfToken(user, token.split(':')[0] ?? '')),
  };
}

const seconds = (ms: number): number => Math.floor(ms / 1_000);

/** Takes the same time wherever they differ. */
export function same(left: string, right: string): boolean {
  const [a, b] = [Buffer.from(left), Buffer.from(right)];
  return a.length === b.length && timingSafeEqual(a, b);
}
