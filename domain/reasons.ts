/**
 * The closed list of reasons: why a store or a train did not simply succeed. The same word stands in results,
 * search attributes, ledger, CLI, chat and tests, and each has a runbook of that name.
 */
export const REASONS = {
  // A release that a store refuses. Nothing was touched.
  SignatureInvalid: 'The signature over the release does not match its bytes.',
  KeyUnknown: 'The release is signed by a key that this store does not pin.',
  DigestMismatch: 'What was downloaded is not what the release or the task names by digest.',
  SequenceRollback: 'The release is older than one this store has already accepted.',
  ReleaseExpired: 'The release is past its expiry.',
  ReleaseIncompatible: 'The release does not fit this store (Proxmox version or starting point).',
  ScanDenied: 'The vulnerability scan of the release denies it, is missing, or is not for this release.',
  ReleaseMalformed: 'The release or its bundle cannot be read: too large, not JSON, or not of the known form.',
  NotPromoted: 'The desired record that this store pulled does not name this release.',
  RollbackNotPermitted: 'The release is older, and the permit to go back to it does not hold for this store.',
  RegistryUnreachable: 'The registry did not answer, so the release could not be pulled and verified.',
  ReleaseRevoked: 'The release is revoked; no store is brought to it.',
  NoLastGood: 'No earlier release is recorded that ran well on this store, so there is nothing to go back to.',

  // Before anything is changed.
  StoreBusy: 'Another operation holds the store.',
  WorkerTooOld: 'The store worker speaks another protocol version.',
  StaleOperation: 'A newer operation has taken the store; this one may not act any more.',
  PermissionsMissing: 'The API token of the store worker lacks privileges that the operation needs.',
  FactsUnreadable: 'A fact that a decision rests on could not be read. Unknown is not healthy.',
  NoQuorum: 'The Proxmox cluster is not quorate.',
  NodeOffline: 'A node of the store is offline.',
  NodeInMaintenance: 'A node is in maintenance that this operation did not set.',
  HaUnhealthy:
    'High availability is not settled: a service is in error, fence, recovery or migration, or a manager is stale.',
  CephBlocked: 'A Ceph health check blocks work on a node.',
  CephNotOkToStop: 'Ceph says that stopping this host would make data unavailable.',
  CephUnclean: 'Placement groups are not all active and clean, or OSDs or monitors are missing.',
  ForeignFlags: 'A Ceph flag is set that this operation did not set.',
  NotEnoughMemory: 'The other two nodes cannot hold the guests of the node to be drained.',
  GuestLocked: 'A guest is locked or cannot move.',
  TasksRunning: 'Backups, migrations or other tasks are running in the cluster.',
  PackagesBroken: 'dpkg is not clean, packages are on hold, or an upgrade by someone else is running.',
  DiskFull: 'A node has too little free disk space.',
  ManifestMismatch: 'What apt would install is not what the release pins.',
  OutsideWindow: 'The maintenance window does not allow the step to start now.',
  FactsChanged: 'Facts turned bad between the decision and the step; the store refused to act.',

  // While a node is worked on.
  DrainTimeout: 'Guests did not leave the node in time.',
  UpgradeFailed: 'apt ended with an error.',
  UpgradeTimeout: 'apt did not end in time.',
  InventoryMismatch: 'The installed packages are not those of the release.',
  RebootTimeout: 'The node did not come back in time.',
  WrongKernel: 'The node came back with another kernel than the release names.',
  RejoinTimeout: 'The node did not rejoin cluster and Ceph in time.',
  RecoveryStuck: 'Ceph recovery did not end in time.',
  UndoIncomplete: 'Something that the operation set could not be taken back.',
  ConfigRejected: 'A guest refused the new configuration; the last good one is back in place.',
  VerifyFailed: 'After the operation the store is not as it should be.',
  StepFailed: 'A step failed in a way that has no name of its own; the detail says how.',
  OperationTimeout: 'The operation did not end within the time for one store.',
  Terminated: 'The operation was terminated from outside.',

  // Why a store is not started or not finished.
  StoreOffline: 'The store worker did not answer.',
  UndoPending: 'The store was silent when the train ended; it takes back what is set when it is back.',
  StoreCutOff: 'The store fell silent in the middle of the operation.',
  StoreOnHold: 'The store is on hold until a date given in its file.',
  Frozen: 'A freeze is in force.',
  DeadlineReached: 'The train ended before this store was done.',
  Aborted: 'An operator aborted.',
  NoRecentBackup: 'A guest of the store has no proven backup that is young enough.',
  NoRestoreProof: 'No restore of a guest of this class has passed its test recently enough.',

  // While a store is backed up.
  BackupFailed: 'No guest of the store got a new backup that is verified.',
  BackupIncomplete: 'Some guests got no new verified backup, or a step after the backups did not end well.',
  BackupRefused: 'Token, privilege or certificate was refused while guests were backed up.',
  BackupVerifyFailed: 'A new backup is damaged: its verification failed.',
  BackupUnencrypted: 'A new backup is not encrypted, though it should be.',
  DatastoreFull: 'The datastore has no room for new backups.',

  // When guests of the store are restored for a test.
  RestoreTestFailed:
    'A guest could not be had back from its copy: it was not restored, did not start, or was not well.',
  RestoreUnproven: 'A restore test could not be carried out, or not wholly. It counts as not tested.',

  // Why a train is held or refused.
  ApprovalPending: 'A person has to approve the stage.',
  ApprovalRejected: 'A person rejected the stage.',
  ApprovalExpired: 'Nobody approved the stage in time.',
  ErrorThresholdExceeded: 'More stores failed than the stage allows.',
  OfflineThresholdExceeded: 'More stores are offline than the stage allows.',
  HealthGateFailed: 'Stores are worse after the patch than before.',
  NotEnoughFacts: 'Fewer stores could be measured, or compared with what they were, than the gate needs.',
  StageTimeout: 'The stage did not end in time.',
  StageAborted: 'An operator aborted the stage.',
  RolledBack: 'The train was taken back.',
  RollbackRefused: 'The rollback could not be planned, permitted or promoted.',
  BuildFailed: 'The release could not be built, scanned or signed.',
  PromotionFailed: 'The promotion could not be recorded in Git.',
  TrainRunning: 'Another train of this fleet is running.',
  InvalidInput: 'The input is not valid; every problem is listed.',
} as const;

/** What no store or train stops for, and yet wants something done: it has a runbook as well. */
export const SITUATIONS = {
  RpoBreach: 'The newest proven backup of a guest is older than its objective allows.',
  KeyLost: 'The key that the backups of a store are encrypted with is missing, or others may have it.',
} as const;

export type Reason = keyof typeof REASONS;
export const isReason = (word: string): word is Reason => Object.hasOwn(REASONS, word);

/** Why something stopped, for people and programs: the named reason, one sentence, and what was seen. */
export interface Stop {
  reason: Reason;
  /** The step it stopped in, e.g. `drain n2`. */
  step?: string | undefined;
  /** One sentence that an operator understands. */
  summary: string;
  /** What was seen, line by line. Never a secret. */
  detail?: string[] | undefined;
}
