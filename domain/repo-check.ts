import { fleetSchema, storeSchema, type Fleet, type MaintenanceWindow, type Store } from './fleet.js';
import { DISK_NAMES } from './left-out.js';
import { pathOf } from './messages/parse.js';
import { BACKUP_STAGE, MAX_NAMESPACE_NAME, RESTORE_STAGE, ROLLBACK_STAGE, STORE_ID } from './naming.js';
import { OVERRIDES_FILE, parseOverrides } from './overrides.js';
import { planStages } from './plan.js';
import { isPveRange } from './pve-range.js';
import type { RepoFiles } from './repo-files.js';
import { MAX_CONFIG_FILE, MAX_FLEET_FILE, MAX_STORE_CONFIG, MAX_STORE_FILE, MAX_STORES } from './repo-limits.js';
import { parseRevocations, REVOKED_FILE } from './revocations.js';
import { parseAdvisories } from './scan.js';
import { windowsMeet } from './windows.js';
import { printable, readYaml, type Problem, type YamlFile } from './yaml-file.js';

/**
 * The one reader of the GitOps repo: `edge fleet check`, the release worker and the planner all judge it here, so that
 * nothing is planned that was not checked. It finds every problem in one go; only how the fields of a section, or whole
 * files, fit together is judged when each of them can be read.
 */
export interface CheckedRepo {
  problems: Problem[];
  /** Present when `fleet.yaml` itself has no problem of form. */
  fleet?: Fleet;
  /** Those whose file has no problem of form, by id. */
  stores: Store[];
}

export const FLEET_FILE = 'fleet.yaml';
export const storeFolder = (store: string): string => `clusters/${store}`;
const storeFile = (store: string): string => `${storeFolder(store)}/store.yaml`;

export const parseFleet = (text: string, file: string = FLEET_FILE): YamlFile<Fleet> =>
  readYaml({ schema: fleetSchema, text, file, maxBytes: MAX_FLEET_FILE });

const parseStore = (text: string, file: string): YamlFile<Store> =>
  readYaml({ schema: storeSchema, text, file, maxBytes: MAX_STORE_FILE });

interface ReadStore {
  store: Store;
  file: string;
  lineOf: YamlFile<Store>['lineOf'];
}

export function checkRepo(files: RepoFiles): CheckedRepo {
  const problems: Problem[] = [];
  const fleet = readFleet(files, problems);
  const stores = readStores(files, problems);
  problems.push(...problemsOfPolicy(files, REVOKED_FILE, parseRevocations));
  problems.push(...problemsOfPolicy(files, OVERRIDES_FILE, parseOverrides));
  if (fleet) {
    problems.push(...problemsOfFleet(fleet, files));
    problems.push(...problemsOfAdvisories(fleet.parts, files));
  }
  if (fleet?.value?.backup?.offsite) problems.push(...stores.flatMap(namespaceProblems));
  if (fleet?.value) {
    // A store whose file cannot be read would be missing from every count: the plan is judged when all can be.
    if (stores.length > 0 && problems.every(({ file }) => !file.startsWith('clusters'))) {
      problems.push(...problemsOfPlan(fleet.value, fleet.lineOf, stores));
    }
  }
  const checked = { problems, stores: stores.map(({ store }) => store) };
  return fleet?.value ? { ...checked, fleet: fleet.value } : checked;
}

function readFleet(files: RepoFiles, problems: Problem[]): YamlFile<Fleet> | undefined {
  const found = textOf(files, FLEET_FILE, MAX_FLEET_FILE);
  if (typeof found === 'object') {
    problems.push({ file: FLEET_FILE, line: 1, path: '', message: found.problem });
    return undefined;
  }
  const parsed = parseFleet(found);
  problems.push(...parsed.problems);
  return parsed;
}

