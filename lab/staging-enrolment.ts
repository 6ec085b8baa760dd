import { mkdir } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { patienceIn, put, reachOf, writeReach, type Patience } from './enrolment.js';
import { RESTORE } from './world/layout.js';
import { PVE_STORAGE } from './world/pbs/estate.js';
import type { PbsSim } from './world/pbs/pbs-sim.js';
import { READ_TOKEN } from './world/staging.js';
import { keyFileOf } from './world/storage-sim.js';
import type { StoreSim } from './world/store-sim.js';

interface StagingEnrolment {
  namespace: string;
  /** `host:port`: the site stands beside the centre and needs no relay. */
  temporal: string;
  caPem: string;
}

/** How long its worker waits: milliseconds of a real site, and the least real ones. */
const PATIENCE: Patience = {
  poll: { base: 5_000, least: 100 },
  grace: { base: 60_000, least: 3_000 },
  away: { base: 600_000, least: 5_000 },
  restore: { base: 21_600_000, least: 60_000 },
  boot: { base: 600_000, least: 15_000 },
  remove: { base: 600_000, least: 15_000 },
  command: { base: 60_000, least: 10_000 },
};

/**
 * What an installer puts on the host of the staging site's worker. The keys of the stores' backups lie here and, each, at
 * their store: nowhere else. Returns the folder. Writing it again changes nothing.
 */
export async function writeStagingEnrolment(
  site: StoreSim,
  central: PbsSim,
  options: StagingEnrolment,
): Promise<string> {
  const { world } = site;
  const folder = resolve(world.stateDir, `enrolment-${site.id}`);
  const keys = join(folder, 'keys');
  await mkdir(keys, { recursive: true, mode: 0o700 });
  const file = (name: string): string => join(folder, name);
  const encrypted = [...world.stores.values()].filter(
    (store) => store.storages.all.get(PVE_STORAGE)?.config.encryptionKey !== undefined,
  );
  const keyFile = (store: StoreSim): string => join(keys, `${store.id}.json`);
  const secretOf = (id: string): string => central.tokens.find((token) => token.id === id)?.secret ?? '';
  const stateDir = resolve(world.stateDir, 'workers', site.id);
  const { storage, bridge, pool } = RESTORE;
  const staging = {
    temporal: { address: options.temporal, namespace: options.namespace },
    ...reachOf(site, file),
    /** Where restored guests go: nowhere else. */
    place: { storage, bridge, pool },
    copies: {
      node: central.hostname,
      address: central.address,
      port: central.port,
      fingerprint: central.fingerprint,
      datastore: [...central.datastores.keys()][0],
      readTokenFile: file('pbs-read-token'),
    },
    /** By store, which is the namespace of its copy as well; of those that encrypt. */
    encryptionKeyFiles: Object.fromEntries(encrypted.map((store) => [store.id, keyFile(store)])),
    stateDir,
    timing: patienceIn(PATIENCE, world.timing),
  };
  await mkdir(stateDir, { recursive: true, mode: 0o700 });
  await Promise.all([
    writeReach(site, options.caPem, file),
    put(file('pbs-read-token'), `${READ_TOKEN}:${secretOf(READ_TOKEN)}\n`),
    ...encrypted.map((store) => put(keyFile(store), `${keyFileOf(store)}\n`)),
  ]);
  // Last, and at once: whoever sees this file finds all that it names.
  await put(file('staging.json'), `${JSON.stringify(staging, undefined, 2)}\n`);
  return folder;
}
