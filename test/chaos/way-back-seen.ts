import { createHash } from 'node:crypto';
import { readdir, readFile } from 'node:fs/promises';
import type { ApprovalRow } from '#domain/messages/ledger.js';
import {
  desiredPointer,
  desiredRecordSchema,
  pinnedPackages,
  releaseManifestSchema,
  rollbackPermitSchema,
  storeArtifactSchema,
  type DesiredRecord,
  type ReleaseRef,
  type RollbackPermit,
} from '#domain/release.js';
import { rollbackPlanSchema, type RollbackPlan } from '#domain/rollback.js';
import type { Practice } from '../support/practice.js';

/** What was seen of a train that was to be taken back; nothing of it is judged yet. */
export interface WayBackSeen {
  /** What the stores took before, and was good there. */
  before: ReleaseSeen;
  /** The decisions about it, by the ledger. */
  approvals: ApprovalRow[];
  /** All that name a store of the run. */
  permits: RollbackPermit[];
  /** Those that a permit names, by their hash. */
  plans: Record<string, RollbackPlan>;
  /** Of each store, at the end. */
  desired: DesiredRecord[];
}

export interface ReleaseSeen {
  version: string;
  manifest: string;
  kernel: string;
  packages: Record<string, string>;
  /** Digests of the config files of each store. */
  configs: Record<string, string[]>;
}

export async function readWayBack(
  practice: Practice,
  stores: readonly string[],
  before: ReleaseRef,
): Promise<Omit<WayBackSeen, 'approvals'>> {
  const permits = await permitsFor(practice, stores);
  const plans = permits.map(async ({ approval: { planHash } }) => {
    return [planHash, rollbackPlanSchema.parse(JSON.parse(await objectOf(practice, planHash)))] as const;
  });
  return {
    before: await releaseOf(practice, before, stores),
    permits,
    plans: Object.fromEntries(await Promise.all(plans)),
    desired: await Promise.all(stores.map((store) => desiredOf(practice, store))),
  };
}

const objectOf = (practice: Practice, digest: string): Promise<string> =>
  readFile(practice.objects('sha256', digest.replace('sha256:', '')), 'utf8');

const desiredOf = async (practice: Practice, store: string): Promise<DesiredRecord> =>
  desiredRecordSchema.parse(JSON.parse(await readFile(practice.objects('pointers', desiredPointer(store)), 'utf8')));

/** Whoever asked for them, and whether or not any store was shown them. */
async function permitsFor(practice: Practice, stores: readonly string[]): Promise<RollbackPermit[]> {
  const digests = await readdir(practice.objects('sha256'));
  const texts = await Promise.all(digests.map((digest) => objectOf(practice, digest)));
  return texts
    .filter((text) => text.includes('edge.rollback-permit/v1'))
    .flatMap((text) => rollbackPermitSchema.safeParse(JSON.parse(text)).data ?? [])
    .filter((permit) => permit.stores.some((store) => stores.includes(store)));
}

async function releaseOf(
  practice: Practice,
  { version, manifest }: ReleaseRef,
  stores: readonly string[],
): Promise<ReleaseSeen> {
  const release = releaseManifestSchema.parse(JSON.parse(await objectOf(practice, manifest)));
  const configs = release.artifacts
    .filter(({ store }) => stores.includes(store))
    .map(async ({ store, digest }) => {
      const { files } = storeArtifactSchema.parse(JSON.parse(await objectOf(practice, digest)));
      return [store, Object.values(files).map(digestOf)] as const;
    });
  return {
    version,
    manifest,
    kernel: release.packages.kernel,
    packages: pinnedPackages(release),
    configs: Object.fromEntries(await Promise.all(configs)),
  };
}

const digestOf = (text: string): string => `sha256:${createHash('sha256').update(text).digest('hex')}`;