function readStores(files: RepoFiles, problems: Problem[]): ReadStore[] {
  const folders = new Set<string>();
  for (const path of files.keys()) {
    const [top, folder, rest] = path.split('/', 3);
    if (top === 'clusters' && folder !== undefined && rest !== undefined) folders.add(folder);
  }
  const place = (file: string, message: string): void => void problems.push({ file, line: 1, path: '', message });
  if (folders.size === 0) place('clusters', 'has no stores. Each store is a folder with a store.yaml.');
  if (folders.size > MAX_STORES) {
    place('clusters', `has ${folders.size} stores; at most ${MAX_STORES} are read.`);
    return [];
  }

  const stores: ReadStore[] = [];
  for (const folder of [...folders].toSorted()) {
    if (!STORE_ID.test(folder)) {
      const named = `clusters/${printable(folder)}`;
      place(
        named,
        'is not a store id. Use lower case letters, digits and dashes, at most 63, not starting with a dash.',
      );
      continue;
    }
    const file = storeFile(folder);
    const found = textOf(files, file, MAX_STORE_FILE);
    if (typeof found === 'object') {
      place(file, found.problem);
      continue;
    }
    const { value, parts, problems: own, lineOf } = parseStore(found, file);
    problems.push(...own, ...problemsOfStore({ folder, file, parts, lineOf }, files));
    if (!value) continue;
    if (value.id !== folder) {
      const message = `is ${value.id}, but the folder is ${folder}. A store's folder bears its id.`;
      problems.push({ file, line: lineOf(['id']), path: 'id', message });
      continue;
    }
    stores.push({ store: value, file, lineOf });
  }
  return stores;
}

/** The backups of a store are kept under its id at the central server. */
function namespaceProblems({ store: { id, backup }, file, lineOf }: ReadStore): Problem[] {
  if (!backup || id.length <= MAX_NAMESPACE_NAME) return [];
  const message =
    `has ${id.length} characters: its backups could not be sent to the second place (backup.offsite), where a name has ` +
    `at most ${MAX_NAMESPACE_NAME}. Give the store a shorter id.`;
  return [problemAt(file, lineOf, ['id'], message)];
}

function textOf(files: RepoFiles, path: string, maxBytes: number): string | { problem: string } {
  const file = files.get(path);
  if (!file) return { problem: 'is missing.' };
  if (file.size > maxBytes) return { problem: `has ${file.size} bytes; at most ${maxBytes} are read.` };
  return file.text ?? { problem: 'is not UTF-8 text.' };
}

/** A path inside a file, and what is wrong there. */
type Finding = [path: PropertyKey[], message: string];

function problemsOfStore(
  { folder, file, parts, lineOf }: { folder: string; file: string } & Pick<YamlFile<Store>, 'parts' | 'lineOf'>,
  files: RepoFiles,
): Problem[] {
  return [...duplicatesInStore(parts), ...configFindings(folder, parts, files)].map(([path, message]) =>
    problemAt(file, lineOf, path, message),
  );
}

function* duplicatesInStore({ nodes = [], guests = [] }: Partial<Store>): Generator<Finding> {
  yield* duplicates(
    nodes,
    ({ name }) => name,
    (index) => ['nodes', index, 'name'],
  );
  const endpoints = new Set<string>();
  for (const [index, { address, apiPort, sshPort }] of nodes.entries()) {
    const own = [`${address} port ${apiPort}`, `${address} port ${sshPort}`];
    const taken = own.find((endpoint) => endpoints.has(endpoint));
    if (taken !== undefined) yield [['nodes', index, 'address'], `is used twice: ${taken}.`];
    for (const endpoint of own) endpoints.add(endpoint);
  }
  yield* duplicates(
    guests,
    ({ vmid }) => String(vmid),
    (index) => ['guests', index, 'vmid'],
  );
  yield* duplicates(
    guests,
    ({ name }) => name,
    (index) => ['guests', index, 'name'],
  );
  for (const [index, { config }] of guests.entries()) {
    yield* duplicates(
      config,
      ({ target }) => target,
      (entry) => ['guests', index, 'config', entry, 'target'],
    );
  }
}

