import { OVERRIDES_FILE, parseOverrides } from '#domain/overrides.js';
import type { RecoverabilityOverride } from '#domain/recoverability.js';
import { MAX_FLEET_FILE } from '#domain/repo-limits.js';
import { problemText } from '#domain/yaml-file.js';
import type { GitRepo } from '#systems/git/types.js';

/** What cannot be read lets nobody through; the problems tell those who wait for it. */
export async function readOverrides(
  repo: GitRepo,
  commit: string,
): Promise<{ overrides: RecoverabilityOverride[]; problems: string[] }> {
  const bytes = (await repo.readMany(commit, [OVERRIDES_FILE], MAX_FLEET_FILE)).get(OVERRIDES_FILE);
  if (!bytes) return { overrides: [], problems: [] };
  const { value, problems } = parseOverrides(bytes.toString('utf8'));
  return value ? { overrides: value.overrides, problems: [] } : { overrides: [], problems: problems.map(problemText) };
}
