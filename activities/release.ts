import type { ReleaseActivities } from '#domain/messages/train.js';
import { decidePermit, rollbackPlanSchema, type RollbackPlan } from '#domain/rollback.js';
import type { GitRepo } from '#systems/git/types.js';
import type { LedgerReader } from '#systems/ledger/types.js';
import type { Objects } from '#systems/objects/types.js';
import { BuildRefused, PermitRefused } from '#systems/release/errors.js';
import type { PermitSigner, ReleaseBuilder } from '#systems/release/types.js';
import { readRevocations } from './revocations.js';
import { translated } from './to-failure.js';

export interface ReleaseDeps {
  builder: ReleaseBuilder;
  signer: PermitSigner;
  repo: GitRepo;
  /** The protected branch, whose tip says what is revoked. */
  branch: string;
  objects: Objects;
  ledger: LedgerReader;
  now: () => Date;
}

const MAX_PLAN = 4_000_000;

/** Run by the release worker, the only process with the signing key. What it signs it has looked up by itself. */
export function createReleaseActivities(deps: ReleaseDeps): ReleaseActivities {
  const { builder, signer, repo, branch, objects, ledger, now } = deps;

  return translated<ReleaseActivities>({
    /**
     * A retry is safe: objects are named by their content, and the pointer to a finished build is written last, so a
     * repeated call returns what was finished, or makes it again beside parts that nobody names.
     */
    async buildRelease({ commit }) {
      try {
        return { kind: 'built', release: await builder.build({ commit, now: now() }) };
      } catch (error) {
        if (error instanceof BuildRefused) return { kind: 'refused', problems: error.problems };
        throw error;
      }
    },

    /** A retry is safe: the same approval gives the same permit, byte for byte; a second signature is as good as the first. */
    async signRollbackPermit(asked) {
      const [plan, train, approvals, lastGood, revoked] = await Promise.all([
        readPlan(asked.planHash),
        ledger.train(asked.train),
        ledger.approvals(asked.train),
        ledger.lastGoodBefore(asked.train),
        readRevocations(repo, branch),
      ]);
      const decided = decidePermit({ asked, plan, train, approvals, lastGood, revoked, now: now() });
      if (decided.kind === 'refused') return decided;
      try {
        return { kind: 'signed', permit: await signer.sign(decided.permit, now()) };
      } catch (error) {
        if (error instanceof PermitRefused) return { kind: 'refused', problems: error.problems };
        throw error;
      }
    },
  });

  async function readPlan(planHash: string): Promise<RollbackPlan | undefined> {
    try {
      const bytes = await objects.get(planHash, MAX_PLAN);
      return rollbackPlanSchema.safeParse(JSON.parse(bytes.toString('utf8'))).data;
    } catch (error) {
      const kind = error instanceof Error && 'kind' in error ? error.kind : undefined;
      if (error instanceof SyntaxError || kind === 'ObjectMissing' || kind === 'BadName') return undefined;
      throw error;
    }
  }
}