function* duplicates<T>(
  items: readonly T[],
  keyOf: (item: T) => string,
  pathTo: (index: number) => PropertyKey[],
): Generator<Finding> {
  const seen = new Set<string>();
  for (const [index, item] of items.entries()) {
    const key = keyOf(item);
    if (seen.has(key)) yield [pathTo(index), `is used twice: ${key}.`];
    seen.add(key);
  }
}

function* configFindings(folder: string, { guests = [] }: Partial<Store>, files: RepoFiles): Generator<Finding> {
  let total = 0;
  for (const [guest, { config }] of guests.entries()) {
    for (const [entry, { file }] of config.entries()) {
      const path = ['guests', guest, 'config', entry, 'file'];
      const full = `${storeFolder(folder)}/${file}`;
      const found = textOf(files, full, MAX_CONFIG_FILE);
      if (typeof found === 'object') yield [path, `names ${full}, which ${found.problem}`];
      else total += files.get(full)?.size ?? 0;
    }
  }
  if (total > MAX_STORE_CONFIG) {
    yield [['guests'], `name files of ${total} bytes together; a store may have ${MAX_STORE_CONFIG}.`];
  }
}

function problemsOfFleet({ parts, lineOf }: YamlFile<Fleet>, files: RepoFiles): Problem[] {
  return [
    ...releaseFindings(parts),
    ...nameFindings(parts),
    ...limitFindings(parts),
    ...freezeFindings(parts),
    ...scanFindings(parts, files),
    ...backupFindings(parts),
  ].map(([path, message]) => problemAt(FLEET_FILE, lineOf, path, message));
}

function* releaseFindings({ release }: Partial<Fleet>): Generator<Finding> {
  if (!release) return;
  yield* duplicates(
    release.packages,
    ({ name }) => name,
    (index) => ['release', 'packages', index, 'name'],
  );
  yield* duplicates(
    release.images,
    ({ name }) => name,
    (index) => ['release', 'images', index, 'name'],
  );
  if (!isPveRange(release.compat.pve)) {
    yield [['release', 'compat', 'pve'], 'is not a range. Write comparators joined by blanks, e.g. >=8.2 <10.'];
  }
  const ofKernel = ['proxmox-kernel-', 'pve-kernel-'].flatMap((prefix) => [
    `${prefix}${release.kernel}`,
    `${prefix}${release.kernel}-signed`,
  ]);
  if (!release.packages.some(({ name }) => ofKernel.includes(name))) {
    yield [['release', 'kernel'], `is not among the packages. Pin ${ofKernel[1]}, or name the kernel that is pinned.`];
  }
}

function* nameFindings({ stages = [] }: Partial<Fleet>): Generator<Finding> {
  for (const [index, { name }] of stages.entries()) {
    const taken = { [ROLLBACK_STAGE]: 'rollbacks', [BACKUP_STAGE]: 'backups', [RESTORE_STAGE]: 'restore tests' };
    if (!Object.hasOwn(taken, name)) continue;
    const what = taken[name as keyof typeof taken];
    yield [['stages', index, 'name'], `may not be ${name}: ${what} are recorded under that name.`];
  }
}

function* limitFindings({ stages = [] }: Partial<Fleet>): Generator<Finding> {
  for (const [index, { name, limits }] of stages.entries()) {
    for (const key of ['errorThreshold', 'offlineThreshold'] as const) {
      const { count, percent } = limits[key];
      if (count !== undefined || percent !== undefined) continue;
      const path = ['stages', index, 'limits', key];
      yield [path, `of ${name} has neither count nor percent: no number of stores would ever stop the stage.`];
    }
  }
}

function* freezeFindings({ freezes = [] }: Partial<Fleet>): Generator<Finding> {
  for (const [index, { from, to }] of freezes.entries()) {
    if (from > to) yield [['freezes', index, 'to'], `is ${to}, before it begins (${from}).`];
  }
}

