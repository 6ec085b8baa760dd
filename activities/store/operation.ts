import { decideAbandoned, decideAbandonedDump } from '#domain/abandoned.js';
import type {
  Inspected,
  Ours,
  SelfUndo,
  StepAnswer,
  StoreTask,
  Swept,
  SweepTask,
  Taken,
} from '#domain/messages/store.js';
import { begunOf } from '#domain/gate-baseline.js';
import {
  afterGoingBack,
  afterGoingForward,
  afterSoak,
  afterWithdrawal,
  mayBecomeGood,
  mayGoBackTo,
  sameRelease,
} from '#domain/last-good.js';
import { stepKey } from '#domain/naming.js';
import type { Stop } from '#domain/reasons.js';
import type { ReleaseRef } from '#domain/release.js';
import type { Mark, OperationName, OperationRecord } from '#systems/store-state/types.js';
import type { Opened, StoreDeps } from './deps.js';
import { readHaManager } from './facts.js';
import { bringHome } from './guest-moves.js';
import { inOrderOfUndo, mendPackages, settle, takeBack } from './marks.js';

/**
 * The store's own lock and memory. One operation at a time holds the store; it is known by its id and its fence, and
 * what it sets on the cluster is marked here, on disk, before it is set. Whoever comes next adopts or takes back what
 * an earlier operation left, however that one ended; when nobody comes, the store does it itself.
 */
export interface Operation {
  open(task: StoreTask): Promise<StepAnswer<Omit<Taken, 'maxMaintenance'>>>;
  /**
   * Takes the store for a dump, when `decide` lets it begin. What an earlier operation left set is carried on as it is.
   * The answer is recorded: asked again, the same dump has the same plan, whatever it has changed meanwhile.
   */
  openDump<Plan extends object>(
    task: OperationName,
    decide: () => Promise<{ kind: 'proceed'; plan: Plan } | { kind: 'refuse'; stop: Stop }>,
  ): Promise<StepAnswer<Plan & { adopted: string[] }>>;
  /**
   * Runs a step once: returns what is recorded, joins an attempt that still runs in this process, or runs it and
   * records the answer. An error is not recorded, so the next attempt looks and goes on.
   */
  step<Done extends object>(
    task: OperationName,
    name: string,
    run: (key: string) => Promise<StepAnswer<Done>>,
  ): Promise<StepAnswer<Done>>;
  /** The release this operation was opened with. After a restart of the worker it is pulled and verified again. */
  release(task: StoreTask): Promise<Opened>;
  marks(): Mark[];
  ours(): Ours;
  mark(kind: Mark['kind'], node: string): Promise<void>;
  unmark(kind: Mark['kind'], node: string): Promise<void>;
  homes(): Record<string, string>;
  rememberHomes(homes: Record<string, string>): Promise<void>;
  close(task: StoreTask, outcome: string): Promise<{ undone: string[]; leftSet: string[] }>;
  /** Gives the store back after a dump; what was set before it stays. Closing twice changes nothing. */
  closeDump(task: OperationName): Promise<void>;
  /** Of the operation that holds the store, or of the one that it freed itself from. */
  selfUndo(): SelfUndo | undefined;
  /** Takes back, or frees, what is abandoned. Called again and again; says what it did, in sentences. */
  lookAfter(): Promise<string[]>;
  inspect(): Promise<Inspected>;
  sweep(task: SweepTask): Promise<Swept>;
  /**
   * The release that is current here becomes the last good one when the desired record says that it has soaked, unless it
   * was taken back.
   */
  learnLastGood(): Promise<void>;
}

