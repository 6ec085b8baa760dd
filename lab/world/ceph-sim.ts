import { createHash } from 'node:crypto';
import type { Faults } from './faults.js';
import { compareVersions } from './mirror.js';
import type { Journal } from './journal.js';
import type { Timers } from './timers.js';
import type { Timing } from './timing.js';

const POOLS = [
  { id: 1, name: 'vm', size: 3, minSize: 2, pgs: 128 },
  { id: 2, name: '.mgr', size: 3, minSize: 2, pgs: 1 },
] as const;
const FACTORY_VERSION = '19.2.3-pve2';
/** Monitors tell each other's clocks apart from this on, in milliseconds. */
const MAX_CLOCK_DRIFT = 50;
const ALWAYS_ON_FLAGS = ['sortbitwise', 'recovery_deletes', 'purged_snapdirs', 'pglog_hardlimit'];
export const SETTABLE_FLAGS = [
  'nobackfill',
  'nodeep-scrub',
  'nodown',
  'noin',
  'noout',
  'norebalance',
  'norecover',
  'noscrub',
  'notieragent',
  'noup',
  'pause',
] as const;

export interface Osd {
  id: number;
  host: string;
  up: boolean;
  in: boolean;
  /** Its data is behind since it was down: milliseconds since the epoch between which it catches up. */
  recovery?: { from: number; until: number } | undefined;
  /** Set by a fault: stays down whatever its node does. */
  broken: boolean;
}

export interface SavedCeph {
  osds: {
    id: number;
    up: boolean;
    in: boolean;
    broken: boolean;
    recovery?: { from: number; until: number | null } | undefined;
  }[];
  mons: string[];
  mgrs: string[];
  brokenMons: string[];
  mgrsBroken: boolean;
  activeMgr: string | undefined;
  epoch: number;
  electionEpoch: number;
  quorumSince: number;
  daemonVersion: [string, string][];
  dataVersion: [string, string][];
  flags: string[];
  hostFlags: [string, string[]][];
}

export interface HealthCheck {
  severity: 'HEALTH_WARN' | 'HEALTH_ERR';
  message: string;
  count: number;
  detail: string[];
}

export interface Pg {
  id: string;
  pool: number;
  acting: readonly number[];
  state: string;
  objects: number;
  degraded: number;
}

/**
 * Ceph of one store: a monitor and a manager per node, some OSDs per host, two pools of size 3. Every placement group
 * has its OSDs on three hosts: with three nodes a host that is away degrades all of them, and they heal nowhere else.
 * Nothing ticks: states are computed from the clock when somebody looks.
 */
export class CephSim {
  readonly store: string;
  readonly fsid: string;
  readonly hosts: string[];
  readonly osds: Osd[];
  readonly pools = POOLS;
  /** Cluster-wide flags beside the ones that are always on. */
  readonly flags = new Set<string>();
  readonly hostFlags = new Map<string, Set<string>>();
  readonly monsUp = new Set<string>();
  readonly mgrsUp = new Set<string>();
  /** Daemon versions by host: what runs, not what is installed. */
  readonly daemonVersion = new Map<string, string>();
  /** The newest version that ever ran on a host: its data have that form, and an older daemon refuses them. */
  readonly dataVersion = new Map<string, string>();
  /** Set by faults: stay away whatever their node does. */
  readonly brokenMons = new Set<string>();
  mgrsBroken = false;
  /** Milliseconds that the clock of a host is ahead. */
  readonly clockSkew = new Map<string, number>();
  activeMgr: string | undefined;
  epoch = 214;
  electionEpoch = 36;
  quorumSince = Date.now();
  readonly objects: number;
  readonly addresses: Map<string, string>;
  readonly #journal: Journal;
  readonly #faults: Faults;
  readonly #timing: Timing;
  readonly #timers: Timers;
  #clean = true;
  readonly #acting: readonly number[][];
  /** The last answer: one look at Ceph asks for the same groups several times. */
  #seen: { now: number; epoch: number; clean: boolean; pgs: Pg[] } | undefined;

