import { describe, expect, inject, it } from 'vitest';
import { run } from '#client/cli/main.js';
import { decideUpdate, pauseUpdate, storeQuery, trainQuery } from '#workflows/messages.js';
import { fakeIo } from '../../unit/client/cli/fake-io.js';
import { aPlan, PLAN_HASH } from '../../support/workflow-builders.js';
import { useWorld } from '../../support/use-world.js';
import { eventually, heldFor, trainUntil, type World } from '../../support/workflow-harness.js';

/** `edge train` and `edge store` `pause`, `resume` and `abort`, as they are typed, against a train of three stores. */

/** What a command leaves behind: its exit code and what it wrote; errors are told apart. */
const typedIn =
  (world: World, fleet: string[] = []) =>
  async (...words: string[]) => {
    const io = fakeIo();
    const where = ['--address', inject('temporalAddress'), '--namespace', world.client.options.namespace];
    const exitCode = await run([...words, ...where, ...fleet], io);
    return [exitCode, io.stdout().trimEnd(), io.stderr().trimEnd()];
  };
const answers = (sentence: string) => [0, sentence, ''];

async function givenTrain() {
  const world = await useWorld();
  const stores = await world.stores(['s001', 's002', 's003']);
  world.central.plans(
    aPlan()
      .stage('canary', { stores: [...stores.keys()], limits: { maxConcurrency: 3 }, approval: { required: true } })
      .build(),
  );
  const train = await world.startTrain();
  const { hold } = await heldFor(train, 'ApprovalPending');
  return {
    world,
    stores,
    train,
    asks: hold?.summary,
    view: () => train.query(trainQuery),
    approve: () =>
      train.executeUpdate(decideUpdate, {
        args: [{ stage: 'canary', planHash: PLAN_HASH, decision: 'approve', by: 'anna', via: 'cli' }],
      }),
    edgeTrain: (...words: string[]) => typedIn(world, ['--fleet', 'acme'])('train', ...words),
    edgeStore: (...words: string[]) => typedIn(world)('store', ...words),
  };
}

describe('edge train pause, resume and abort', () => {
  it('steer the train, a stage and a store of it, and are answered the same when nothing is to change', async () => {
    const { train, stores, view, asks, approve, edgeTrain } = await givenTrain();

    expect(await edgeTrain('pause', '--reason', 'a doubt')).toEqual(
      answers('Paused by mara: a doubt. Nothing new starts; stores in work end by themselves.'),
    );
    expect((await view()).paused).toMatchObject({ by: 'mara', reason: 'a doubt' });
    expect(await edgeTrain('pause', '--by', 'bert')).toEqual(answers('The train was already paused by mara.'));
    expect((await view()).paused).toMatchObject({ by: 'mara' });
    expect(await edgeTrain('resume')).toEqual(answers(`Resumed by mara. ${asks}`));
    expect((await view()).paused).toBeUndefined();
    expect(await edgeTrain('resume')).toEqual(answers('The train is not paused.'));

    expect(await edgeTrain('pause', '--stage', 'canary')).toEqual(
      answers('Stage canary is paused by mara. It starts no further store.'),
    );
    expect((await view()).stages).toMatchObject([{ name: 'canary', paused: { by: 'mara' } }]);
    expect(await edgeTrain('resume', '--stage', 'canary')).toEqual(answers('Stage canary is resumed by mara.'));
    expect(await edgeTrain('resume', '--stage', 'canary')).toEqual(answers('Stage canary is not paused.'));

    expect(await edgeTrain('pause', '--store', 's003', '--reason', 'stocktaking')).toEqual(
      answers(
        's003 is paused by mara: stocktaking. It is not started; if it is in work, it stops after the node it is at.',
      ),
    );
    expect((await view()).pausedStores).toEqual(['s003']);
    expect(await edgeTrain('abort', '--store', 's002')).toEqual(
      answers('s002 is aborted by mara. If it is in work, it stops at the nearest safe point.'),
    );
    expect(await edgeTrain('abort', '--stage', 'canary', '--reason', 'not today')).toEqual(
      answers('Stage canary is aborted by mara. Stores in work stop at the nearest safe point; then the train holds.'),
    );
    await heldFor(train, 'StageAborted');
    expect(await edgeTrain('abort', '--stage', 'canary')).toEqual(
      answers('Stage canary was aborted by mara: not today. Nothing of it has started.'),
    );
    expect(await edgeTrain('retry-failed')).toEqual(answers('mara asked to try again what failed.'));
    await heldFor(train, 'ApprovalPending');
    await approve();
    await trainUntil(train, 's001 is through', ({ stages }) => stages[0]?.tally.succeeded === 1);

    expect(await edgeTrain('abort', '--reason', 'enough')).toEqual(
      answers('Aborted by mara. Stores in work stop at the nearest safe point.'),
    );
    await expect(train.result()).resolves.toMatchObject({
      state: 'aborted',
      summary: 'Aborted by mara: enough.',
      tally: { succeeded: 1, aborted: 2 },
    });
    for (const store of ['s002', 's003']) expect(stores.get(store)?.calls).toEqual([]);
    const [exitCode, out, err] = await edgeTrain('pause');
    expect({ exitCode, out, err }).toEqual({ exitCode: 1, out: '', err: expect.stringMatching(/aborted/) as string });
  });

  it('say what is wrong with a message that cannot be taken, with exit code 1 or 2, and change nothing', async () => {
    const { view, edgeTrain } = await givenTrain();
    const before = await view();
    for (const command of ['pause', 'resume', 'abort']) {
      expect(await edgeTrain(command, '--stage', 'wave-9')).toEqual([
        1,
        'Refused: wave-9 is not a stage of this train. Its stages: canary.',
        '',
      ]);
      expect(await edgeTrain(command, '--store', 's999')).toEqual([
        1,
        'Refused: s999 is not in the plan of this train.',
        '',
      ]);
      const [exitCode, out, err] = await edgeTrain(command, '--stage', 'canary', '--store', 's001');
      expect([exitCode, out]).toEqual([2, '']);
      expect(err).toMatch(/names a stage and a store: give one/);
    }
    const [exitCode, out] = await edgeTrain('pause', '--store', 's999', '--json');
    expect([exitCode, JSON.parse(String(out))]).toEqual([
      1,
      expect.objectContaining({ kind: 'refused', sentence: 's999 is not in the plan of this train.' }),
    ]);
    expect(await view()).toEqual(before);
  });
});