function* backupFindings({ backup }: Partial<Fleet>): Generator<Finding> {
  if (!backup) return;
  const { tiers, defaultTier, offsite, window, collectOn } = backup;
  if (window.days && !window.days.includes(collectOn)) {
    yield [
      ['backup', 'collectOn'],
      `is ${collectOn}, on which no night begins: the window has ${window.days.join(' ')}.`,
    ];
  }
  if (!Object.hasOwn(tiers, defaultTier)) {
    yield [['backup', 'defaultTier'], `is ${defaultTier}, which is not among the tiers.`];
  }
  for (const [name, { rpo }] of Object.entries(tiers)) {
    const path = ['backup', 'tiers', name, 'rpo'];
    if (offsite && rpo.offsite === undefined) yield [path, 'needs offsite: there is a second place.'];
    if (!offsite && rpo.offsite !== undefined) yield [[...path, 'offsite'], 'is set, but there is no second place.'];
  }
}

/** The advisory file is judged with the rest: a build would stop at it. */
function problemsOfAdvisories({ scan }: Partial<Fleet>, files: RepoFiles): Problem[] {
  if (!scan) return [];
  const file = scan.advisories;
  const text = files.get(file)?.text;
  return text === undefined ? [] : parseAdvisories(text, file).problems;
}

/** A repo without the file revokes or overrides nothing; one whose file cannot be read is not planned from. */
function problemsOfPolicy(files: RepoFiles, file: string, parse: (text: string) => { problems: Problem[] }): Problem[] {
  if (!files.has(file)) return [];
  const found = textOf(files, file, MAX_FLEET_FILE);
  if (typeof found === 'object') return [{ file, line: 1, path: '', message: found.problem }];
  return parse(found).problems;
}

function* scanFindings({ scan }: Partial<Fleet>, files: RepoFiles): Generator<Finding> {
  if (!scan) return;
  const path = ['scan', 'advisories'];
  if (!/^policies\/[A-Za-z0-9][A-Za-z0-9._-]*$/.test(scan.advisories)) {
    yield [path, 'must be a file in policies/.'];
    return;
  }
  const found = textOf(files, scan.advisories, MAX_FLEET_FILE);
  if (typeof found === 'object') yield [path, `names ${scan.advisories}, which ${found.problem}`];
}

function problemsOfPlan(fleet: Fleet, lineOf: YamlFile<Fleet>['lineOf'], stores: ReadStore[]): Problem[] {
  const ids = new Set(stores.map(({ store }) => store.id));
  const problems: Problem[] = [...problemsOfBackup(fleet, lineOf, stores)];
  for (const [index, freeze] of fleet.freezes.entries()) {
    for (const [entry, id] of (freeze.stores ?? []).entries()) {
      if (ids.has(id)) continue;
      const path = ['freezes', index, 'stores', entry];
      problems.push(problemAt(FLEET_FILE, lineOf, path, `names ${id}, which is not a store of this fleet.`));
    }
  }
  // Holds and freezes do not move a store to another stage, so any day gives the same stages.
  const plan = planStages({ fleet, stores: stores.map(({ store }) => store), today: '2026-01-01' });
  for (const sentence of plan.problems) {
    problems.push(problemAt(FLEET_FILE, lineOf, ['stages'], sentence.replace(/^stages: /, '')));
  }
  return [...problems, ...problemsOfWindows(fleet, stores, plan.stages)];
}

function problemsOfBackup(fleet: Fleet, lineOf: YamlFile<Fleet>['lineOf'], stores: ReadStore[]): Problem[] {
  const problems: Problem[] = [];
  if (fleet.recoverability && !fleet.backup) {
    problems.push(problemAt(FLEET_FILE, lineOf, ['recoverability'], 'asks for backups, but backup is not set.'));
  }
  for (const { store, file, lineOf: lineIn } of stores) {
    for (const [path, message] of storeBackupFindings(store, fleet)) {
      problems.push(problemAt(file, lineIn, path, message));
    }
  }
  return problems;
}

