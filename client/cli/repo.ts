import { plural } from '#domain/counted.js';
import type { Fleet, Store } from '#domain/fleet.js';
import { checkRepo, FLEET_FILE, parseFleet } from '#domain/repo-check.js';
import { collectRepoFiles } from '#domain/repo-files.js';
import { MAX_CONFIG_FILE, MAX_FLEET_FILE } from '#domain/repo-limits.js';
import { problemText } from '#domain/yaml-file.js';
import { openGitRepo } from '#systems/git/repo.js';
import { checkRepo as checkFolder, folderSource } from '../repo/check.js';
import { CliFailure } from './failure.js';
import type { ServiceFile } from './service-file.js';

/** The GitOps repo as the service sees it: committed, and without a single problem. */
export interface LoadedRepo {
  dir: string;
  commit: string;
  fleet: Fleet;
  stores: Store[];
}

const BRANCH = 'main';

/** Reads the tip of the branch. Throws a sentence when it has problems; `edge fleet check` lists them all. */
export async function loadRepo(dir: string, branch: string = BRANCH): Promise<LoadedRepo> {
  const git = openGitRepo({ dir });
  const commit = await git.head(branch).catch((error: unknown) => {
    throw new CliFailure(
      `The repo ${dir} cannot be read: ${(error as Error).message} A new one is made by: edge init`,
      { cause: error },
    );
  });
  const files = await collectRepoFiles({
    list: () => git.list(commit, ''),
    readMany: (paths) => git.readMany(commit, paths, MAX_CONFIG_FILE),
  });
  const { fleet, stores, problems } = checkRepo(files);
  if (fleet !== undefined && problems.length === 0) return { dir, commit, fleet, stores };
  throw new CliFailure(
    `${dir} at ${commit.slice(0, 12)} has ${plural(problems.length, 'problem')}; all of them: edge fleet check --repo ${dir}`,
    { problems: problems.map(problemText) },
  );
}

/** The repo of a service that runs on this machine; undefined elsewhere, and when it cannot be read or has problems. */
export const loadRepoOf = async (service: ServiceFile | undefined): Promise<LoadedRepo | undefined> =>
  service?.repo === undefined ? undefined : loadRepo(service.repo, service.branch).catch(() => undefined);

/** `fleet.yaml` of an earlier commit; undefined when the commit or the file is gone, or is not valid today. */
export async function loadFleetAt(dir: string, commit: string): Promise<Fleet | undefined> {
  try {
    const bytes = await openGitRepo({ dir }).read(commit, FLEET_FILE, MAX_FLEET_FILE);
    return parseFleet(bytes.toString('utf8')).value;
  } catch {
    return undefined;
  }
}

/** The files of the repo's folder as they are, for commands that only compare them with what happened. */
export async function loadFolder(dir: string): Promise<{ fleet: Fleet; stores: Store[] }> {
  const { fleet, stores, problems } = await checkFolder(folderSource(dir)).catch((error: unknown) => {
    throw new CliFailure(`${dir} cannot be read: ${(error as Error).message}`, { cause: error });
  });
  if (fleet !== undefined && problems.length === 0) return { fleet, stores };
  throw new CliFailure(`The repo ${dir} is not valid. All of its problems: edge fleet check --repo ${dir}`, {
    problems: problems.slice(0, 20).map(problemText),
  });
}
