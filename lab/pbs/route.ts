import type { Step } from '../world/fault-table.js';
import { datastorePath, owns } from '../world/pbs/access.js';
import { permissionDenied, PbsError, type Datastore, type Group } from '../world/pbs/datastore.js';
import type { PbsSim } from '../world/pbs/pbs-sim.js';
import type { Params } from './params.js';

/** Who is asking: a token, or a person with a ticket. */
export interface Caller {
  /** `user@realm` or `user@realm!token`. */
  authId: string;
}

export interface Call {
  pbs: PbsSim;
  caller: Caller;
  params: Params;
}

/** What stands beside `data` in an answer. */
export class With {
  readonly data: unknown;
  readonly beside: Record<string, unknown>;
  constructor(data: unknown, beside: Record<string, unknown>) {
    this.data = data;
    this.beside = beside;
  }
}

export interface Route {
  method: 'GET' | 'POST' | 'PUT' | 'DELETE';
  path: string;
  /** Any of the privileges on the path, whose variables are filled in. Absent: the handler looks itself, or filters. */
  permission?: { path: string; anyOf: readonly string[] };
  /** Answered without any credentials. */
  world?: true;
  /** What faults are aimed at; absent for reads. */
  step?: Step;
  /** The store that it is about, when that is another than the server's own; by the variables of the path. */
  about?: (pbs: PbsSim, fromUri: Record<string, string>) => string;
  run: (call: Call) => unknown;
}

export const text = (value: Params[string]): string => String(value);
export const words = (value: Params[string]): string | undefined => (value === undefined ? undefined : String(value));
export const number = (value: Params[string]): number | undefined => (value === undefined ? undefined : Number(value));
export const nsOf = ({ params }: Call): string => words(params['ns']) ?? '';

/** The privileges that the caller has on a datastore, or on one of its namespaces. */
export const heldOn = ({ pbs, caller }: Call, store: string, ns = ''): string[] =>
  pbs.privileges(caller.authId, datastorePath(store, ns));

/**
 * The datastore in the path. `full` reaches every group, `own` those of the caller alone: then `limitedTo` says who that
 * is. Without either the call is refused, before it is told whether there is such a datastore.
 */
export function datastoreOf(
  call: Call,
  full: readonly string[],
  own: readonly string[] = [],
): { datastore: Datastore; limitedTo: string | undefined } {
  const store = text(call.params['store']);
  const held = heldOn(call, store, nsOf(call));
  const sees = full.some((privilege) => held.includes(privilege));
  if (!sees && !own.some((privilege) => held.includes(privilege))) throw permissionDenied();
  return { datastore: call.pbs.datastore(store), limitedTo: sees ? undefined : call.caller.authId };
}

export function requireOwner(group: Group, limitedTo: string | undefined): Group {
  if (limitedTo === undefined || owns(limitedTo, group.owner)) return group;
  throw new PbsError(`backup owner check failed (${limitedTo} != ${group.owner})`);
}