describe('edge store pause, resume and abort', () => {
  it('steer the operation on a store in work, and name the other command when there is none', async () => {
    const { world, stores, train, view, approve, edgeStore, edgeTrain } = await givenTrain();
    const store = stores.get('s001');
    const [exitCode, out, err] = await edgeStore('pause', 's001');
    expect([exitCode, out]).toEqual([1, '']);
    expect(err).toMatch(/To keep the train from starting it: edge train pause --store/);

    const held = store?.hold('rejoinNode n1');
    await approve();
    await held?.reached;
    const work = world.storeHandle('s001');
    expect(await edgeStore('pause', 's001', '--reason', 'stocktaking')).toEqual(
      answers('s001 is paused by mara. It stops after the node it is at.'),
    );
    expect(await edgeStore('pause', 's001')).toEqual(answers('s001 is paused already.'));
    expect(await edgeStore('show', 's001')).toEqual([
      0,
      expect.stringMatching(
        /Told to pause: it stands still after the node it is at.*\n.*\n?(.*\n)*.*edge store resume s001/,
      ) as string,
      '',
    ]);
    const [, shown] = await edgeTrain('show');
    expect(shown).toMatch(/Paused one by one: s001\. Each goes on by: edge train resume --store s001/);
    expect(shown).not.toContain('Time left');
    held?.release();
    await eventually('s001 stands still', async () => (await work.query(storeQuery)).paused);
    expect(store?.work().at(-1)).toBe('rejoinNode n1');
    const next = store?.hold('drainNode n3');
    expect(await edgeStore('resume', 's001')).toEqual(answers('s001 is resumed by mara.'));
    expect((await view()).pausedStores).toEqual([]);
    await next?.reached;
    expect(await edgeStore('resume', 's001')).toEqual(answers('s001 is not paused; there is nothing to resume.'));
    expect(await edgeStore('abort', 's001', '--reason', 'enough')).toEqual(
      answers('The operation on s001 is aborted by mara. It stops at the nearest safe point.'),
    );
    const [again, repeated] = await edgeStore('abort', 's001');
    expect([again, repeated]).toEqual([
      0,
      expect.stringMatching(/^The operation on s001 ends already: Aborted by mara/),
    ]);
    const refused = await edgeStore('pause', 's001');
    expect(refused).toEqual([1, expect.stringMatching(/^Refused: The operation on s001 ends already/), '']);
    expect((await edgeStore('show', 's001'))[1]).toContain(
      'Told to abort: it ends at the nearest safe point, once this step is over.',
    );
    next?.release();
    await expect(train.result()).resolves.toMatchObject({ state: 'done', tally: { succeeded: 2, aborted: 1 } });
    expect(store?.work().at(-1)).toBe('closeOperation aborted');
  });

  it('of an operation that was paused without its train end by the command of the train too', async () => {
    const { world, stores, train, approve, edgeTrain } = await givenTrain();
    const held = stores.get('s001')?.hold('rejoinNode n1');
    await approve();
    await held?.reached;
    await world.storeHandle('s001').executeUpdate(pauseUpdate, { args: [{ by: 'bert' }] });
    expect(await edgeTrain('resume', '--store', 's001')).toEqual(answers('s001 is resumed by mara.'));
    expect(await edgeTrain('resume', '--store', 's001')).toEqual(answers('s001 is not paused.'));
    held?.release();
    await expect(train.result()).resolves.toMatchObject({ state: 'done', tally: { succeeded: 3 } });
  });

  it('stand beside what a step that is tried again was refused with', async () => {
    const { stores, train, approve, edgeStore } = await givenTrain();
    const store = stores.get('s001');
    store?.on('applyConfig', async () => {
      throw new Error('The mirror is away.');
    });
    await approve();
    await eventually('the error to be shown', async () =>
      /applyConfig is tried again \(try \d+\)\. Last error: The mirror is away\./.test(
        String((await edgeStore('show', 's001'))[1]),
      ),
    );
    store?.on('applyConfig', async () => ({ kind: 'done', changed: [] }));
    await expect(train.result()).resolves.toMatchObject({ state: 'done', tally: { succeeded: 3 } });
  });

  it('are one with those of the train: a store that either paused goes on by the other', async () => {
    const { world, stores, train, view, approve, edgeStore, edgeTrain } = await givenTrain();
    const store = stores.get('s001');
    const held = store?.hold('rejoinNode n1');
    await approve();
    await held?.reached;
    await edgeStore('pause', 's001');
    expect((await view()).pausedInWork).toEqual(['s001']);
    held?.release();
    const paused = async () => (await world.storeHandle('s001').query(storeQuery)).paused;
    await eventually('s001 stands still', paused);
    expect(await edgeTrain('resume', '--store', 's001')).toEqual(answers('s001 is resumed by mara.'));
    await expect(train.result()).resolves.toMatchObject({ state: 'done', tally: { succeeded: 3 } });
    expect(await edgeTrain('show')).not.toContain('Paused');
  });
});
