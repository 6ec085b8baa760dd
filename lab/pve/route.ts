import type { GuestSim } from '../world/guest-sim.js';
import type { Step } from '../world/fault-table.js';
import type { NodeSim } from '../world/node-sim.js';
import type { Actor, StoreSim } from '../world/store-sim.js';
import type { Caller } from './access.js';
import type { ParamSpecs, Params } from './params.js';

export interface Call {
  store: StoreSim;
  /** The node that carries the call out: the one in the path, else the one that was asked. */
  node: NodeSim;
  caller: Caller;
  actor: Actor;
  params: Params;
}

/** What a handler returns beside its data. */
export class WithTotal {
  readonly data: unknown;
  readonly total: number;
  constructor(data: unknown, total: number) {
    this.data = data;
    this.total = total;
  }
}

export interface Route {
  method: 'GET' | 'POST' | 'PUT' | 'DELETE';
  /** With `{name}` for the variable pieces; `{node}` also says which node carries it out. */
  path: string;
  params?: ParamSpecs;
  /** Any of the privileges on the path, whose variables are filled in. Absent: every known caller may. */
  permission?: { path: string; anyOf: readonly string[] };
  /** Nobody but root@pam with a ticket may. */
  rootOnly?: true;
  /** Answered without any credentials. */
  world?: true;
  /** Not with a token. */
  noToken?: true;
  /** What faults are aimed at; absent for reads. */
  step?: Step;
  run: (call: Call) => unknown;
}

/** Perl's way to say yes and no. */
export const flag = (value: boolean): 0 | 1 => (value ? 1 : 0);
export const text = (value: Params[string]): string => String(value);
export const seconds = (ms: number): number => Math.floor(ms / 1_000);

/** The guest in the path, when its config lies on the node in the path; else the error of the real server. */
export function guestOf({ store, node, params }: Call, kind: 'qemu' | 'lxc'): GuestSim {
  return store.guestOn(node.name, kind, Number(params['vmid']));
}
