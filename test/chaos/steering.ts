import type { TrainView } from '#domain/messages/train.js';
import { ROLLBACK_STAGE } from '#domain/naming.js';
import type { SteeringPlan, Way } from './plan.js';

/** A part of a train that was told to stand still, or to end. */
export interface Steered extends Pick<SteeringPlan, 'what' | 'how'> {
  /** Of the stage, or the store. */
  name: string;
  stores: string[];
  way: Way;
  /** When the answer of the train was heard. */
  from: string;
  /** Before anything was said that lets it go on. Absent: nothing was. */
  to?: string;
}
export type Part = Pick<Steered, 'what' | 'how' | 'name' | 'stores'>;
type Said = 'taken' | 'refused' | undefined;

/** A pause has to last longer than what is under way may take to hear of it. */
const PAUSE_MS = 10_000;

export const isOnTheWayBack = ({ state, hold }: TrainView): boolean =>
  state === 'rolling back' || hold?.stage === ROLLBACK_STAGE || hold?.reason === 'RollbackRefused';

/** The stage, or the store, that is meant when an effect is seen at a store. */
export function partOf(
  { what, how, next }: SteeringPlan,
  store: string,
  stages: Readonly<Record<string, string[]>>,
): Part | undefined {
  const all = Object.entries(stages).map(([name, stores]) => ({ name, stores }));
  const parts = what === 'stage' ? all : all.flatMap(({ stores }) => stores.map((id) => ({ name: id, stores: [id] })));
  const at = parts.findIndex(({ stores }) => stores.includes(store));
  const part = parts[(at + (next ? 1 : 0)) % parts.length];
  return at < 0 || !part ? undefined : { what, how, ...part };
}

/** Says it until it is heard; and lets what stands still go on, by what the train shows of it, after a while. */
export function createSteering(say: (how: 'pause' | 'resume' | 'abort', part: Part) => Promise<Said>) {
  const steered: Steered[] = [];
  let wanted: Part | undefined;
  let pausedSince: number | undefined;

  const steer = async (part: Part, way: Way): Promise<void> => {
    const heard = await say(part.how, part);
    if (heard === undefined) return;
    wanted = undefined;
    if (heard === 'taken') steered.push({ ...part, way, from: new Date().toISOString() });
  };
  const goOn = async (part: Part): Promise<void> => {
    pausedSince ??= performance.now();
    if (performance.now() - pausedSince < PAUSE_MS) return;
    letGoOn((one) => one.how === 'pause');
    if ((await say('resume', part)) !== undefined) pausedSince = undefined;
  };
  const letGoOn = (isMeant: (one: Steered) => boolean): void => {
    for (const one of steered.filter(isMeant)) one.to ??= new Date().toISOString();
  };
  return {
    steered,
    wish(part: Part | undefined): void {
      wanted = part;
    },
    /** A hold is about to be answered: a stage that was ended may be taken up again. */
    answers: () => letGoOn(({ what, how }) => what === 'stage' && how === 'abort'),
    async look(view: TrainView, way: Way): Promise<void> {
      if (wanted) await steer(wanted, way);
      const [store] = view.pausedStores;
      const stage = view.stages.find(({ paused }) => paused);
      if (store !== undefined) await goOn({ what: 'store', how: 'pause', name: store, stores: [store] });
      else if (stage) await goOn({ what: 'stage', how: 'pause', name: stage.name, stores: [] });
    },
  };
}