  constructor(
    store: string,
    nodes: { name: string; address: string }[],
    osdsPerHost: number,
    tools: { journal: Journal; faults: Faults; timing: Timing; timers: Timers },
  ) {
    this.store = store;
    this.hosts = nodes.map(({ name }) => name);
    this.addresses = new Map(nodes.map(({ name, address }) => [name, address]));
    this.#journal = tools.journal;
    this.#faults = tools.faults;
    this.#timing = tools.timing;
    this.#timers = tools.timers;
    const digest = createHash('sha256').update(store).digest('hex');
    this.fsid = `${digest.slice(0, 8)}-${digest.slice(8, 12)}-4${digest.slice(13, 16)}-8${digest.slice(17, 20)}-${digest.slice(20, 32)}`;
    this.objects = 20_000 + (Number.parseInt(digest.slice(0, 4), 16) % 20_000);
    this.osds = this.hosts.flatMap((host, index) =>
      Array.from({ length: osdsPerHost }, (_, i) => ({
        id: index * osdsPerHost + i,
        host,
        up: true,
        in: true,
        broken: false,
      })),
    );
    this.#acting = actingSets(this.hosts.length, osdsPerHost);
    for (const host of this.hosts) {
      this.monsUp.add(host);
      this.mgrsUp.add(host);
      this.daemonVersion.set(host, FACTORY_VERSION);
      this.dataVersion.set(host, FACTORY_VERSION);
    }
    this.activeMgr = this.hosts[0];
  }

  // What the outside does

