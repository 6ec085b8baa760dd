import { parse as parseYaml } from 'yaml';
import { fleetSchema, storeSchema, type Fleet, type Store } from '#domain/fleet.js';
import { openGitRepo } from '#systems/git/repo.js';

export interface LoadedRepo {
  dir: string;
  commit: string;
  fleet: Fleet;
  stores: Store[];
}
const MAX = 1_000_000;
const BRANCH = 'main';

export async function loadRepo(dir: string): Promise<LoadedRepo> {
  const git = openGitRepo({ dir });
  const commit = await git.head(BRANCH);
  const files = await git.list(commit, '');
  const paths = files.map(({ path }) => path).filter((path) => /^clusters\/[^/]+\/store\.yaml$/.test(path));
  const texts = await git.readMany(commit, ['fleet.yaml', ...paths], MAX);
  const read = (path: string): unknown => parseYaml(String(texts.get(path)));
  return {
    dir,
    commit,
    fleet: fleetSchema.parse(read('fleet.yaml')),
    stores: paths.map((path) => storeSchema.parse(read(path))),
  };
}

export async function loadFleetAt(dir: string, commit: string): Promise<Fleet | undefined> {
  const text = await openGitRepo({ dir }).read(commit, 'fleet.yaml', MAX);
  return fleetSchema.safeParse(parseYaml(String(text))).data;
}
