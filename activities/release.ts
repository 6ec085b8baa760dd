import type { BuildOutcome } from '#domain/messages/train.js';
import { BuildRefused } from '#systems/release/errors.js';
import type { ReleaseBuilder } from '#systems/release/types.js';
import { translated } from './to-failure.js';

/** Run by the release worker, the only process with the signing key. */
interface ReleaseActivities {
  buildRelease(input: { commit: string }): Promise<BuildOutcome>;
}

export function createReleaseActivities(deps: { builder: ReleaseBuilder; now?: () => Date }): ReleaseActivities {
  const now = deps.now ?? (() => new Date());

  return translated<ReleaseActivities>({
    /**
     * A retry is safe: objects are named by their content, and the pointer to a finished build is written last, so a
     * repeated call returns what was finished, or makes it again beside parts that nobody names.
     */
    async buildRelease({ commit }) {
      try {
        return { kind: 'built', release: await deps.builder.build({ commit, now: now() }) };
      } catch (error) {
        if (error instanceof BuildRefused) return { kind: 'refused', problems: error.problems };
        throw error;
      }
    },
  });
}