  /** The daemons of a host are gone; seen after the detection time. */
  hostDown(host: string, stillDown: () => boolean): void {
    this.#timers.after(this.#timing.of('cephDownDetection'), () => {
      if (!stillDown()) return;
      for (const osd of this.osds) if (osd.host === host) this.#osdDown(osd);
      if (this.monsUp.delete(host)) this.#election();
      this.mgrsUp.delete(host);
      this.#chooseMgr();
    });
  }

  /**
   * The daemons of a host start, in the version that is installed now; they join after their start time. A version
   * older than their data ends at once: there is no way back for Ceph's daemons.
   */
  hostUp(host: string, version: string, stillUp: () => boolean): void {
    this.#timers.after(this.#timing.of('cephDaemonStart'), () => {
      if (!stillUp()) return;
      const data = this.dataVersion.get(host) ?? version;
      if (compareVersions(version, data) < 0) {
        this.#record('ceph.daemons.refused', 'node', { version, data }, host);
        return;
      }
      this.daemonVersion.set(host, version);
      this.dataVersion.set(host, version);
      if (!this.brokenMons.has(host)) this.#monUp(host);
      if (!this.mgrsBroken) this.mgrsUp.add(host);
      this.#chooseMgr();
      for (const osd of this.osds) if (osd.host === host && !osd.broken) this.#osdUp(osd);
    });
  }

  /** Whether the daemons that should run on the host do. */
  runsOn(host: string): boolean {
    return (
      (this.monsUp.has(host) || this.brokenMons.has(host)) &&
      (this.mgrsUp.has(host) || this.mgrsBroken) &&
      this.osdsOf(host).every(({ up, broken }) => up || broken)
    );
  }

  breakOsd(id: number): void {
    const osd = this.osds.find((other) => other.id === id);
    if (!osd) return;
    osd.broken = true;
    this.#osdDown(osd);
  }

  repairOsd(id: number, hostIsUp: boolean): void {
    const osd = this.osds.find((other) => other.id === id);
    if (!osd) return;
    osd.broken = false;
    if (hostIsUp) this.#osdUp(osd);
  }

  breakMon(host: string): void {
    this.brokenMons.add(host);
    if (this.monsUp.delete(host)) this.#election();
  }

  repairMon(host: string, hostIsUp: boolean): void {
    if (this.brokenMons.delete(host) && hostIsUp) this.#monUp(host);
  }

  stopMgrs(): void {
    this.mgrsBroken = true;
    this.mgrsUp.clear();
    this.#chooseMgr();
  }

  startMgrs(hosts: string[]): void {
    this.mgrsBroken = false;
    for (const host of hosts) this.mgrsUp.add(host);
    this.#chooseMgr();
  }

  /** `stuck-recovery` ended: what was behind catches up from now. */
  resumeRecovery(): void {
    for (const osd of this.osds) if (osd.up && osd.recovery?.until === Infinity) this.#startRecovery(osd);
  }

  setHostFlag(host: string, flag: string, by: string): void {
    const flags = this.hostFlags.get(host) ?? new Set<string>();
    const had = flags.has(flag);
    flags.add(flag);
    this.hostFlags.set(host, flags);
    this.epoch += 1;
    if (!had) this.#record(flag === 'noout' ? 'ceph.noout.set' : 'ceph.flag.set', by, { host, flag }, host);
  }

  unsetHostFlag(host: string, flag: string, by: string): void {
    const flags = this.hostFlags.get(host);
    const had = flags?.delete(flag) ?? false;
    if (flags?.size === 0) this.hostFlags.delete(host);
    this.epoch += 1;
    if (had) this.#record(flag === 'noout' ? 'ceph.noout.unset' : 'ceph.flag.unset', by, { host, flag }, host);
  }

  setFlag(flag: string, by: string): void {
    if (this.flags.has(flag)) return;
    this.flags.add(flag);
    this.epoch += 1;
    this.#record('ceph.flag.set', by, { flag });
  }

  unsetFlag(flag: string, by: string): void {
    if (!this.flags.delete(flag)) return;
    this.epoch += 1;
    this.#record('ceph.flag.unset', by, { flag });
  }

  // What can be seen

  get quorum(): string[] {
    const names = this.hosts.filter((host) => this.monsUp.has(host));
    return names.length * 2 > this.hosts.length ? names : [];
  }

  get hasQuorum(): boolean {
    return this.quorum.length > 0;
  }

  get mgrAvailable(): boolean {
    return this.activeMgr !== undefined;
  }

  get standbyMgrs(): string[] {
    return this.hosts.filter((host) => this.mgrsUp.has(host) && host !== this.activeMgr);
  }

  get flagList(): string[] {
    return [...[...this.flags].sort(), ...ALWAYS_ON_FLAGS];
  }

  osdsOf(host: string): Osd[] {
    return this.osds.filter((osd) => osd.host === host);
  }

  pgs(now: number = Date.now()): Pg[] {
    const seen = this.#seen;
    const same = seen !== undefined && seen.epoch === this.epoch && seen.clean === this.#clean;
    if (same && (this.#clean || seen.now === now)) return seen.pgs;
    const pgs = this.#lookAtPgs(now);
    this.#seen = { now, epoch: this.epoch, clean: this.#clean, pgs };
    return pgs;
  }

  #lookAtPgs(now: number): Pg[] {
    if (this.#clean) return this.#cleanPgs();
    const pgs = this.#acting.map((acting, index) => this.#pg(index, acting, now));
    const settled = pgs.every(({ state }) => state === 'active+clean') && this.osds.every(({ up }) => up);
    if (settled) {
      this.#clean = true;
      for (const osd of this.osds) osd.recovery = undefined;
    }
    return pgs;
  }

  pgStates(now: number = Date.now()): { state: string; count: number }[] {
    const counts = new Map<string, number>();
    for (const { state } of this.pgs(now)) counts.set(state, (counts.get(state) ?? 0) + 1);
    return [...counts].map(([state, count]) => ({ state, count })).sort((a, b) => b.count - a.count);
  }

  allClean(now: number = Date.now()): boolean {
    return this.pgs(now).every(({ state }) => state === 'active+clean');
  }

  /** Health checks by code, with the texts of the real ones. */
  health(now: number = Date.now()): Map<string, HealthCheck> {
    const checks = new Map<string, HealthCheck>();
    const warn = (code: string, message: string, count: number, detail: string[]): void => {
      checks.set(code, { severity: 'HEALTH_WARN', message, count, detail });
    };
    const monsDown = this.hosts.filter((host) => !this.monsUp.has(host));
    if (monsDown.length > 0) {
      const message = `${monsDown.length}/${this.hosts.length} mons down, quorum ${this.quorum.join(',')}`;
      warn(
        'MON_DOWN',
        message,
        monsDown.length,
        monsDown.map((host) => this.#monDownDetail(host)),
      );
    }
    const late = this.#clocksApart();
    if (late.length > 0) {
      const message = `clock skew detected on ${late.map(({ host }) => `mon.${host}`).join(', ')}`;
      const detail = late.map(({ host, ms }) => `mon.${host} clock skew ${ms / 1_000}s > max 0.05s (latency 0.0004s)`);
      warn('MON_CLOCK_SKEW', message, late.length, detail);
    }
    if (!this.mgrAvailable) warn('MGR_DOWN', 'no active mgr', 0, ['no active mgr']);
    const osdsDown = this.osds.filter((osd) => !osd.up && osd.in);
    if (osdsDown.length > 0) {
      const detail = osdsDown.map((osd) => `osd.${osd.id} (root=default,host=${osd.host}) is down`);
      warn('OSD_DOWN', `${osdsDown.length} osds down`, osdsDown.length, detail);
    }
    const hostsDown = this.hosts.filter((host) => this.osdsOf(host).every((osd) => !osd.up));
    if (hostsDown.length > 0 && osdsDown.length > 0) {
      const osdCount = hostsDown.reduce((sum, host) => sum + this.osdsOf(host).length, 0);
      const detail = hostsDown.map((host) => `host ${host} (root=default) (${this.osdsOf(host).length} osds) is down`);
      warn(
        'OSD_HOST_DOWN',
        `${hostsDown.length} host${hostsDown.length === 1 ? '' : 's'} (${osdCount} osds) down`,
        hostsDown.length,
        detail,
      );
    }
    if (this.flags.size > 0)
      warn('OSDMAP_FLAGS', `${[...this.flags].join(',')} flag(s) set`, this.flags.size, [
        `${[...this.flags].join(',')} flag(s) set`,
      ]);
    if (this.hostFlags.size > 0) {
      const detail = [...this.hostFlags].map(([host, flags]) => `host ${host} has flags ${[...flags].join(',')}`);
      const message = `${this.hostFlags.size} OSDs or CRUSH {nodes, device-classes} have {NOUP,NODOWN,NOIN,NOOUT} flags set`;
      warn('OSD_FLAGS', message, this.hostFlags.size, detail);
    }
    this.#pgHealth(now, warn);
    return checks;
  }

  /** The manager's joint answer; `undefined` when it hangs for want of a manager or a quorum. */
  osdOkToStop(ids: number[], now: number = Date.now()): { ok: boolean; okPgs: string[]; badPgs: string[] } | undefined {
    if (!this.mgrAvailable || !this.hasQuorum) return undefined;
    const stopped = new Set(ids);
    const okPgs: string[] = [];
    const badPgs: string[] = [];
    const acting = this.#acting;
    this.pgs(now).forEach((pg, index) => {
      const serving = (acting[index] ?? []).filter((id) => this.#serves(id, index, now));
      if (!serving.some((id) => stopped.has(id))) return;
      const left = serving.filter((id) => !stopped.has(id)).length;
      (left >= POOLS[0].minSize ? okPgs : badPgs).push(pg.id);
    });
    return { ok: badPgs.length === 0, okPgs, badPgs };
  }

  /** Which monitors would be left, and whether they are enough. `undefined` when it hangs for want of a quorum. */
  monOkToStop(names: string[]): { ok: boolean; left: string[] } | undefined {
    if (!this.hasQuorum) return undefined;
    const left = this.quorum.filter((name) => !names.includes(name));
    return { ok: left.length * 2 > this.hosts.length, left };
  }

  // Inside

  /** Monitors in quorum whose clock differs from the leader's. */
  #clocksApart(): { host: string; ms: number }[] {
    const [leader] = this.quorum;
    const base = this.clockSkew.get(leader ?? '') ?? 0;
    return this.quorum
      .map((host) => ({ host, ms: Math.abs((this.clockSkew.get(host) ?? 0) - base) }))
      .filter(({ ms }) => ms > MAX_CLOCK_DRIFT);
  }

  #monUp(host: string): void {
    if (this.monsUp.has(host)) return;
    this.monsUp.add(host);
    this.#election();
  }

  #osdDown(osd: Osd): void {
    if (!osd.up) return;
    osd.up = false;
    osd.recovery = undefined;
    this.epoch += 1;
    this.#clean = false;
  }

  #osdUp(osd: Osd): void {
    if (osd.up) return;
    osd.up = true;
    osd.in = true;
    this.epoch += 2;
    this.#startRecovery(osd);
  }

  #startRecovery(osd: Osd): void {
    const now = Date.now();
    const place = { store: this.store, node: osd.host, step: 'ceph.recovery', moment: 'before' } as const;
    this.#faults.reached(this.store, osd.host, 'ceph.recovery', 'before');
    // A fault may have taken the OSD away again at that very moment.
    if (!osd.up) return;
    const slow = this.#faults.bite('slow-recovery', place);
    const stuck = this.#faults.bite('stuck-recovery', place);
    const factor = slow ? Number(slow.params?.['factor'] ?? 10) : 1;
    const from = now + this.#timing.of('cephPeering');
    this.epoch += 1;
    this.#clean = false;
    osd.recovery = { from, until: stuck ? Infinity : from + this.#timing.of('cephRecovery') * factor };
    if (stuck) return;
    this.#timers.after((osd.recovery.until - now) / 2, () => {
      if (osd.recovery) this.#faults.reached(this.store, osd.host, 'ceph.recovery', 'during');
    });
  }

  /** What is kept over a restart of the lab. */
  dump(): SavedCeph {
    return {
      osds: this.osds.map(({ id, up, in: isIn, broken, recovery }) => ({ id, up, in: isIn, broken, recovery })),
      mons: [...this.monsUp],
      mgrs: [...this.mgrsUp],
      brokenMons: [...this.brokenMons],
      mgrsBroken: this.mgrsBroken,
      activeMgr: this.activeMgr,
      epoch: this.epoch,
      electionEpoch: this.electionEpoch,
      quorumSince: this.quorumSince,
      daemonVersion: [...this.daemonVersion],
      dataVersion: [...this.dataVersion],
      flags: [...this.flags],
      hostFlags: [...this.hostFlags].map(([host, flags]) => [host, [...flags]]),
    };
  }

  load(saved: SavedCeph): void {
    for (const each of saved.osds) {
      const osd = this.osds[each.id];
      // JSON knows no infinity.
      const recovery = each.recovery && { ...each.recovery, until: each.recovery.until ?? Infinity };
      if (osd) Object.assign(osd, { ...each, recovery });
    }
    refillSet(this.monsUp, saved.mons);
    refillSet(this.mgrsUp, saved.mgrs);
    refillSet(this.brokenMons, saved.brokenMons);
    this.mgrsBroken = saved.mgrsBroken;
    this.activeMgr = saved.activeMgr;
    this.epoch = saved.epoch;
    this.electionEpoch = saved.electionEpoch;
    this.quorumSince = saved.quorumSince;
    for (const [host, version] of saved.daemonVersion) this.daemonVersion.set(host, version);
    for (const [host, version] of saved.dataVersion) this.dataVersion.set(host, version);
    refillSet(this.flags, saved.flags);
    for (const [host, flags] of saved.hostFlags) this.hostFlags.set(host, new Set(flags));
    this.#clean = false;
  }

  #chooseMgr(): void {
    if (this.activeMgr !== undefined && this.mgrsUp.has(this.activeMgr)) return;
    this.activeMgr = this.hosts.find((host) => this.mgrsUp.has(host));
  }

  #election(): void {
    this.electionEpoch += 2;
    this.quorumSince = Date.now();
  }

  #pgName(index: number): string {
    return index < POOLS[0].pgs ? `1.${index.toString(16)}` : `2.${(index - POOLS[0].pgs).toString(16)}`;
  }

  #cleanPgs(): Pg[] {
    return this.#acting.map((acting, index) => ({
      id: this.#pgName(index),
      pool: index < POOLS[0].pgs ? 1 : 2,
      acting,
      state: 'active+clean',
      objects: this.#objectsOf(index),
      degraded: 0,
    }));
  }

  #objectsOf(index: number): number {
    return index < POOLS[0].pgs ? Math.floor(this.objects / POOLS[0].pgs) : 2;
  }

  /** 0..1: how much of what this OSD missed is back. */
  #progress(osd: Osd, now: number): number {
    if (!osd.recovery) return 1;
    const { from, until } = osd.recovery;
    if (until === Infinity) return now < from ? 0 : 0.05;
    return Math.max(0, Math.min(1, (now - from) / (until - from)));
  }

  #rank(index: number): number {
    return index / (POOLS[0].pgs + POOLS[1].pgs);
  }

  #serves(id: number, index: number, now: number): boolean {
    const osd = this.osds[id];
    if (!osd?.up) return false;
    if (!osd.recovery) return true;
    return now >= osd.recovery.from && this.#progress(osd, now) > this.#rank(index);
  }

  #pg(index: number, all: readonly number[], now: number): Pg {
    const objects = this.#objectsOf(index);
    const up = all.filter((id) => this.osds[id]?.up);
    const pg = { id: this.#pgName(index), pool: index < POOLS[0].pgs ? 1 : 2, acting: up, objects };
    const missing = all.length - up.length;
    if (up.length < POOLS[0].minSize)
      return { ...pg, state: 'undersized+degraded+peered', degraded: objects * missing };
    if (missing > 0) return { ...pg, state: 'active+undersized+degraded', degraded: objects * missing };
    const behind = up.filter((id) => !this.#serves(id, index, now));
    if (behind.length === 0) return { ...pg, state: 'active+clean', degraded: 0 };
    const osd = this.osds[behind[0] as number] as Osd;
    if (osd.recovery && now < osd.recovery.from) return { ...pg, state: 'peering', degraded: 0 };
    const distance = this.#rank(index) - this.#progress(osd, now);
    const state = distance < 0.02 ? 'active+recovering+degraded' : 'active+recovery_wait+degraded';
    return { ...pg, state, degraded: objects * behind.length };
  }

  #pgHealth(now: number, warn: (code: string, message: string, count: number, detail: string[]) => void): void {
    const pgs = this.pgs(now);
    const text = (pg: Pg): string => `pg ${pg.id} is ${pg.state}, acting [${pg.acting.join(',')}]`;
    const inactive = pgs.filter(({ state }) => !state.startsWith('active'));
    if (inactive.length > 0) {
      const peering = inactive.filter(({ state }) => state === 'peering').length;
      const suffix = peering > 0 ? `, ${peering} pgs peering` : '';
      const message = `Reduced data availability: ${inactive.length} pgs inactive${suffix}`;
      warn('PG_AVAILABILITY', message, inactive.length, inactive.slice(0, 50).map(text));
    }
    const degraded = pgs.filter(({ state }) => state.includes('degraded'));
    if (degraded.length === 0) return;
    const undersized = pgs.filter(({ state }) => state.includes('undersized')).length;
    const { lost, total } = this.degradedObjects(pgs);
    const percent = ((lost / total) * 100).toFixed(3);
    const parts = [`${degraded.length} pgs degraded`, ...(undersized > 0 ? [`${undersized} pgs undersized`] : [])];
    const message = `Degraded data redundancy: ${lost}/${total} objects degraded (${percent}%), ${parts.join(', ')}`;
    warn('PG_DEGRADED', message, degraded.length + undersized, degraded.slice(0, 50).map(text));
  }

  degradedObjects(pgs: Pg[] = this.pgs()): { lost: number; total: number } {
    return {
      lost: pgs.reduce((sum, pg) => sum + pg.degraded, 0),
      total: pgs.reduce((sum, pg) => sum + pg.objects * 3, 0),
    };
  }

  #monDownDetail(host: string): string {
    const address = this.addresses.get(host) ?? '0.0.0.0';
    const rank = this.hosts.indexOf(host);
    return `mon.${host} (rank ${rank}) addr [v2:${address}:3300/0,v1:${address}:6789/0] is down (out of quorum)`;
  }

  #record(effect: string, by: string, detail: Record<string, unknown>, node?: string): void {
    this.#journal.record({ store: this.store, ...(node === undefined ? {} : { node }), effect, by, detail });
  }
}

function refillSet<T>(set: Set<T>, values: readonly T[]): void {
  set.clear();
  for (const value of values) set.add(value);
}

const knownSets = new Map<string, readonly number[][]>();

/** The OSDs of each placement group: the same in every store of that shape. */
function actingSets(hosts: number, perHost: number): readonly number[][] {
  const shape = `${hosts}x${perHost}`;
  const known = knownSets.get(shape);
  if (known) return known;
  const sets = Array.from({ length: POOLS[0].pgs + POOLS[1].pgs }, (_, index) =>
    Array.from({ length: Math.min(3, hosts) }, (_other, k) => ((k + index) % hosts) * perHost + (index % perHost)),
  );
  knownSets.set(shape, sets);
  return sets;
}
