import type { KeepOptions } from './keep.js';

/** Jobs and what they need, as the configuration of the real server has them. Schedules are kept and not followed. */
export interface VerifyJob {
  id: string;
  store: string;
  ns?: string | undefined;
  schedule?: string | undefined;
  comment?: string | undefined;
  'ignore-verified'?: boolean | undefined;
  'outdated-after'?: number | undefined;
  'max-depth'?: number | undefined;
  'read-threads'?: number | undefined;
  'verify-threads'?: number | undefined;
}

export interface PruneJob extends KeepOptions {
  id: string;
  store: string;
  schedule: string;
  ns?: string | undefined;
  comment?: string | undefined;
  disable?: boolean | undefined;
  'max-depth'?: number | undefined;
}

export interface SyncJob {
  id: string;
  store: string;
  ns?: string | undefined;
  /** Absent: from another datastore of the same server. */
  remote?: string | undefined;
  'remote-store': string;
  'remote-ns'?: string | undefined;
  'sync-direction'?: string | undefined;
  owner?: string | undefined;
  schedule?: string | undefined;
  comment?: string | undefined;
  'group-filter'?: string[] | undefined;
  'remove-vanished'?: boolean | undefined;
  'max-depth'?: number | undefined;
  'transfer-last'?: number | undefined;
  'resync-corrupt'?: boolean | undefined;
  'verified-only'?: boolean | undefined;
  'encrypted-only'?: boolean | undefined;
  'rate-in'?: string | undefined;
  'rate-out'?: string | undefined;
  'burst-in'?: string | undefined;
  'burst-out'?: string | undefined;
  'run-on-mount'?: boolean | undefined;
}

export interface Remote {
  name: string;
  host: string;
  port?: number | undefined;
  'auth-id': string;
  password: string;
  fingerprint?: string | undefined;
  comment?: string | undefined;
}

/** Settings of an object store. The practice fleet keeps them and speaks to no object store. */
export interface S3Client {
  id: string;
  endpoint: string;
  'access-key': string;
  'secret-key': string;
  port?: number | undefined;
  region?: string | undefined;
  fingerprint?: string | undefined;
  'path-style'?: boolean | undefined;
  'put-rate-limit'?: number | undefined;
  'provider-quirks'?: string[] | undefined;
}
