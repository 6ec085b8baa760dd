import { continueAsNew, isCancellation, setCurrentDetails } from '@temporalio/workflow';
import { PROTOCOL } from '#domain/messages/store.js';
import { surveyInputSchema, type Surveyed, type SurveyInput } from '#domain/messages/survey.js';
import { everyStore } from './every-store.js';
import { parseInput } from './parse-input.js';
import { helloProxy, isUnanswered, messageOf } from './proxies.js';
import { PART_SIZE } from './train-waves.js';

/**
 * Asks stores what a release would do there, for `edge train plan`. Changes nothing, waits for nobody: a store that does
 * not answer is `offline`. A run asks 250 stores and goes on as a new one, as the janitor does.
 */
export async function survey(raw: SurveyInput): Promise<Surveyed[]> {
  const input = parseInput(surveyInputSchema, raw);
  const { stores, fleet, wanted, offlineAfter, found = [] } = input;
  const total = found.length + stores.length;
  await everyStore(stores.slice(0, PART_SIZE), async ({ store, nodes }) => {
    found.push(await ask(store, offlineAfter, { protocol: PROTOCOL, store, fleet, nodes, wanted }));
    setCurrentDetails(`${found.length} of ${total} stores asked`);
  });
  const rest = stores.slice(PART_SIZE);
  if (rest.length > 0) return continueAsNew<typeof survey>({ ...input, stores: rest, found });
  return found.sort((a, b) => a.store.localeCompare(b.store));
}

async function ask(
  store: string,
  offlineAfter: number,
  task: Parameters<ReturnType<typeof helloProxy>['surveyStore']>[0],
): Promise<Surveyed> {
  try {
    return { kind: 'answered', store, ...(await helloProxy(store, offlineAfter).surveyStore(task)) };
  } catch (error) {
    if (isCancellation(error)) throw error;
    if (isUnanswered(error)) return { kind: 'offline', store };
    return { kind: 'failed', store, why: messageOf(error).slice(0, 300) };
  }
}
