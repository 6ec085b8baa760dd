import { mkdirSync, readFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { parse } from 'yaml';
import { watchPermits } from './check/permits.js';
import { openRegistry } from './check/registry.js';
import { startControl, type Control } from './control/server.js';
import { parseFaults } from './control/schemas.js';
import { snapshotOf, type StoreSnapshot } from './control/snapshot.js';
import { writeCentralEnrolment, writeEnrolment } from './enrolment.js';
import { writeStagingEnrolment } from './staging-enrolment.js';
import { startGuestServers } from './guests/server.js';
import { startPbsServers } from './pbs/server.js';
import { startPveServers } from './pve/server.js';
import { startRelays } from './relay/relay.js';
import { resumeUnits } from './ssh/programs/systemd.js';
import { startSshServers } from './ssh/server.js';
import { createAuthorities } from './tls/authority.js';
import type { FaultSpec } from './world/faults.js';
import { CENTRAL } from './world/pbs/estate.js';
import type { PbsSim } from './world/pbs/pbs-sim.js';
import type { Mirror } from './world/mirror.js';
import { readSavedWorld } from './world/saved.js';
import { readStoresOfRepo, type StoreSpecInput } from './world/specs.js';
import { createWorld, type World } from './world/world.js';

export interface LabOptions {
  /** The GitOps repo; its working tree names the stores, its tags tell the check what was promoted. */
  repo?: string | undefined;
  /** The stores, instead of those of a repo. */
  stores?: StoreSpecInput[] | undefined;
  stateDir: string;
  speed?: number | undefined;
  mirror?: Mirror | undefined;
  /** `host:port` behind every store's relay. */
  temporal?: string | undefined;
  namespace?: string | undefined;
  registry?: string | undefined;
  /** JSON file of the pinned release keys. */
  releaseKeys?: string | undefined;
  /** 0 = any free port. */
  controlPort?: number | undefined;
  fleet?: string | undefined;
  faults?: FaultSpec[] | undefined;
  /** Forget the state of an earlier lab in this folder, and begin with unpatched stores. */
  fresh?: boolean | undefined;
}

export interface Lab {
  world: World;
  /** `http://127.0.0.1:<port>` of the control API. */
  control: string;
  /** Health or metrics URLs outside this machine's loopback: nothing answers there. */
  skipped: string[];
  /** Writes what a store worker needs and returns its folder. */
  enrol(store: string): Promise<string>;
  enrolAll(): Promise<void>;
  /** Writes what the worker of the staging site needs and returns its folder; undefined when there is no such site. */
  enrolStaging(): Promise<string | undefined>;
  /** Ends at once. What was under way goes on with the next start. */
  close(): Promise<void>;
  /** Ends in order: takes no more orders and lets what runs come to its end (ten seconds at most). */
  shutdown(): Promise<void>;
}

const SHUTDOWN_MS = 10_000;

/**
 * The whole practice fleet in this process: all listens when this resolves. Keys, certificates, enrolment, the journal
 * and the state of the stores are kept in `stateDir`, and the next start goes on with them, however this one ends.
 */
export async function startLab(options: LabOptions): Promise<Lab> {
  const stateDir = resolve(options.stateDir);
  const stores = options.stores ?? (options.repo === undefined ? [] : readStoresOfRepo(options.repo));
  if (stores.length === 0) {
    throw new Error('The lab was told of no store. Give a repo with clusters/<store>/store.yaml, or a list of stores.');
  }
  mkdirSync(stateDir, { recursive: true, mode: 0o700 });
  const saved = options.fresh ? undefined : readSavedWorld(stateDir);
  const world = createWorld({ stores, stateDir, speed: options.speed, mirror: options.mirror, saved });
  const atStart = (saved?.atStart as StoreSnapshot[] | undefined) ?? world.sites.map(snapshotOf);
  if (!saved) world.keeper.saveAtStart(atStart);
  const opened: (() => Promise<void>)[] = [];
  const closePorts = async (): Promise<void> => void (await Promise.all(opened.splice(0).map((end) => end())));
  const close = async (): Promise<void> => {
    await closePorts();
    world.close();
  };
  try {
    const authorities = createAuthorities(stateDir);
    const temporal = options.temporal ?? '127.0.0.1:7233';
    const registry = options.registry ?? '127.0.0.1:7280';
    const releaseKeys = options.releaseKeys ?? join(stateDir, 'release-keys.json');
    // A fleet that goes on has the faults of its first start already.
    if (!saved) for (const fault of parseFaults(options.faults ?? [], world.places)) world.faults.add(fault);

    opened.push((await startSshServers(world)).close);
    opened.push((await startPveServers(world, authorities)).close);
    opened.push((await startPbsServers(world, authorities)).close);
    const guests = await startGuestServers(world);
    opened.push(guests.close);
    opened.push((await startRelays(world, { temporal, registry })).close);
    if (saved) {
      world.resume();
      for (const site of world.sites) for (const node of site.nodes.values()) resumeUnits(node);
    }
    const fleet = options.fleet ?? fleetOf(options.repo);
    const objects = openRegistry(`http://${registry}`);
    const permits = watchPermits(world, objects);
    const control: Control = await startControl(world, {
      port: options.controlPort ?? 0,
      atStart,
      evidence: { registry: objects, releaseKeys, repo: options.repo, permits, fleet },
    });
    opened.push(control.close);
    const readFingerprint = async (pbs: PbsSim): Promise<void> => {
      pbs.fingerprint = (await authorities.selfSigned(pbs.id, pbs.hostname, pbs.address)).fingerprint;
    };
    const enrol = async (id: string): Promise<string> => {
      const store = world.store(id);
      const { caPem } = await authorities.storeAuthority(id);
      if (store.pbs) await readFingerprint(store.pbs);
      return writeEnrolment(store, {
        fleet,
        namespace: options.namespace ?? 'default',
        temporal,
        registry,
        releaseKeys,
        caPem,
      });
    };
    const enrolStaging = async (): Promise<string | undefined> => {
      const central = world.pbs.get(CENTRAL);
      const { staging } = world;
      if (!staging || !central) return undefined;
      await readFingerprint(central);
      const { caPem } = await authorities.storeAuthority(staging.id);
      const namespace = options.namespace ?? 'default';
      return writeStagingEnrolment(staging, central, { namespace, temporal, caPem });
    };
    return {
      world,
      control: control.url,
      skipped: guests.skipped,
      enrol,
      enrolAll: async () => {
        for (const id of world.stores.keys()) await enrol(id);
        const central = world.pbs.get(CENTRAL);
        if (central) {
          await readFingerprint(central);
          await writeCentralEnrolment(central, { temporal, namespace: options.namespace ?? 'default' });
        }
        await enrolStaging();
      },
      enrolStaging,
      close,
      shutdown: async () => {
        await closePorts();
        const patience = performance.now() + SHUTDOWN_MS;
        while (!world.quiet && performance.now() < patience) await delay(20);
        world.close();
      },
    };
  } catch (error) {
    await close();
    throw error;
  }
}

function fleetOf(repo: string | undefined): string {
  if (repo === undefined) return 'edge';
  const value: unknown = parse(readFileSync(join(repo, 'fleet.yaml'), 'utf8'));
  const fleet = (value as { fleet?: unknown } | null)?.fleet;
  if (typeof fleet !== 'string')
    throw new Error(`${join(repo, 'fleet.yaml')} names no fleet. Add the line "fleet: <name>".`);
  return fleet;
}
