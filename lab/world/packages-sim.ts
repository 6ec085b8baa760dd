import type { Moment, Step } from './fault-table.js';
import type { NodeSim } from './node-sim.js';
import { compareVersions, INSTALLED_SNAPSHOT, kernelOfPackage, type Mirror } from './mirror.js';

/** A package that gets another version, mostly a newer one. */
export interface Upgrade {
  name: string;
  /** Absent for a package that is new on the node. */
  old?: string;
  version: string;
}

export interface CommandOutcome {
  code: number;
  stdout: string;
  stderr: string;
}

const LOCK_ERROR = (pid: number): string =>
  `E: Could not get lock /var/lib/dpkg/lock-frontend. It is held by process ${pid} (apt-get)\n` +
  'E: Unable to acquire the dpkg frontend lock (/var/lib/dpkg/lock-frontend), is another process using it?\n';
const DIRTY_ERROR = "E: dpkg was interrupted, you must manually run 'dpkg --configure -a' to correct the problem. \n";
const SNAPSHOT_ID = /\b(\d{8}T\d{6}Z)\b/g;
const DOWNLOAD_BYTES = 150_000_000;

const DPKG_ERROR = 'E: Sub-process /usr/bin/dpkg returned an error code (1)\n';
const POSTINST_ERROR = (name: string): string =>
  `dpkg: error processing package ${name} (--configure):\n` +
  ` installed ${name} package post-installation script subprocess returned error exit status 1\n`;

const failure = (code: number, stderr: string, stdout = ''): CommandOutcome => ({ code, stdout, stderr });
const success = (stdout: string): CommandOutcome => ({ code: 0, stdout, stderr: '' });
const TERMINATED = failure(143, 'Terminated\n');
const unreachable = (snapshots: readonly string[], code: 0 | 100): CommandOutcome => {
  const urls = snapshots.map((id) => `http://mirror.example/${id}/dists/trixie/InRelease`);
  const why = 'Could not connect to mirror.example:80 (192.0.2.80). - connect (110: Connection timed out)';
  const tail =
    code === 0
      ? 'W: Some index files failed to download. They have been ignored, or old ones used instead.\n'
      : 'E: Some index files failed to download. They have been ignored, or old ones used instead.\n';
  return failure(
    code,
    urls.map((url) => `W: Failed to fetch ${url}  ${why}\n`).join('') + tail,
    snapshots.map((id, i) => `Err:${i + 1} http://mirror.example/${id} trixie InRelease\n  ${why}\n`).join(''),
  );
};
const notFetched = (change: Upgrade | undefined): CommandOutcome =>
  failure(
    100,
    `E: Failed to fetch http://mirror.example/pool/${change?.name ?? ''}_${change?.version ?? ''}_amd64.deb  Hash Sum mismatch\n` +
      'E: Unable to fetch some archives, maybe run apt-get update or try with --fix-missing?\n',
  );
export const isDowngrade = ({ old, version }: Upgrade): boolean =>
  old !== undefined && compareVersions(version, old) < 0;
const sleepless = (run: (done: (outcome: CommandOutcome) => void) => void): Promise<CommandOutcome> =>
  new Promise((resolve) => run(resolve));

/** An installation that is under way. */
export interface Installing {
  by: string;
  changes: Upgrade[];
  unit: string | undefined;
  before: Record<string, string>;
}

/** apt and dpkg of one node. Every running program dies with the node, and leaves what it leaves. */
export class PackagesSim {
  readonly installed: Map<string, string>;
  /** Path → text of the files that name package sources. */
  readonly sources = new Map<string, string>();
  /** Snapshots whose lists were fetched by the last `apt-get update`. */
  lists: string[] = [INSTALLED_SNAPSHOT];
  /** `name=version` of archives in the cache. */
  readonly downloaded = new Set<string>();
  /** Packages that dpkg unpacked and did not configure. */
  halfConfigured: string[] = [];
  readonly holds = new Set<string>();
  /** What dpkg is at work on; goes on after a restart of the lab. */
  installing: Installing | undefined;
  /** Process that holds the dpkg lock. */
  lockedBy: number | undefined;
  readonly #node: NodeSim;
  readonly #mirror: Mirror;
  #waiting: (() => void)[] = [];
  #pid = 40_000;

  constructor(node: NodeSim, mirror: Mirror) {
    this.#node = node;
    this.#mirror = mirror;
    this.installed = new Map(mirror.get(INSTALLED_SNAPSHOT) ?? []);
    this.sources.set(
      '/etc/apt/sources.list.d/proxmox.list',
      `deb http://mirror.example/${INSTALLED_SNAPSHOT} trixie main\n`,
    );
  }

