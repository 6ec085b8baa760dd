import { MAX_FLEET_FILE } from '#domain/repo-limits.js';
import { parseRevocations, revocationOf, revocationText, REVOKED_FILE, type Revocation } from '#domain/revocations.js';
import type { ReleaseRef } from '#domain/release.js';
import { problemText } from '#domain/yaml-file.js';
import type { GitRepo } from '#systems/git/types.js';

/**
 * The releases that are revoked now, at the tip of the branch and not at the commit of a train: a revocation is made
 * because something is on its way. Throws when the file cannot be read, because then nobody knows.
 */
export async function readRevocations(repo: GitRepo, branch: string): Promise<Revocation[]> {
  const tip = await repo.head(branch);
  const bytes = (await repo.readMany(tip, [REVOKED_FILE], MAX_FLEET_FILE)).get(REVOKED_FILE);
  if (!bytes) return [];
  const { value, problems } = parseRevocations(bytes.toString('utf8'));
  if (value) return value.revoked;
  throw new RevocationsUnreadable(problems.map(problemText));
}

/** Throws `ReleaseRevoked`. */
export async function refuseRevoked(repo: GitRepo, branch: string, releases: readonly ReleaseRef[]): Promise<void> {
  const revoked = await readRevocations(repo, branch);
  for (const release of releases) {
    const revocation = revocationOf(revoked, release);
    if (revocation) throw new ReleaseRevoked(revocationText(release, revocation));
  }
}

class ReleaseRevoked extends Error {
  override readonly name = 'ReleaseRevoked';
  readonly kind = 'ReleaseRevoked';
  readonly retryable = false;
}

class RevocationsUnreadable extends Error {
  override readonly name = 'RevocationsUnreadable';
  readonly kind = 'InvalidInput';
  readonly retryable = false;

  constructor(problems: string[]) {
    super(`Nobody can tell which releases are revoked. ${problems.join('; ')}`);
  }
}