/** `tell` hears what people should know and no answer says. */
export function createOperation(deps: StoreDeps, tell: (line: string) => void = () => undefined): Operation {
  const { state, now, uptime } = deps;
  /** Steps, and the work that suffers no step beside it. */
  const running = new Map<string, Promise<unknown>>();
  const ALONE = 'alone';
  let verified: { manifest: string; opened: Opened } | undefined;
  /** Why it is not known what was taken back here. */
  let unsaid: string | undefined;
  /** On the clock that only goes forward: when the holder was heard of last, and when each mark was seen first. */
  let heardAt = uptime();
  const seenAt = new Map<string, number>();

  const record = (): OperationRecord => {
    const operation = state.operation();
    if (!operation) throw new Error('No operation holds the store.');
    return operation;
  };
  const isHolder = ({ operationId, fence }: OperationName): boolean => {
    const held = state.operation();
    return held?.operationId === operationId && held.fence === fence;
  };

  /** Waits until nothing runs, and lets nothing start meanwhile. */
  const alone = async <T>(work: () => Promise<T>): Promise<T> => {
    while (running.size > 0) await Promise.allSettled(running.values());
    const attempt = work().finally(() => running.delete(ALONE));
    running.set(ALONE, attempt);
    return attempt;
  };

  const staleness = (task: OperationName): Stop | undefined => {
    const held = state.operation();
    if (held?.open && isHolder(task)) return undefined;
    if (held?.outcome === 'freed' && isHolder(task))
      return cutOff(
        `The store gave itself free at ${held.endedAt}, since ${task.operationId} was silent for too long.`,
      );
    return stale(`The store is held by ${held?.operationId ?? 'nobody'}; ${task.operationId} may not act on it.`);
  };

  const verify = async (task: StoreTask): Promise<Opened | Stop> => {
    const { version } = await deps.proxmox.version();
    const verdict = await deps.verifier
      .verify({
        ref: task.release,
        ...(task.permit ? { permit: task.permit } : {}),
        store: task.store,
        fleet: task.fleet,
        now: now(),
        highestSequence: state.trust().highestSequence,
        pveVersion: version,
      })
      .catch((error: unknown) => {
        throw isUnavailable(error) ? new RegistryUnreachable(task.release, error) : error;
      });
    if (verdict.kind === 'refused') return { reason: verdict.reason, step: 'verify release', summary: verdict.summary };
    const opened = { manifest: verdict.manifest, artifact: verdict.artifact };
    verified = { manifest: task.release.manifest, opened };
    return opened;
  };

  const notLastGood = ({ permit, release }: StoreTask): Stop | undefined => {
    const known = state.trust();
    if (!permit || mayGoBackTo(release, known)) return undefined;
    return {
      reason: 'RollbackNotPermitted',
      step: 'verify release',
      summary: `The last good release of this store is ${known.lastGood?.version}; it does not go back to ${release.version}.`,
      ...(unsaid === undefined ? {} : { detail: [unsaid] }),
    };
  };

  /**
   * Most stores were never taken back, and have no such record. Where the registry gives the other one and says of this
   * one what it says of all that is not there, waiting would close every store; unread, it only closes ways back.
   */
  const readRecords = async () => {
    const { verifier, store } = deps;
    const desired = await verifier.desired(store);
    try {
      const withdrawn = await verifier.withdrawn(store);
      unsaid = undefined;
      return { desired, withdrawn };
    } catch (error) {
      if (!desired || !mayBeAbsent(error)) throw error;
      const why = `The registry does not say whether releases were taken back here: ${error.message}`;
      if (why !== unsaid) tell(why);
      unsaid = why;
      return { desired, withdrawn: [] };
    }
  };

  /** What became of releases here while nobody could tell the store; `unread` when the registry does not say. */
  const learn = async (unread: (error: unknown) => undefined): Promise<void> => {
    const told = await readRecords().catch(unread);
    if (!told) return;
    const { desired, withdrawn } = told;
    // What is brought again is withdrawn until it soaks again; that it did not is known when something else is desired.
    const gone = withdrawn.filter((sequence) => sequence !== desired?.release?.sequence);
    const change = afterWithdrawal(gone, state.trust());
    if (Object.keys(change).length > 0) await state.saveTrust(change);
    const known = state.trust();
    if (!desired?.soaked || !mayBecomeGood(known) || !sameRelease(known.current, desired.soaked.release)) return;
    await state.saveTrust(afterSoak(known));
  };

  /** What the store refuses from now on. With a permit it accepts again what follows the older release. */
  const accept = async ({ permit, release }: StoreTask): Promise<void> => {
    const known = state.trust();
    const accepted = { highestSequence: release.sequence, begun: begunOf(known) };
    if (permit) await state.saveTrust({ ...accepted, ...afterGoingBack(release, known) });
    else if (release.sequence > known.highestSequence) await state.saveTrust(accepted);
  };

  const undo = async (marks: readonly Mark[]): Promise<{ undone: string[]; leftSet: string[] }> => {
    const undone: string[] = [];
    const leftSet: string[] = [];
    for (const mark of inOrderOfUndo(marks)) {
      const why = await takeBack(deps, mark);
      if (why === undefined) {
        await keeper.unmark(mark.kind, mark.node);
        undone.push(nameOf(mark));
        if (mark.kind === 'maintenance') undone.push(...(await homecoming(mark.node)));
      } else {
        leftSet.push(`${nameOf(mark)} (${why})`);
      }
    }
    return { undone, leftSet };
  };

  /** The store is whole without it: what does not come home now is found by people, and moved by nobody else. */
  const homecoming = async (node: string): Promise<string[]> => {
    const returned = await bringHome(deps, keeper.homes(), node).catch(() => 0);
    return returned > 0 ? [`guests moved home to ${node}: ${returned}`] : [];
  };

  /** By both clocks: one that is set back makes a mark look young, and the other starts anew with the process. */
  const ageOf = ({ kind, node, setAt }: Mark): number => {
    const key = `${kind} ${node} ${setAt}`;
    const seen = seenAt.get(key) ?? uptime();
    seenAt.set(key, seen);
    return Math.max(now().getTime() - new Date(setAt).getTime(), uptime() - seen);
  };

  /** What is taken back of carried marks is told of whoever left them. */
  const selfUndoKey = (held: OperationRecord) => stepKey(ownerOf(held), 'self-undo');
  const recordedSelfUndo = (held: OperationRecord) => state.step(selfUndoKey(held))?.result as SelfUndo | undefined;

  /** Journaled, so that it is known when the centre is back. The same unfit node is not told again and again. */
  const undoBySelf = async (marks: readonly Mark[]) => {
    const held = record();
    const earlier = recordedSelfUndo(held);
    const at = now().toISOString();
    if (!earlier)
      await state.intent(selfUndoKey(held), { at, marks: marks.map(({ kind, node }) => `${kind} ${node}`) });
    const answer = await undo(marks);
    const undone = [...(earlier?.undone ?? []), ...answer.undone];
    const leftSet = answer.leftSet;
    const isNews = answer.undone.length > 0 || leftSet.join() !== earlier?.leftSet.join();
    if (isNews) await state.result(selfUndoKey(held), { at, undone, leftSet } satisfies SelfUndo);
    return { ...answer, isNews };
  };

  /** A step that finds the facts changed by the store's own hand is not refused for a fault. */
  const unlessBySelf = <Answer extends StepAnswer>(answer: Answer): Answer => {
    const bySelf = answer.kind === 'refused' && answer.stop.reason === 'FactsChanged' && recordedSelfUndo(record());
    if (!bySelf || bySelf.undone.length === 0) return answer;
    const what = bySelf.undone.join(', ');
    const stop = cutOff(`At ${bySelf.at} the store took back ${what}, since the operation was silent for too long.`);
    return { ...answer, stop: { ...answer.stop, ...stop, step: answer.stop.step } };
  };

  const end = (outcome: string): Promise<void> =>
    state.save({ ...record(), open: false, endedAt: now().toISOString(), outcome });

  const taken = (adopted: string[]) => {
    const { lastGood } = state.trust();
    return { kind: 'done' as const, adopted, ...(lastGood ? { lastGood: lastGood.version } : {}) };
  };

  const keeper: Operation = {
    open: (task) =>
      alone(async () => {
        const late = tooLate(task);
        if (late) return { kind: 'refused', stop: late };
        const held = state.operation();
        if (held && isHolder(task)) {
          await keeper.release(task);
          await accept(task);
          return taken(task.permit ? await mendPackages(deps, held.marks) : []);
        }

        await learn((error) => {
          // Passed over, it would be opened with less than the ledger knows. Whatever else is wrong is refused below.
          if (isUnavailable(error)) throw new RegistryUnreachable(task.release, error);
          return undefined;
        });
        const notPermitted = notLastGood(task);
        if (notPermitted) return { kind: 'refused', stop: notPermitted };
        const opened = await verify(task);
        if (!('manifest' in opened)) return { kind: 'refused', stop: opened };

        const left = held?.marks ?? [];
        const adopted = held ? await settle(deps, ownerOf(held), left) : [];
        await state.save({
          operationId: task.operationId,
          fence: task.fence,
          kind: 'patch',
          open: true,
          release: task.release,
          startedAt: now().toISOString(),
          marks: left,
          homes: left.length > 0 ? (held?.homes ?? {}) : {},
        });
        heardAt = uptime();
        await accept(task);
        // What goes back begins with the node that the failed operation left out of service: as it is, it is ours.
        if (task.permit || held?.release?.manifest === task.release.manifest) {
          const owner = held && ownerOf(held).operationId;
          adopted.push(...left.map(({ kind, node }) => `took over ${kind} of ${node} from ${owner}`));
          if (task.permit) adopted.push(...(await mendPackages(deps, left)));
        } else if (left.length > 0) {
          const { undone, leftSet } = await undo(left);
          adopted.push(...undone.map((what) => `undone: ${what}`), ...leftSet.map((what) => `left: ${what}`));
        }
        return taken(adopted);
      }),

    openDump: <Plan extends object>(
      task: OperationName,
      decide: () => Promise<{ kind: 'proceed'; plan: Plan } | { kind: 'refuse'; stop: Stop }>,
    ) =>
      alone(async (): Promise<StepAnswer<Plan & { adopted: string[] }>> => {
        const late = tooLate(task);
        if (late) return { kind: 'refused', stop: late };
        const held = state.operation();
        const key = stepKey(task, 'open dump');
        const isAgain = isHolder(task);
        heardAt = uptime();
        const recorded = isAgain ? state.step(key)?.result : undefined;
        if (recorded !== undefined) return recorded as StepAnswer<Plan & { adopted: string[] }>;

        const adopted = held ? await settle(deps, ownerOf(held), held.marks) : [];
        const decision = await decide();
        if (decision.kind === 'refuse') {
          if (isAgain) await end('refused');
          return { kind: 'refused', stop: decision.stop };
        }
        if (!isAgain)
          await state.save({
            operationId: task.operationId,
            fence: task.fence,
            kind: 'dump',
            open: true,
            startedAt: now().toISOString(),
            ...carriedOn(held),
          });
        const answer = { kind: 'done' as const, ...decision.plan, adopted };
        await state.result(key, answer);
        heardAt = uptime();
        return answer;
      }),

    async step<Done extends object>(
      task: OperationName,
      name: string,
      run: (key: string) => Promise<StepAnswer<Done>>,
    ) {
      while (running.has(ALONE)) await Promise.allSettled([running.get(ALONE)]);
      const notOurs = staleness(task);
      if (notOurs) return { kind: 'refused', stop: notOurs };
      heardAt = uptime();
      const key = stepKey(task, name);
      const recorded = state.step(key)?.result;
      if (recorded !== undefined) return recorded as StepAnswer<Done>;
      const inFlight = running.get(key);
      if (inFlight) return inFlight as Promise<StepAnswer<Done>>;
      const attempt = run(key)
        .then(async (given) => {
          const answer = unlessBySelf(given);
          await state.result(key, answer);
          return answer;
        })
        .finally(() => {
          heardAt = uptime();
          running.delete(key);
        });
      running.set(key, attempt);
      return attempt;
    },

    async release(task) {
      if (isHolder(task)) heardAt = uptime();
      if (verified?.manifest === task.release.manifest) return verified.opened;
      const opened = await verify(task);
      if ('manifest' in opened) return opened;
      throw new ReleaseRefused(opened);
    },

    marks: () => state.operation()?.marks ?? [],
    ours() {
      const marks = this.marks();
      const of = (kind: Mark['kind']) => marks.filter((mark) => mark.kind === kind).map(({ node }) => node);
      const { pins } = state.trust();
      return { maintenance: of('maintenance'), noout: of('noout'), ...(pins ? { pins } : {}) };
    },
    async mark(kind, node) {
      const operation = record();
      if (operation.marks.some((mark) => mark.kind === kind && mark.node === node)) return;
      await state.save({ ...operation, marks: [...operation.marks, { kind, node, setAt: now().toISOString() }] });
    },
    async unmark(kind, node) {
      const operation = record();
      await state.save({
        ...operation,
        marks: operation.marks.filter((mark) => !(mark.kind === kind && mark.node === node)),
      });
    },
    homes: () => state.operation()?.homes ?? {},
    async rememberHomes(homes) {
      const operation = record();
      // The first place seen is home; a second drain after an adoption would see guests where they were moved to.
      await state.save({ ...operation, homes: { ...homes, ...operation.homes } });
    },

    close: (task, outcome) =>
      alone(async () => {
        const held = state.operation();
        if (!held || !isHolder(task)) return { undone: [], leftSet: [] };
        const bySelf = recordedSelfUndo(held);
        const { undone, leftSet } = await undo(held.marks);
        if (outcome === 'succeeded' && leftSet.length === 0) {
          const wentBack = task.permit !== undefined;
          const good = (wentBack ? afterGoingBack : afterGoingForward)(task.release, state.trust());
          await state.saveTrust({ ...good, current: task.release, wentBack, begun: task.release.sequence });
        }
        await end(outcome);
        const before = bySelf?.undone.map((what) => `${what} (by the store itself, at ${bySelf.at})`) ?? [];
        return { undone: [...before, ...undone], leftSet };
      }),

    closeDump: (task) =>
      alone(async () => {
        const held = state.operation();
        if (held?.kind === 'dump' && held.open && isHolder(task)) await end('ended');
      }),

    selfUndo() {
      const held = state.operation();
      return held && (held.open || isFreed(held)) ? recordedSelfUndo(held) : undefined;
    },

    async lookAfter() {
      const held = state.operation();
      if (!held || running.size > 0) return [];
      const isDump = held.kind === 'dump';
      const abandoned = isDump && !held.leftBy?.silent ? [] : held.marks;
      const decision = (isDump ? decideAbandonedDump : decideAbandoned)(
        {
          open: held.open,
          marks: abandoned.map((mark) => ({ node: mark.node, ageMs: ageOf(mark) })),
          quietMs: uptime() - heardAt,
        },
        deps.timing.maxMaintenance,
      );
      if (decision.kind === 'leave') return [];
      return alone(async () => {
        if (decision.kind === 'free') {
          await end('freed');
          const what = isDump ? 'has' : 'holds nothing and has';
          return [`The store is free again: ${held.operationId} ${what} been silent for too long.`];
        }
        const owner = ownerOf(held).operationId;
        const marks = held.marks.filter(({ node }) => decision.nodes.includes(node));
        const { undone, leftSet, isNews } = await undoBySelf(marks);
        if (!isNews) return [];
        return [
          ...undone.map((what) => `Taken back, since ${owner} is silent: ${what}.`),
          ...leftSet.map((what) => `Left in place by ${owner}: ${what}.`),
        ];
      });
    },

    async inspect() {
      const held = state.operation();
      const foreign = await foreignMarks();
      if (!held || (!held.open && held.marks.length === 0)) return { foreign };
      const { operationId, fence } = accusedOf(held);
      return { leftBy: { operationId, fence, locked: held.open, marks: held.marks.map(nameOf) }, foreign };
    },

    // Whoever asks has seen that this operation is over. The comparison is what makes that hold: between the look and
    // this moment another operation may have opened, and what is marked then is in use.
    sweep: ({ over }) =>
      alone(async () => {
        const held = state.operation();
        // A dump that was swept is closed, and named again when its answer was lost.
        const accused = held ? [held, ...(held.open ? [] : [ownerOf(held)])] : [];
        if (
          !held ||
          !accused.some(({ operationId, fence }) => operationId === over.operationId && fence === over.fence)
        )
          return { kind: 'taken', by: held?.operationId ?? 'nobody' };
        const { leftSet } = held.marks.length > 0 ? await undoBySelf(held.marks) : { leftSet: [] };
        // What a dump only carries on is no reason to keep its lock.
        if (held.open && (held.kind === 'dump' || leftSet.length === 0)) await end('swept');
        return { kind: 'swept', undone: recordedSelfUndo(held)?.undone ?? [], left: leftSet };
      }),

    async learnLastGood() {
      if (mayBecomeGood(state.trust())) await learn(() => undefined);
    },
  };

  /** Set, and by our record not by us. */
  const foreignMarks = async (): Promise<string[]> => {
    const { maintenance, noout } = keeper.ours();
    const [{ nodeStatus }, hostFlags] = await Promise.all([readHaManager(deps), deps.ceph.hostFlags()]);
    return [
      ...Object.entries(hostFlags).flatMap(([host, flags]) =>
        flags.filter((flag) => !(flag === 'noout' && noout.includes(host))).map((flag) => `${flag} of ${host}`),
      ),
      ...Object.entries(nodeStatus)
        .filter(([node, status]) => status === 'maintenance' && !maintenance.includes(node))
        .map(([node]) => `maintenance of ${node}`),
    ];
  };

  /** It has had its time, or a newer one has the store: it may not open any more. */
  const tooLate = (task: OperationName): Stop | undefined => {
    const held = state.operation();
    if (!held) return undefined;
    if (!isHolder(task))
      return task.fence <= held.fence ? stale(`${held.operationId} is newer than ${task.operationId}.`) : undefined;
    if (held.open) return undefined;
    return held.outcome === 'freed' ? staleness(task) : stale(`${task.operationId} has ended already.`);
  };

  return keeper;
}

