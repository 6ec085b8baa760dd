/**
 * Every id, task queue and search attribute of the service is built here and nowhere else,
 * so that a person can find a store, a stage or a train by the same word in every tool.
 */

/** A store's id, e.g. `store-001`: lower case letters, digits and dashes; safe in paths, URLs, queues and shells. */
export const STORE_ID = /^[a-z0-9][a-z0-9-]{0,62}$/;
/** A namespace of a backup server has a name of at most so many characters: at the central one it is the store's id. */
export const MAX_NAMESPACE_NAME = 32;
/** A node's name inside its store, e.g. `n1`: a DNS label. */
export const NODE_NAME = /^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$/;
/** A train's id, e.g. `2026-w48`; also a Git ref component, hence no dots, slashes or leading dash. */
export const TRAIN_ID = /^[a-z0-9][a-z0-9-]{0,62}$/;
export const STAGE_NAME = /^[a-z0-9][a-z0-9-]{0,30}$/;
export const SHA256 = /^sha256:[0-9a-f]{64}$/;
export const COMMIT = /^[0-9a-f]{40}$/;
/** `YYYY.WW.N`, e.g. `2026.48.0`. */
export const RELEASE_VERSION = /^\d{4}\.\d{1,2}\.\d{1,3}$/;
/** As `operationId` makes them; a store takes the name from outside and keeps its journal by it. */
export const OPERATION_ID = /^[a-z0-9][a-z0-9/-]{0,199}$/;

export const CONTROL_QUEUE = 'edge-control';
export const RELEASE_QUEUE = 'edge-release';
/** What the builds of the control worker are versions of. The other workers run no workflows and have none. */
export const CONTROL_DEPLOYMENT = 'edge-control';
/** Of the worker at the central backup server. */
export const OFFSITE_QUEUE = 'edge-offsite';
/** Of the worker at the staging site, where backups are restored for a test. */
export const STAGING_QUEUE = 'edge-staging';
export const storeQueue = (store: string): string => `store:${store}`;

/** One train per fleet, however it was started: the server refuses a second one under the same id. */
export const trainWorkflowId = (fleet: string): string => `train/${fleet}`;
/** Undefined when it is the id of something else. */
export const fleetOfTrain = (workflowId: string): string | undefined => /^train\/(.+)$/.exec(workflowId)?.[1];
export const launchWorkflowId = (fleet: string): string => `launch/${fleet}`;
/** Below it stand the runs of a fleet's janitor; Temporal adds the time to the id of those that a schedule starts. */
export const janitorRuns = (fleet: string): string => `janitor/${fleet}/`;
export const janitorWorkflowId = (fleet: string, startedBy: 'nightly' | 'by-hand'): string =>
  `${janitorRuns(fleet)}${startedBy}`;
/** Below it stand the runs of a fleet's nights of backups. */
export const nightRuns = (fleet: string): string => `backup/${fleet}/`;
export const nightWorkflowId = (fleet: string, startedBy: 'nightly' | 'by-hand'): string =>
  `${nightRuns(fleet)}${startedBy}`;
/** Below it stand the runs of a fleet's restore tests. */
export const restoreRuns = (fleet: string): string => `restores/${fleet}/`;
export const restoreRunWorkflowId = (fleet: string, startedBy: 'weekly' | 'by-hand'): string =>
  `${restoreRuns(fleet)}${startedBy}`;
/** The guests of a store that are tried; the store itself is not touched. */
export const restoreWorkflowId = (store: string): string => `restore/${store}`;
/** Any number may run: they only look. */
export const surveyWorkflowId = (fleet: string, id: string): string => `survey/${fleet}/${id}`;
/** One operation per store: whatever changes a store runs under this id. */
export const storeWorkflowId = (store: string): string => `store/${store}`;
/** What is done to the backups of a store runs under this id; the store itself is held only while guests are dumped. */
export const backupWorkflowId = (store: string): string => `pbs/${store}`;
export const waveWorkflowId = (train: string, stage: string, round: number, part: number): string =>
  part === 0 ? `${train}/${stage}/r${round}` : `${train}/${stage}/r${round}/${part}`;
export const operationId = (train: string, stage: string, store: string, round: number): string =>
  `${train}/${stage}/${store}/r${round}`;
/** Which operation has this name. */
export function operationNamed(name: string): { stage: string; store: string; round: number } | undefined {
  const [, stage, store, round] = /^.+\/([^/]+)\/([^/]+)\/r(\d+)$/.exec(name) ?? [];
  return stage === undefined || store === undefined ? undefined : { stage, store, round: Number(round) };
}
/**
 * Where a store worker's journal keeps a step of an operation. With the fence, since a train that is run again repeats
 * the ids of its operations.
 */
export const stepKey = (operation: { operationId: string; fence: number }, step: string): string =>
  `${operation.operationId}|${operation.fence}|${step}`;

export const trainScheduleId = (fleet: string): string => `edge-governor/train/${fleet}`;
export const backupScheduleId = (fleet: string): string => `edge-governor/backup/${fleet}`;
export const restoreScheduleId = (fleet: string): string => `edge-governor/restores/${fleet}`;
export const janitorScheduleId = (fleet: string): string => `edge-governor/janitor/${fleet}`;
/** Written into the memo of each schedule that `edge schedules` manages; schedules without it are never touched. */
export const SCHEDULE_OWNER = 'edge-governor';

/** Below it stand the tags of all promotions of a train. */
export const promotionTags = (train: string): string => `edge/${train}`;
export const promotionTag = (train: string, stage: string): string => `${promotionTags(train)}/${stage}`;
/** Taken in fleet.yaml: under this name stand the approval, the results and the desired records of a rollback. */
export const ROLLBACK_STAGE = 'rollback';
export const rollbackTag = (train: string): string => promotionTag(train, ROLLBACK_STAGE);

/** Taken in fleet.yaml too: under this name stands what became of a store in a night, whose id takes the place of a train's. */
export const BACKUP_STAGE = 'backup';
/** And under this one, what became of its guests in a run of restore tests. */
export const RESTORE_STAGE = 'restore';

/** What is done to a store, as its history tells it. */
export const STORE_OPERATIONS = ['patch', ROLLBACK_STAGE, BACKUP_STAGE, RESTORE_STAGE] as const;
export type StoreOperationKind = (typeof STORE_OPERATIONS)[number];
/** Of a result in the ledger: whatever ran under a name of its own, else the patch of a train's stage. */
export const operationOfStage = (stage: string): StoreOperationKind =>
  STORE_OPERATIONS.find((operation) => operation === stage) ?? 'patch';

/** The systemd unit that upgrades a node. Named by the release, so that a later operation with the same release adopts it. */
export const upgradeUnit = (releaseDigest: string): string => `edge-governor-upgrade-${shortDigest(releaseDigest)}`;
export const UPGRADE_UNIT_PREFIX = 'edge-governor-upgrade-';

/** The first twelve hex digits of `sha256:…` (or of bare hex): enough for people, never used to decide. */
export const shortDigest = (digest: string): string => digest.replace(/^sha256:/, '').slice(0, 12);

/** Search attributes, all of type Keyword. */
export const SEARCH_ATTRIBUTES = {
  store: 'EdgeStore',
  train: 'EdgeTrain',
  stage: 'EdgeStage',
  operation: 'EdgeOperation',
  outcome: 'EdgeOutcome',
  reason: 'EdgeReason',
  release: 'EdgeRelease',
} as const;
