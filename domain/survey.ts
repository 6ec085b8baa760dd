import { decideReady, lacking, planNodes, type StoreContext } from './decide-store.js';
import type { StoreFacts } from './facts.js';
import type { StoreSurvey } from './messages/survey.js';

/** What a release would do to a store whose facts are these: the same questions that its operation would ask first. */
export function surveyOf(
  facts: StoreFacts,
  context: Omit<StoreContext, 'work'>,
): Pick<StoreSurvey, 'packages' | 'reboots' | 'guestsMoved' | 'stop'> {
  const work = planNodes(facts, context).filter(({ packages, reboot }) => packages || reboot);
  const drained = new Set(work.map(({ node }) => node));
  const decision = decideReady(facts, { ...context, work: [...drained] });
  return {
    packages: new Set(facts.nodes.flatMap((node) => lacking(node, context))).size,
    reboots: work.filter(({ reboot }) => reboot).length,
    guestsMoved: facts.guests.filter(
      ({ node, status, template }) => drained.has(node) && status === 'running' && !template,
    ).length,
    ...(decision.kind === 'stop' ? { stop: decision.stop } : {}),
  };
}