function* storeBackupFindings({ backup, guests, timeZone }: Store, fleet: Fleet): Generator<Finding> {
  for (const [index, { kind, tier, probes, withoutDisks = [] }] of guests.entries()) {
    if (tier !== undefined && !Object.hasOwn(fleet.backup?.tiers ?? {}, tier)) {
      yield [['guests', index, 'tier'], `is ${tier}, which is not among the tiers in ${FLEET_FILE}.`];
    }
    for (const [at, disk] of withoutDisks.entries()) {
      if (DISK_NAMES[kind].test(disk)) continue;
      const example = kind === 'lxc' ? 'a mount point of a container, such as mp0' : 'a disk of a VM, such as scsi1';
      yield [['guests', index, 'withoutDisks', at], `${disk} is not ${example}.`];
    }
    yield* duplicates(
      withoutDisks,
      (disk) => disk,
      (disk) => ['guests', index, 'withoutDisks', disk],
    );
    yield* duplicates(
      probes ?? [],
      ({ name }) => name,
      (probe) => ['guests', index, 'probes', probe, 'name'],
    );
  }
  if (!backup) return;
  if (!fleet.backup) {
    yield [['backup'], `is set, but ${FLEET_FILE} has no backup.`];
    return;
  }
  const { uplink } = backup;
  if (uplink !== undefined && !Object.hasOwn(fleet.backup.uplinks, uplink)) {
    yield [['backup', 'uplink'], `is ${uplink}, which is not among the uplinks in ${FLEET_FILE}.`];
  }
  const { window } = fleet.backup;
  const storeZone = timeZone ?? fleet.timeZone;
  const pair = { stage: window, fleetZone: fleet.timeZone, store: backup.window, storeZone };
  if (backup.window && !windowsMeet(pair)) {
    const message = `(${windowText(backup.window, storeZone)}) does not meet that of the fleet (${windowText(window, fleet.timeZone)}) in summer and winter alike: the store could not be backed up.`;
    yield [['backup', 'window'], message];
  }
}

function problemsOfWindows(
  fleet: Fleet,
  stores: ReadStore[],
  plan: { name: string; stores: string[]; excluded: { store: string }[] }[],
): Problem[] {
  const stageOf = new Map(
    plan.flatMap((planned) => {
      const stage = fleet.stages.find(({ name }) => name === planned.name);
      const members = [...planned.stores, ...planned.excluded.map(({ store }) => store)];
      return stage ? members.map((id) => [id, stage] as const) : [];
    }),
  );
  // Hundreds of stores share a handful of windows.
  const known = new Map<string, boolean>();
  const problems: Problem[] = [];
  for (const { store, file, lineOf } of stores) {
    const stage = stageOf.get(store.id);
    if (!stage?.window || !store.window) continue;
    const storeZone = store.timeZone ?? fleet.timeZone;
    const key = JSON.stringify([stage.window, store.window, storeZone]);
    const pair = { stage: stage.window, fleetZone: fleet.timeZone, store: store.window, storeZone };
    const meet = known.get(key) ?? windowsMeet(pair);
    known.set(key, meet);
    if (meet) continue;
    const message = `(${windowText(store.window, storeZone)}) does not meet that of stage ${stage.name} (${windowText(stage.window, fleet.timeZone)}) in summer and winter alike: the store could not be patched.`;
    problems.push(problemAt(file, lineOf, ['window'], message));
  }
  return problems;
}

const windowText = ({ days, start, end }: MaintenanceWindow, zone: string): string =>
  `${days ? `${days.join(' ')} ` : ''}${start}–${end} ${zone}`;

function problemAt(
  file: string,
  lineOf: (path: PropertyKey[]) => number,
  path: PropertyKey[],
  message: string,
): Problem {
  return { file, line: lineOf(path), path: pathOf(path), message };
}