  /** Snapshots that the source files name now. */
  get configured(): string[] {
    const ids = [...this.sources.values()].flatMap((text) =>
      text
        .split('\n')
        .filter((line) => !line.trimStart().startsWith('#'))
        .flatMap((line) => [...line.matchAll(SNAPSHOT_ID)].map((match) => match[1] as string)),
    );
    return [...new Set(ids)];
  }

  get bootKernels(): string[] {
    const kernels = [...this.installed.keys()].map(kernelOfPackage).filter((name) => name !== undefined);
    return kernels.sort(compareVersions);
  }

  /** What `dist-upgrade` would do with the lists as they are. */
  pendingUpgrades(): Upgrade[] {
    const best = new Map<string, string>();
    for (const id of this.lists) {
      for (const [name, version] of this.#mirror.get(id) ?? []) {
        const known = best.get(name);
        if (known === undefined || compareVersions(version, known) > 0) best.set(name, version);
      }
    }
    const upgrades: Upgrade[] = [];
    for (const [name, version] of best) {
      const old = this.installed.get(name);
      if (this.holds.has(name)) continue;
      // A kernel package that older lists name is not a dependency any more.
      if (old === undefined && kernelOfPackage(name) !== undefined && !this.#isNewestKernel(name, best)) continue;
      if (old === undefined) upgrades.push({ name, version });
      else if (compareVersions(version, old) > 0) upgrades.push({ name, old, version });
    }
    return upgrades.sort((a, b) => (a.name < b.name ? -1 : 1));
  }

  writeSource(path: string, text: string, by: string): void {
    const before = this.configured;
    this.sources.set(path, text);
    this.#record('apt.sources', by, { before, after: this.configured, detail: { path, text } });
  }

  removeSource(path: string, by: string): void {
    const before = this.configured;
    this.sources.delete(path);
    this.#record('apt.sources', by, { before, after: this.configured, detail: { path, removed: true } });
  }

  /** Whether the fetched lists have this version. */
  offers(name: string, version: string): boolean {
    return this.lists.some((id) => this.#mirror.get(id)?.get(name) === version);
  }

  knows(name: string): boolean {
    return this.installed.has(name) || this.lists.some((id) => this.#mirror.get(id)?.has(name));
  }

  /** The kernel that the metapackage in that version depends on. */
  kernelImageOf(name: string, version: string): Upgrade | undefined {
    if (!/^proxmox-kernel-\d+\.\d+$/.test(name)) return undefined;
    const image = `proxmox-kernel-${version}-pve-signed`;
    const known = this.lists.map((id) => this.#mirror.get(id)?.get(image)).find((found) => found !== undefined);
    return known === undefined ? undefined : { name: image, version: known };
  }

  /** `apt-get update`. Like the real one it ends well when a server could not be reached, and goes on with the old lists. */
  update(by: string): Promise<CommandOutcome> {
    return sleepless((done) => {
      const wanted = this.configured;
      const refusal = this.#contended('apt.update') ?? this.#fails('apt.update', 'before', unreachable(wanted, 100));
      if (refusal) return done(refusal);
      this.#node.enter('apt.update');
      this.#node.work(
        'apt.update',
        this.#node.timing.of('aptUpdate'),
        () => {
          const failed = this.#fails('apt.update', 'during', unreachable(wanted, 0));
          if (failed) return done(failed);
          const unknown = wanted.find((id) => !this.#mirror.has(id));
          if (unknown !== undefined) {
            const text = `E: The repository 'http://mirror.example/${unknown} trixie Release' does not have a Release file.\n`;
            return done(
              failure(100, text, `Err:1 http://mirror.example/${unknown} trixie Release\n  404  Not Found\n`),
            );
          }
          const before = this.lists;
          this.lists = wanted;
          this.#record('apt.update', by, { before, after: wanted });
          const hits = wanted.map((id, i) => `Get:${i + 1} http://mirror.example/${id} trixie InRelease [151 kB]\n`);
          done(success(`${hits.join('')}Reading package lists...\n`));
        },
        () => done(TERMINATED),
      );
    });
  }

  /** `apt-get --download-only` of these changes. */
  download(by: string, changes: Upgrade[]): Promise<CommandOutcome> {
    return sleepless((done) => {
      const refusal =
        this.#contended('apt.download') ??
        this.#diskFull() ??
        this.#fails('apt.download', 'before', notFetched(changes[0]));
      if (refusal) return done(refusal);
      const missing = changes.filter(({ name, version }) => !this.downloaded.has(`${name}=${version}`));
      if (missing.length === 0) return done(success(this.summary(changes)));
      this.#node.enter('apt.download');
      const unlock = this.#take();
      this.#node.work(
        'apt.download',
        this.#node.timing.of('aptDownload'),
        () => {
          unlock();
          const full = this.#diskFull();
          if (full) return done(full);
          const half = Math.ceil(missing.length / 2);
          const failed = this.#fails('apt.download', 'during', notFetched(missing[half - 1]));
          const fetched = failed ? missing.slice(0, half - 1) : missing;
          for (const { name, version } of fetched) this.downloaded.add(`${name}=${version}`);
          if (failed) return done(failed);
          this.#record('apt.download', by, { after: Object.fromEntries(missing.map((u) => [u.name, u.version])) });
          done(success(`${this.summary(changes)}Download complete and in download only mode\n`));
        },
        () => (unlock(), done(TERMINATED)),
      );
    });
  }

  /**
   * `apt-get -y dist-upgrade`, or `install name=version…` when `wanted` is given. `lockTimeoutMs` (of a real store) is
   * how long it waits for the dpkg lock. Half of the packages are in at half of the time, which is where it can break.
   */
  async install(
    by: string,
    options: { wanted?: Upgrade[]; lockTimeoutMs: number; unit?: string | undefined },
  ): Promise<CommandOutcome> {
    const interrupted = this.installing;
    if (interrupted && interrupted.unit === options.unit) return this.#install(interrupted, 'resumed');
    const fault = this.#node.bite('lock-contention', 'packages.install', 'before');
    if (fault) return failure(100, LOCK_ERROR(31_337));
    if (this.lockedBy !== undefined && !(await this.#lockFreeWithin(options.lockTimeoutMs))) {
      return failure(100, LOCK_ERROR(this.lockedBy));
    }
    if (this.halfConfigured.length > 0) return failure(100, DIRTY_ERROR);
    const full = this.#diskFull();
    if (full) return full;
    const changes = options.wanted ?? this.pendingUpgrades();
    const summary = this.summary(changes);
    if (changes.length === 0) return success(summary);
    const refused = this.#fails('packages.install', 'before', failure(100, DPKG_ERROR));
    if (refused) return { ...refused, stdout: summary };
    this.#node.enter('packages.install');
    const outcome = await this.#install({ by, changes, unit: options.unit, before: this.#versions(changes) }, 'begun');
    return { ...outcome, stdout: summary + outcome.stdout };
  }

  /** `dpkg --configure -a`. */
  configure(by: string): Promise<CommandOutcome> {
    return sleepless((done) => {
      const held = failure(2, 'dpkg: error: dpkg frontend lock was locked by another process\n');
      if (this.lockedBy !== undefined) return done(held);
      if (this.#node.bite('lock-contention', 'packages.configure', 'before')) return done(held);
      if (this.halfConfigured.length === 0) return done(success(''));
      const broken = failure(1, this.halfConfigured.map(POSTINST_ERROR).join(''));
      const refused = this.#fails('packages.configure', 'before', broken);
      if (refused) return done(refused);
      this.#node.enter('packages.configure');
      const unlock = this.#take();
      this.#node.work(
        'packages.configure',
        this.#node.timing.of('dpkgConfigure'),
        () => {
          unlock();
          const failed = this.#fails('packages.configure', 'during', broken);
          if (failed) return done(failed);
          const names = this.halfConfigured;
          this.halfConfigured = [];
          this.#record('packages.configure', by, { before: names, after: [] });
          done(success(names.map((name) => `Setting up ${name} (${this.installed.get(name)}) ...\n`).join('')));
        },
        () => (unlock(), done(TERMINATED)),
      );
    });
  }

  /** `dpkg --audit`: empty when all is well. */
  audit(): string {
    if (this.halfConfigured.length === 0) return '';
    const head =
      'The following packages are only half configured, probably due to problems\n' +
      'configuring them the first time.  The configuration should be retried using\n' +
      'dpkg --configure <package> or the configure menu option in dselect:\n';
    return `${head}${this.halfConfigured.map((name) => ` ${name.padEnd(20)} practice package\n`).join('')}\n`;
  }

  /** What apt says before it begins. `not upgraded` are those that the lists would renew and this does not. */
  summary(changes: readonly Upgrade[]): string {
    const named = new Set(changes.map(({ name }) => name));
    const left = [...this.pendingUpgrades().filter(({ name, old }) => old !== undefined && !named.has(name))];
    const count = left.length + this.holds.size;
    const fresh = changes.filter(({ old }) => old === undefined);
    const down = changes.filter(isDowngrade);
    const up = changes.filter((change) => change.old !== undefined && !isDowngrade(change));
    const list = (title: string, names: Upgrade[]): string =>
      names.length === 0 ? '' : `${title}\n  ${names.map(({ name }) => name).join(' ')}\n`;
    return (
      'Reading package lists...\nBuilding dependency tree...\nReading state information...\nCalculating upgrade...\n' +
      list('The following NEW packages will be installed:', fresh) +
      list('The following packages will be upgraded:', up) +
      list('The following packages will be DOWNGRADED:', down) +
      `${up.length} upgraded, ${fresh.length} newly installed, ${down.length > 0 ? `${down.length} downgraded, ` : ''}` +
      `0 to remove and ${count} not upgraded.\n`
    );
  }

  #install(work: Installing, how: 'begun' | 'resumed'): Promise<CommandOutcome> {
    const { by, changes, unit, before } = work;
    const half = Math.max(1, Math.floor(changes.length / 2));
    const unlock = this.#take();
    const detail = unit === undefined ? {} : { unit };
    this.installing = work;
    if (how === 'begun') {
      const after = Object.fromEntries(changes.map(({ name, version }) => [name, version]));
      this.#record('packages.begin', by, { before, after, detail });
    }
    const end = (
      effect: string,
      done: (outcome: CommandOutcome) => void,
      outcome: CommandOutcome,
      why?: string,
    ): void => {
      unlock();
      this.installing = undefined;
      // The packages' own hooks write the boot partitions.
      if (changes.some(({ name }) => kernelOfPackage(name) !== undefined)) this.#node.boot.sync();
      this.#record(effect, by, {
        before,
        after: this.#versions(changes),
        detail:
          why === undefined
            ? { ...detail, inventory: Object.fromEntries(this.installed) }
            : { ...detail, why, halfConfigured: this.halfConfigured },
      });
      done(outcome);
    };
    return sleepless((done) => {
      const breakHere = (why: string, outcome: CommandOutcome): void => {
        for (const { name, version } of changes.slice(0, half)) this.installed.set(name, version);
        this.halfConfigured = changes.slice(half - 1, half).map(({ name }) => name);
        end('packages.fail', done, outcome, why);
      };
      const killed = (): void => breakHere('killed', TERMINATED);
      const finish = (): void => {
        for (const { name, version } of changes) {
          this.installed.set(name, version);
          this.downloaded.delete(`${name}=${version}`);
        }
        const lines = changes.map((u) => `Setting up ${u.name} (${u.version}) ...\n`).join('');
        end('packages.install', done, success(lines));
      };
      const ms = this.#node.timing.of('aptInstall');
      this.#node.timers.after(
        ms / 2,
        () => {
          const name = changes[half - 1]?.name ?? '';
          if (this.#node.bite('apt-fail', 'packages.install', 'during')) {
            const text = `${POSTINST_ERROR(name)}Errors were encountered while processing:\n ${name}\n${DPKG_ERROR}`;
            return breakHere('post-installation script', failure(100, text));
          }
          this.#node.reached('packages.install', 'during');
          if (!this.#node.up) return killed();
          this.#node.timers.after(ms / 2, finish, killed);
        },
        killed,
      );
    });
  }

  #isNewestKernel(name: string, best: Map<string, string>): boolean {
    const kernels = [...best.keys()].filter((other) => kernelOfPackage(other) !== undefined);
    return kernels.every((other) => compareVersions(best.get(other) ?? '', best.get(name) ?? '') <= 0);
  }

