import { wrongUsage } from './failure.js';
import { printable } from './text.js';

/** The guest that was named. Throws when it is none of them, and says which there are. */
export function guestOf<Guest extends { vmid: number }>(guests: readonly Guest[], wanted: string): Guest {
  const found = guests.find(({ vmid }) => String(vmid) === wanted);
  if (found) return found;
  throw wrongUsage(
    `No guest ${printable(wanted)} is known there. There are: ${guests.map(({ vmid }) => vmid).join(', ') || 'none'}`,
  );
}
