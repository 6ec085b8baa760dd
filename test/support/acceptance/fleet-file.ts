import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { execa } from 'execa';
import { parseDocument, type Document } from 'yaml';

/** A stage of a practice fleet, short of what each test is not about. */
export interface StageGiven {
  name: string;
  stores: number | 'rest' | { tag: string };
  approval?: boolean;
  limits?: Record<string, unknown>;
}

export async function setStages(repo: string, stages: readonly StageGiven[]): Promise<void> {
  await changeFleet(repo, 'Set the stages', (fleet) => fleet.set('stages', fleet.createNode(stages.map(stageText))));
}

/** Changes fleet.yaml and commits it, as a person does. */
async function changeFleet(repo: string, why: string, change: (fleet: Document) => void): Promise<void> {
  const file = join(repo, 'fleet.yaml');
  const fleet = parseDocument(await readFile(file, 'utf8'));
  change(fleet);
  await writeFile(file, fleet.toString());
  const author = ['-c', 'user.name=tester', '-c', 'user.email=tester@localhost', '-c', 'core.hooksPath=/dev/null'];
  await execa('git', ['-C', repo, ...author, 'commit', '--quiet', '--all', '--message', why]);
}

/** Raises the release to the week after the one that a new repo pins. */
export async function setNextRelease(repo: string): Promise<void> {
  await changeFleet(repo, 'Release the next sequence', (fleet) => {
    fleet.setIn(['release', 'version'], '2026.48.1');
    fleet.setIn(['release', 'sequence'], 49);
  });
}

const stageText = ({ name, stores, approval = false, limits = {} }: StageGiven) => ({
  name,
  stores,
  soak: '1s',
  approval: { required: approval, expires: '10m' },
  limits: {
    maxConcurrency: '100%',
    errorThreshold: { count: 0 },
    offlineThreshold: { percent: 100, minSample: 10 },
    storeTimeout: '5m',
    stageTimeout: '20m',
    offlineAfter: '20s',
    cutOffAfter: '60s',
    deferFor: '1s',
    ...limits,
  },
});
