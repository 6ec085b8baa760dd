import type { NodeSim } from './node-sim.js';
import { compareVersions, INSTALLED_SNAPSHOT, kernelOfPackage, type Mirror } from './mirror.js';

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

const failure = (code: number, stderr: string, stdout = ''): CommandOutcome => ({ code, stdout, stderr });
const success = (stdout: string): CommandOutcome => ({ code: 0, stdout, stderr: '' });
const sleepless = (run: (done: (outcome: CommandOutcome) => void) => void): Promise<CommandOutcome> =>
  new Promise((resolve) => run(resolve));

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

  /** `apt-get update`. */
  update(by: string): Promise<CommandOutcome> {
    return sleepless((done) => {
      const locked = this.#contended('apt.update');
      if (locked) return done(locked);
      this.#node.reached('apt.update', 'before');
      const wanted = this.configured;
      this.#node.timers.after(
        this.#node.timing.of('aptUpdate'),
        () => {
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
        () => done(failure(143, 'Terminated\n')),
      );
    });
  }

  /** `apt-get --download-only dist-upgrade`. */
  download(by: string): Promise<CommandOutcome> {
    return sleepless((done) => {
      const refusal = this.#contended('apt.download') ?? this.#diskFull();
      if (refusal) return done(refusal);
      const upgrades = this.pendingUpgrades();
      const missing = upgrades.filter(({ name, version }) => !this.downloaded.has(`${name}=${version}`));
      if (missing.length === 0) return done(success(this.#summary(upgrades)));
      const unlock = this.#take();
      this.#node.reached('apt.download', 'before');
      this.#node.timers.after(
        this.#node.timing.of('aptDownload') / 2,
        () => {
          this.#node.reached('apt.download', 'during');
          this.#node.timers.after(
            this.#node.timing.of('aptDownload') / 2,
            () => {
              unlock();
              const full = this.#diskFull();
              if (full) return done(full);
              for (const { name, version } of missing) this.downloaded.add(`${name}=${version}`);
              this.#record('apt.download', by, { after: Object.fromEntries(missing.map((u) => [u.name, u.version])) });
              done(success(`${this.#summary(upgrades)}Download complete and in download only mode\n`));
            },
            () => (unlock(), done(failure(143, 'Terminated\n'))),
          );
        },
        () => (unlock(), done(failure(143, 'Terminated\n'))),
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
    const fault = this.#node.bite('lock-contention', 'packages.install');
    if (fault) return failure(100, LOCK_ERROR(31_337));
    if (this.lockedBy !== undefined && !(await this.#lockFreeWithin(options.lockTimeoutMs))) {
      return failure(100, LOCK_ERROR(this.lockedBy));
    }
    if (this.halfConfigured.length > 0) return failure(100, DIRTY_ERROR);
    const full = this.#diskFull();
    if (full) return full;
    const upgrades = options.wanted ?? this.pendingUpgrades();
    const summary = this.#summary(upgrades);
    if (upgrades.length === 0) return success(summary);
    const outcome = await this.#install(by, upgrades, options.unit);
    return { ...outcome, stdout: summary + outcome.stdout };
  }

  /** `dpkg --configure -a`. */
  configure(by: string): Promise<CommandOutcome> {
    return sleepless((done) => {
      if (this.lockedBy !== undefined)
        return done(failure(2, 'dpkg: error: dpkg frontend lock was locked by another process\n'));
      if (this.halfConfigured.length === 0) return done(success(''));
      const unlock = this.#take();
      this.#node.timers.after(
        this.#node.timing.of('dpkgConfigure'),
        () => {
          unlock();
          const names = this.halfConfigured;
          this.halfConfigured = [];
          this.#record('packages.configure', by, { before: names, after: [] });
          done(success(names.map((name) => `Setting up ${name} (${this.installed.get(name)}) ...\n`).join('')));
        },
        () => (unlock(), done(failure(143, 'Terminated\n'))),
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

  #install(by: string, upgrades: Upgrade[], unit: string | undefined): Promise<CommandOutcome> {
    const half = Math.max(1, Math.floor(upgrades.length / 2));
    const before = this.#versions(upgrades);
    const unlock = this.#take();
    const detail = unit === undefined ? {} : { unit };
    this.#node.reached('packages.install', 'before');
    this.#record('packages.begin', by, {
      before,
      after: Object.fromEntries(upgrades.map(({ name, version }) => [name, version])),
      detail,
    });
    const end = (
      effect: string,
      done: (outcome: CommandOutcome) => void,
      outcome: CommandOutcome,
      why?: string,
    ): void => {
      unlock();
      this.#record(effect, by, {
        before,
        after: this.#versions(upgrades),
        detail:
          why === undefined
            ? { ...detail, inventory: Object.fromEntries(this.installed) }
            : { ...detail, why, halfConfigured: this.halfConfigured },
      });
      done(outcome);
    };
    return sleepless((done) => {
      const breakHere = (why: string, outcome: CommandOutcome): void => {
        for (const { name, version } of upgrades.slice(0, half)) this.installed.set(name, version);
        this.halfConfigured = upgrades.slice(half - 1, half).map(({ name }) => name);
        end('packages.fail', done, outcome, why);
      };
      const killed = (): void => breakHere('killed', failure(143, 'Terminated\n'));
      this.#node.timers.after(
        this.#node.timing.of('aptInstall') / 2,
        () => {
          const name = upgrades[half - 1]?.name ?? '';
          if (this.#node.bite('apt-fail', 'packages.install')) {
            const text =
              `dpkg: error processing package ${name} (--configure):\n` +
              ` installed ${name} package post-installation script subprocess returned error exit status 1\n` +
              `Errors were encountered while processing:\n ${name}\n` +
              'E: Sub-process /usr/bin/dpkg returned an error code (1)\n';
            return breakHere('post-installation script', failure(100, text));
          }
          this.#node.reached('packages.install', 'during');
          this.#node.timers.after(
            this.#node.timing.of('aptInstall') / 2,
            () => {
              for (const upgrade of upgrades) {
                this.installed.set(upgrade.name, upgrade.version);
                this.downloaded.delete(`${upgrade.name}=${upgrade.version}`);
              }
              const lines = upgrades.map((u) => `Setting up ${u.name} (${u.version}) ...\n`).join('');
              end('packages.install', done, success(lines));
            },
            killed,
          );
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

  #summary(upgrades: Upgrade[]): string {
    const fresh = upgrades.filter(({ old }) => old === undefined);
    const changed = upgrades.filter(({ old }) => old !== undefined);
    const list = (title: string, names: Upgrade[]): string =>
      names.length === 0 ? '' : `${title}\n  ${names.map(({ name }) => name).join(' ')}\n`;
    return (
      'Reading package lists...\nBuilding dependency tree...\nReading state information...\nCalculating upgrade...\n' +
      list('The following NEW packages will be installed:', fresh) +
      list('The following packages will be upgraded:', changed) +
      `${changed.length} upgraded, ${fresh.length} newly installed, 0 to remove and ${this.holds.size} not upgraded.\n`
    );
  }

  #contended(step: string): CommandOutcome | undefined {
    if (this.#node.bite('lock-contention', step)) return failure(100, LOCK_ERROR(31_337));
    if (this.lockedBy !== undefined) return failure(100, LOCK_ERROR(this.lockedBy));
    return undefined;
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