/** Whose marks these are. */
const ownerOf = (held: OperationRecord): OperationName => held.leftBy ?? held;
/** Who is asked about what is left: a dump for its lock, and when it is over, whoever left the marks that it carried on. */
const accusedOf = (held: OperationRecord): OperationName => (held.open ? held : ownerOf(held));

/** What a dump takes along of the operation before it, for the next patch to find as if the dump had not been. */
function carriedOn(held: OperationRecord | undefined): Pick<OperationRecord, 'marks' | 'homes' | 'release' | 'leftBy'> {
  if (!held || held.marks.length === 0) return { marks: [], homes: {} };
  const { marks, homes, release, operationId, fence, open, leftBy } = held;
  return {
    marks,
    homes,
    ...(release ? { release } : {}),
    leftBy: leftBy ?? { operationId, fence, silent: open },
  };
}

const nameOf = ({ kind, node }: Mark): string => `${kind} of ${node}`;

const stale = (summary: string): Stop => ({ reason: 'StaleOperation', step: 'open', summary });
/** It may not act either, but it may begin anew: nobody else has the store. */
const cutOff = (summary: string): Stop => ({ reason: 'StoreCutOff', step: 'open', summary });

/** By itself, or by the janitor when it found that the run was over. */
const isFreed = ({ outcome }: OperationRecord): boolean => outcome === 'freed' || outcome === 'swept';

/** A release that was accepted before is refused now: expired, demoted, or a key withdrawn. */
export class ReleaseRefused extends Error {
  readonly kind: string;
  readonly retryable = false;
  constructor(stop: Stop) {
    super(stop.summary);
    this.name = 'ReleaseRefused';
    this.kind = stop.reason;
  }
}

const isUnavailable = (error: unknown): error is Error =>
  error instanceof Error && (error as { kind?: unknown }).kind === 'Unavailable';

const mayBeAbsent = (error: unknown): error is Error =>
  error instanceof Error && (error as { mayBeAbsent?: unknown }).mayBeAbsent === true;

/** Not a refusal: whether the release is good nobody can say before the registry answers. */
class RegistryUnreachable extends Error {
  readonly kind = 'RegistryUnreachable';
  readonly retryable = true;
  constructor({ version }: ReleaseRef, cause: Error) {
    super(`Release ${version} cannot be verified, because the registry does not give it: ${cause.message}`, { cause });
    this.name = 'RegistryUnreachable';
  }
}
