import type { SitePlace } from '#domain/restore-site.js';
import type { PbsClient } from '#systems/pbs/types.js';
import type { ProxmoxRestoreClient } from '#systems/proxmox/types.js';
import type { SiteState } from '#systems/site-state/types.js';
import type { CommandRunner } from '#systems/ssh/types.js';

/** What the worker of the staging site works with. */
export interface RestoreDeps {
  proxmox: ProxmoxRestoreClient;
  /** SSH to its nodes, by name. */
  nodes: ReadonlyMap<string, CommandRunner>;
  place: SitePlace;
  /** The central backup server; each store has the namespace of its id there. */
  copies: {
    /** Host name, as its task ids have it. */
    node: string;
    /** Reads, and can do nothing else. */
    client: PbsClient;
    /** How the nodes of the site reach it, with the same token. */
    server: string;
    port: number;
    fingerprint: string;
    datastore: string;
    username: string;
    password: string;
  };
  /** Content of the key file of a store; undefined when the site has none. */
  keyOf: (store: string) => Promise<string | undefined>;
  state: SiteState;
  timing: RestoreTiming;
  now: () => Date;
}

/** Milliseconds. */
export interface RestoreTiming {
  /** Between two looks while waiting. */
  poll: number;
  /** What was asked for, and whose answer was lost, may come about so much later. */
  grace: number;
  /** A node that does not answer for so long is not waited for. */
  away: number;
  /** One restore, from the first request. */
  restore: number;
  /** From the start of a guest to the answer of its agent. */
  boot: number;
  /** To stop and destroy a guest. */
  remove: number;
  /** One command in a guest. */
  command: number;
}
