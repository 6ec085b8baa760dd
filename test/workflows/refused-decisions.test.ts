import { describe, expect, it } from 'vitest';
import type { Decision } from '#domain/messages/train.js';
import { approveWaveSignal, decideUpdate } from '#workflows/messages.js';
import { useWorld } from '../support/use-world.js';
import { OTHER_HASH, PLAN_HASH } from '../support/workflow-builders.js';
import { eventsOf, eventually, trainThatAsks, type World } from '../support/workflow-harness.js';

/** A decision that is refused is evidence: what the ledger keeps of it, whatever was sent, and how much at most. */
type Train = Awaited<ReturnType<World['startTrain']>>;

const BOUND = 100;
const SECRET = 'hunter2-canary-secret';
const right = { stage: 'canary', planHash: PLAN_HASH, decision: 'approve' as const, by: 'anna', via: 'cli' };

async function askingTrain(): Promise<{ world: World; train: Train }> {
  const world = await useWorld();
  return { world, train: await trainThatAsks(world) };
}

const decide = (train: Train, decision: unknown): Promise<string> =>
  train.executeUpdate(decideUpdate, { args: [decision as Decision] });
/** The sentence with which it is refused, and the name of the error. */
const refusalOf = (train: Train, decision: unknown): Promise<{ message?: string; type?: string }> =>
  decide(train, decision).then(
    (sentence) => ({ message: `accepted: ${sentence}` }),
    ({ cause }: { cause: { message: string; type: string } }) => ({ message: cause.message, type: cause.type }),
  );
const refusedRows = (world: World) =>
  world.central
    .ledgerOf('approval')
    .map(({ row }) => row)
    .filter(({ accepted }) => !accepted)
    // They are written side by side; their ids count them.
    .toSorted((a, b) => countIn(a.id) - countIn(b.id));
const countIn = (id: string): number => Number(id.split('/')[2]);
const rowsUntil = (world: World, count: number) =>
  eventually(`${count} rows`, () => (refusedRows(world).length >= count ? refusedRows(world) : undefined));
const updatesIn = async (train: Train): Promise<number> =>
  (await eventsOf(train)).filter((event) => event.workflowExecutionUpdateAcceptedEventAttributes).length;

describe('a refused update `decide`', () => {
  it('leaves a row with who wanted what and why not, and the sender hears the same sentence as ever', async () => {
    const { world, train } = await askingTrain();
    const hash = /^The plan hash is not that of this train/;
    expect(await refusalOf(train, { ...right, planHash: OTHER_HASH, by: 'ben' })).toEqual({
      message: expect.stringMatching(hash) as string,
      type: 'InvalidInput',
    });
    expect(await refusalOf(train, { ...right, stage: 'wave-9', decision: 'reject' })).toEqual({
      message: 'The train asks for stage canary, not for wave-9.',
      type: 'InvalidInput',
    });
    expect(await refusalOf(train, { ...right, by: '' })).toEqual({
      message: expect.stringMatching(/^by: /) as string,
      type: 'InvalidInput',
    });
    await decide(train, { ...right, id: 'first' });
    expect(await refusalOf(train, { ...right, id: 'first' })).toMatchObject({
      message: 'This decision was already recorded.',
    });
    await train.result();

    const rows = refusedRows(world);
    expect(rows).toMatchObject([
      { train: '2026-w48', stage: 'canary', by: 'ben', planHash: OTHER_HASH, decision: 'approve', via: 'cli' },
      { stage: 'wave-9', by: 'anna', decision: 'reject', refusal: 'The train asks for stage canary, not for wave-9.' },
      { stage: 'canary', by: 'unknown', decision: 'approve', refusal: expect.stringMatching(/^by: /) as string },
      { by: 'anna', refusal: 'This decision was already recorded.' },
    ]);
    expect(rows[0]?.refusal).toMatch(hash);
    const ids = world.central.ledgerOf('approval').map(({ row }) => row.id);
    expect(new Set(ids).size, 'none takes the place of another, nor of the decision that was taken').toBe(5);
    expect(ids).toContain('first');
  });

  it('that is too large for a decision is refused, and nothing of it stands in the history', async () => {
    const { world, train } = await askingTrain();
    const before = await updatesIn(train);
    const { message } = await refusalOf(train, { ...right, comment: 'x'.repeat(5_000) });
    expect(message).toBe('comment: must have at most 500 characters');
    await refusalOf(train, { ...right, by: '' });
    await rowsUntil(world, 1);
    expect(await updatesIn(train)).toBe(before + 1);
    expect(refusedRows(world)).toHaveLength(1);
  });

  it('does not wait for a ledger that is away, nor does the right one that comes after it', async () => {
    const { world, train } = await askingTrain();
    let back: () => void = () => undefined;
    const away = new Promise<void>((resolve) => (back = resolve));
    world.central.on('record', async (entry) => {
      if (entry.kind === 'approval' && !entry.row.accepted) await away;
      world.central.ledger.push(entry);
    });
    const wrong = Array.from({ length: 12 }, () => refusalOf(train, { ...right, stage: 'wave-9' }));
    expect((await Promise.all(wrong)).map(({ message }) => message)).toEqual(
      wrong.map(() => 'The train asks for stage canary, not for wave-9.'),
    );
    await expect(decide(train, right)).resolves.toBe('Stage canary is approved.');
    expect(refusedRows(world)).toEqual([]);
    back();
    await train.result();
    expect(refusedRows(world), 'the train ends when all are written').toHaveLength(12);
  });
});

