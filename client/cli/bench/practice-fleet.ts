import { readdir, readFile } from 'node:fs/promises';
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { promotionTag } from '#domain/naming.js';
import type { ReleaseRef } from '#domain/release.js';
import { openGitRepo } from '#systems/git/repo.js';
import { openObjects } from '#systems/objects/open.js';
import { createReleaseBuilder } from '#systems/release/build.js';
import { readConfigFile, storeWorkerSchema } from '#workers/config.js';
import { rememberPorts } from '#workers/embedded/ports.js';
import { ensureReleaseKey } from '#workers/embedded/release-key.js';
import { startRegistry } from '#workers/registry.js';
import { CliFailure } from '../failure.js';
import type { Io } from '../io.js';
import { createLabClient, type LabClient } from '../lab-client.js';
import { labProcess } from '../lab-process.js';
import type { LoadedRepo } from '../repo.js';
import type { Enrolled } from './inventory.js';

const HOST = '127.0.0.1';
const BRANCH = 'main';
/** The release is promoted under this name, for every stage, before anything starts. */
const TRAIN = 'beside';

export interface PracticeFleet {
  lab: LabClient;
  release: ReleaseRef;
  enrolled: Map<string, Enrolled>;
  stop(): Promise<void>;
}

interface FleetOptions {
  io: Io;
  dir: string;
  repo: LoadedRepo;
  speed: number;
  stages: readonly { name: string; stores: readonly string[] }[];
}

/**
 * A practice fleet without the service: its stores, a registry, and a release that is built, signed and promoted, so
 * that the journal can be judged by the same rules whoever does the work.
 */
export async function startPracticeFleet({ io, dir, repo, speed, stages }: FleetOptions): Promise<PracticeFleet> {
  const objects = join(dir, 'objects');
  mkdirSync(objects, { recursive: true });
  const key = ensureReleaseKey(dir);
  const ports = await rememberPorts(dir, ['registry', 'labControl']);
  const registry = await startRegistry({ dir: objects, host: HOST, port: ports.registry });
  const labDir = join(dir, 'lab');
  const child = labProcess({
    io,
    dir,
    repo: repo.dir,
    state: labDir,
    speed,
    controlPort: ports.labControl,
    more: ['--registry', `${HOST}:${ports.registry}`, '--release-keys', key.publicKeys],
  });
  const stop = async () => {
    await child.stop();
    await registry.close();
  };
  try {
    const release = await releaseFor(repo, objects, key.privateKey, stages);
    await child.start();
    const lab = createLabClient(`http://${HOST}:${ports.labControl}`);
    return { lab, release, enrolled: await enrolledBelow(join(labDir, 'enrolment')), stop };
  } catch (error) {
    await stop();
    throw new CliFailure(`The practice fleet did not start: ${(error as Error).message}`, { cause: error });
  }
}

async function releaseFor(
  repo: LoadedRepo,
  objects: string,
  privateKey: string,
  stages: FleetOptions['stages'],
): Promise<ReleaseRef> {
  const git = openGitRepo({ dir: repo.dir });
  const builder = createReleaseBuilder({
    repo: git,
    branch: BRANCH,
    objects: openObjects(pathToFileURL(objects).href),
    key: await readFile(privateKey, 'utf8'),
  });
  const release = await builder.build({ commit: repo.commit, now: new Date() });
  for (const { name, stores } of stages) {
    await git.promote({
      branch: BRANCH,
      tag: promotionTag(TRAIN, name),
      file: `promotions/${TRAIN}/${name}.json`,
      content: `${JSON.stringify({ train: TRAIN, stage: name, release, stores }, undefined, 2)}\n`,
      message: `Promote ${release.version} to ${name}`,
    });
  }
  return release;
}

async function enrolledBelow(folder: string): Promise<Map<string, Enrolled>> {
  const stores = await readdir(folder);
  return new Map(
    await Promise.all(
      stores.map(async (store): Promise<[string, Enrolled]> => {
        const own = join(folder, store);
        return [
          store,
          { folder: own, config: await readConfigFile(join(own, 'store-worker.json'), storeWorkerSchema) },
        ];
      }),
    ),
  );
}
