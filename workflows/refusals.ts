import { log, patched } from '@temporalio/workflow';
import { partsOfDecision, REFUSED, withoutControl } from '#domain/messages/train.js';
import { trainWorkflowId } from '#domain/naming.js';
import { attention } from './attention.js';
import { control, notify } from './proxies.js';
import type { TrainDesk } from './train-desk.js';

/**
 * Decisions that a train refused, as evidence in the ledger: who wanted what, and why it was not taken. Anybody may send
 * anything, so a train keeps so many and no more, says so once, and refuses the others without a trace.
 */
const MAX_REFUSALS = 100;
/** An Update that is kept stands in the history as it came. A decision has at most a quarter of this. */
const MAX_LENGTH = 4_096;
const MAX_REFUSAL = 500;

export type Refusals = ReturnType<typeof openRefusals>;

export function openRefusals(desk: TrainDesk) {
  const { view } = desk;
  let kept = 0;
  let open = 0;

  const write = async (raw: unknown, why: string, { tells = false } = {}): Promise<void> => {
    const at = new Date().toISOString();
    const isLast = ++kept === MAX_REFUSALS && patched('refusals-kept');
    const { stage, planHash, decision, by = 'unknown', via, comment, id } = partsOfDecision(raw);
    const refusal = withoutControl(why).slice(0, MAX_REFUSAL);
    desk.refuse(by, refusal);
    await control.record({
      kind: 'approval',
      row: {
        train: view.train || trainWorkflowId(view.fleet),
        stage: stage ?? 'unknown',
        // Never that of a decision that was taken, whatever the sender calls it.
        id: [REFUSED, at, kept, id].filter((part) => part !== undefined).join('/'),
        planHash: planHash ?? 'unknown',
        decision: decision ?? 'unknown',
        by,
        via: via ?? 'unknown',
        comment,
        accepted: false,
        refusal: isLast ? `${refusal} (${NO_FURTHER})` : refusal,
        at,
      },
    });
    const { fleet, train } = view;
    if (tells)
      await notify({
        event: 'refused',
        fleet,
        train,
        stage,
        summary: refusal,
        answers: desk.answersNow(),
      }).catch(() => undefined);
    if (isLast) await attention(fleet, train, { reason: 'InvalidInput', summary: NO_FURTHER });
  };

  return {
    hasRoom: (): boolean => kept < MAX_REFUSALS,
    /** Whether it may stand in the history. */
    isShort: (raw: unknown): boolean => (JSON.stringify(raw) ?? '').length <= MAX_LENGTH,
    /** `tells`: the sender hears it in no other way. */
    keep(raw: unknown, why: string, how: { tells?: boolean } = {}): void {
      open += 1;
      void write(raw, why, how)
        .catch((error: unknown) => log.error('A refused decision could not be written down', { error }))
        .finally(() => (open -= 1));
    },
    areWritten: (): boolean => open === 0,
  };
}

const NO_FURTHER = `${MAX_REFUSALS} decisions were refused and recorded; further ones are refused without a record.`;
