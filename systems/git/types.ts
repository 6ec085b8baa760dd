/**
 * The GitOps repo. All through the `git` program with hooks off and arguments as arrays.
 *
 * A read names a commit and sees that commit only. `promote` and `revertPromotions` are done once: when the tag is there
 * they return what the tag names and write nothing.
 */
export interface GitRepo {
  /** Full hash of the tip of the branch. */
  head(branch: string): Promise<string>;
  /** Path → size of every file at the commit below `folder` (`''` = all). */
  list(commit: string, folder: string): Promise<{ path: string; size: number }[]>;
  /** Throws `FileMissing`, or `FileTooLarge` above `maxBytes`. */
  read(commit: string, path: string, maxBytes: number): Promise<Buffer>;
  /** Many files in one go; missing ones are absent from the map. */
  readMany(commit: string, paths: string[], maxBytes: number): Promise<Map<string, Buffer>>;
  /** One commit that writes `file` on the branch, and one annotated tag on it. Returns the commit that the tag names. */
  promote(promotion: { branch: string; tag: string; file: string; content: string; message: string }): Promise<string>;
  /**
   * Reverts what `promote` committed under tags below `promotions` (e.g. `edge/2026-w48`), newest first, one commit each,
   * and puts one annotated tag on the last. Returns the commit that the tag names. Throws `RefMissing` when there is
   * nothing of the kind on the branch, `Conflict` when a promoted file was changed since; then nothing is written.
   */
  revertPromotions(reversion: { branch: string; promotions: string; tag: string; message: string }): Promise<string>;
  /** Whether the commit is on the branch. False also when the repo does not have it. */
  contains(branch: string, commit: string): Promise<boolean>;
  /** Whether the work tree has changes or new files that no commit has; false for a bare repo. Writes nothing. */
  hasUncommitted(): Promise<boolean>;
  tagCommit(tag: string): Promise<string | undefined>;
}