  #versions(upgrades: Upgrade[]): Record<string, string> {
    return Object.fromEntries(
      upgrades.flatMap(({ name }) => {
        const version = this.installed.get(name);
        return version === undefined ? [] : [[name, version]];
      }),
    );
  }

  #contended(step: 'apt.update' | 'apt.download'): CommandOutcome | undefined {
    if (this.#node.bite('lock-contention', step, 'before')) return failure(100, LOCK_ERROR(31_337));
    if (this.lockedBy !== undefined) return failure(100, LOCK_ERROR(this.lockedBy));
    return undefined;
  }

  #fails(step: Step, moment: Moment, how: CommandOutcome): CommandOutcome | undefined {
    return this.#node.bite('apt-fail', step, moment) ? how : undefined;
  }

  #diskFull(): CommandOutcome | undefined {
    if (this.#node.rootFree >= DOWNLOAD_BYTES) return undefined;
    return failure(100, "E: You don't have enough free space in /var/cache/apt/archives/.\n");
  }

  #take(): () => void {
    this.lockedBy = this.#pid += 7;
    return () => {
      this.lockedBy = undefined;
      const waiting = this.#waiting;
      this.#waiting = [];
      for (const wake of waiting) wake();
    };
  }

  #lockFreeWithin(baseMs: number): Promise<boolean> {
    if (baseMs <= 0) return Promise.resolve(false);
    return new Promise((resolve) => {
      const giveUp = this.#node.timers.after(
        this.#node.timing.scale(baseMs),
        () => resolve(false),
        () => resolve(false),
      );
      this.#waiting.push(() => {
        giveUp();
        resolve(this.lockedBy === undefined);
      });
    });
  }

  #record(
    effect: string,
    by: string,
    rest: { before?: unknown; after?: unknown; detail?: Record<string, unknown> },
  ): void {
    this.#node.record(effect, by, rest);
  }
}