describe('a signal `approveWave` that is no decision', () => {
  it.each<[string, unknown, object]>([
    ['nothing', null, { by: 'unknown', stage: 'unknown', decision: 'unknown' }],
    ['a text', 'approve everything', { by: 'unknown', planHash: 'unknown', via: 'unknown' }],
    ['a list', [right], { by: 'unknown', stage: 'unknown' }],
    ['another type in each field', { stage: 7, planHash: {}, decision: [], by: true, via: 1 }, { by: 'unknown' }],
    ['control characters', { ...right, by: 'eve\u001b[2J', comment: 'a\u0000b\u202e' }, { by: 'unknown' }],
    ['a megabyte', { ...right, by: 'e'.repeat(1_000_000) }, { by: 'unknown', stage: 'canary' }],
    ['a name that only the ledger gives', { ...right, id: 'refused/x' }, { by: 'anna' }],
    ['fields of its own', { ...right, by: 'eve', [SECRET]: SECRET, token: SECRET }, { by: 'eve' }],
  ])('leaves a row of what can be believed of it: %s', async (_, sent, row) => {
    const { world, train } = await askingTrain();
    await train.signal(approveWaveSignal, sent as Decision);
    const [kept] = await rowsUntil(world, 1);
    expect(kept).toMatchObject({ ...row, accepted: false, refusal: expect.stringMatching(/./) as string });
    const text = JSON.stringify([kept, world.central.notifications, await train.query('train')]);
    expect(text).not.toContain(SECRET);
    expect(JSON.stringify(kept).length).toBeLessThan(1_500);
    expect(Object.values(kept ?? {}).join('')).not.toMatch(/[\p{Cc}\p{Cf}]/u);
    await eventually('people are told', () => world.central.notifications.some(({ event }) => event === 'refused'));
    await expect(decide(train, right)).resolves.toBe('Stage canary is approved.');
  });
});

describe('a flood of refused decisions', () => {
  it('leaves so many rows and no more, says so once, and keeps nobody from deciding', async () => {
    const { world, train } = await askingTrain();
    for (let sent = 0; sent < BOUND + 10; sent += 1)
      await train.signal(approveWaveSignal, { ...right, planHash: 'wrong', id: `spam-${sent}` });
    await rowsUntil(world, BOUND);
    const before = await updatesIn(train);
    for (let sent = 0; sent < 3; sent += 1)
      expect(await refusalOf(train, { ...right, stage: 'wave-9' })).toEqual({
        message: 'The train asks for stage canary, not for wave-9.',
        type: 'InvalidInput',
      });
    expect(await updatesIn(train), 'what is not kept leaves no history').toBe(before);
    await expect(decide(train, right)).resolves.toBe('Stage canary is approved.');
    await train.result();
    const rows = refusedRows(world);
    expect(rows).toHaveLength(BOUND);
    expect(rows.filter(({ refusal }) => /further ones are refused without a record/.test(refusal ?? ''))).toHaveLength(
      1,
    );
    const told = world.central.notifications.filter(({ event }) => event === 'attention');
    expect(told.map(({ summary }) => summary)).toEqual([
      '100 decisions were refused and recorded; further ones are refused without a record.',
    ]);
    expect(world.central.notifications.filter(({ event }) => event === 'refused').length).toBe(BOUND);
  });
});
