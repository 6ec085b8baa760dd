import { describe, expect, it } from 'vitest';
import { createOperation, type Operation } from '#activities/store/operation.js';
import { signEvery } from '#domain/abandoned.js';
import type { StoreTask, SweepTask } from '#domain/messages/store.js';
import { stepKey, upgradeUnit } from '#domain/naming.js';
import { aReleaseRef, aManifest, anArtifact, aTask } from '../../../support/builders.js';
import { aFakeStore, goDown, type FakeStore, type FakeStoreOptions } from '../../../support/fake-store.js';

const NEXT = aTask({ operationId: '2026-w48/canary/store-001/r1', fence: 200 });
const OTHER_RELEASE = aTask({ ...NEXT, release: aReleaseRef(49) });

interface Given {
  store: FakeStore;
  operation: Operation;
}

async function opened(task: StoreTask = aTask(), options: FakeStoreOptions = {}): Promise<Given> {
  const store = aFakeStore(options);
  store.releases.set(aReleaseRef(49).manifest, { manifest: aManifest({ sequence: 49 }), artifact: anArtifact() });
  const operation = createOperation(store.deps);
  expect(await operation.open(task)).toEqual({ kind: 'done', adopted: [] });
  return { store, operation };
}

/** As after a kill: another process with the same state. */
const restarted = ({ store }: Given): Operation => createOperation(store.deps);

/** Sets what a drain of the node sets. */
async function setMarks({ store, operation }: Given, node: string): Promise<void> {
  await operation.mark('maintenance', node);
  store.maintenance.add(node);
  await operation.mark('noout', node);
  store.noout.add(node);
}

/** A promise and its handle. */
function deferred<T>(): { promise: Promise<T>; resolve: (value: T) => void } {
  let resolve: (value: T) => void = () => undefined;
  const promise = new Promise<T>((given) => (resolve = given));
  return { promise, resolve };
}

describe('open', () => {
  it('takes a store that nobody holds, and remembers it', async () => {
    const { store } = await opened();
    expect(store.state.operation()).toMatchObject({
      operationId: aTask().operationId,
      fence: 100,
      open: true,
      release: aReleaseRef(),
      marks: [],
    });
    expect(store.state.trust().highestSequence).toBe(48);
  });

  it('finds its own operation open when it is asked again', async () => {
    const given = await opened();
    await setMarks(given, 'n1');
    await given.operation.step(aTask(), 'drain n1', () => Promise.resolve({ kind: 'done', moved: 2 }));
    expect(await restarted(given).open(aTask())).toEqual({ kind: 'done', adopted: [] });
    expect(given.store.state.operation()?.marks).toHaveLength(2);
    expect(await restarted(given).step(aTask(), 'drain n1', () => Promise.reject(new Error('again')))).toEqual({
      kind: 'done',
      moved: 2,
    });
    expect(given.store.effects).toEqual([]);
  });

  it.each([
    ['with a lower fence', aTask({ operationId: 'older', fence: 99 })],
    ['with the same fence under another name', aTask({ operationId: 'twin', fence: 100 })],
    ['under the same name with a lower fence', aTask({ fence: 99 })],
  ])('refuses an operation %s, and leaves the holder in place', async (_, task) => {
    const { store, operation } = await opened();
    expect(await operation.open(task)).toMatchObject({ kind: 'refused', stop: { reason: 'StaleOperation' } });
    expect(store.state.operation()?.fence).toBe(100);
  });

  it('refuses an operation that has ended, however often it is asked', async () => {
    const { operation } = await opened();
    await operation.close(aTask(), 'failed');
    expect(await operation.open(aTask())).toMatchObject({ kind: 'refused', stop: { reason: 'StaleOperation' } });
    expect(await operation.open(aTask({ operationId: 'older', fence: 99 }))).toMatchObject({ kind: 'refused' });
  });

  it('refuses a release that the store does not accept, and is not taken by it', async () => {
    const store = aFakeStore();
    store.releases.set(aReleaseRef().manifest, { refused: 'NotPromoted' });
    expect(await createOperation(store.deps).open(aTask())).toEqual({
      kind: 'refused',
      stop: { reason: 'NotPromoted', step: 'verify release', summary: 'Refused: NotPromoted.' },
    });
    expect(store.state.operation()).toBeUndefined();
    expect(store.state.trust().highestSequence).toBe(0);
  });

  it('refuses an older release than the store has seen', async () => {
    const { operation } = await opened(OTHER_RELEASE);
    const older = aTask({ operationId: 'later', fence: 300 });
    expect(await operation.open(older)).toMatchObject({ kind: 'refused', stop: { reason: 'SequenceRollback' } });
  });

  it('does not hand out a release that was accepted at first and is refused after a restart', async () => {
    const given = await opened();
    given.store.releases.set(aReleaseRef().manifest, { refused: 'ReleaseExpired' });
    await expect(restarted(given).open(aTask())).rejects.toMatchObject({ kind: 'ReleaseExpired', retryable: false });
    await expect(restarted(given).release(aTask())).rejects.toMatchObject({ kind: 'ReleaseExpired' });
  });

  it('verifies a release once while the worker lives', async () => {
    const { store, operation } = await opened();
    await operation.release(aTask());
    await operation.release(aTask());
    expect(store.verifications).toBe(1);
  });
});

describe('taking over from an operation that died', () => {
  it('keeps its marks when the release is the same', async () => {
    const given = await opened();
    await setMarks(given, 'n1');
    await given.operation.rememberHomes({ '102': 'n1' });
    expect(await restarted(given).open(NEXT)).toEqual({
      kind: 'done',
      adopted: [
        `took over maintenance of n1 from ${aTask().operationId}`,
        `took over noout of n1 from ${aTask().operationId}`,
      ],
    });
    expect(restarted(given).ours()).toEqual({ maintenance: ['n1'], noout: ['n1'] });
    expect(restarted(given).homes()).toEqual({ '102': 'n1' });
    expect(given.store.effects).toEqual([]);
  });

  it('takes its marks back when the release is another', async () => {
    const given = await opened();
    await setMarks(given, 'n1');
    expect(await restarted(given).open(OTHER_RELEASE)).toEqual({
      kind: 'done',
      adopted: ['undone: noout of n1', 'undone: maintenance of n1'],
    });
    expect(restarted(given).marks()).toEqual([]);
    expect(given.store.effects).toEqual(['unset noout n1', 'maintenance disable n1']);
  });

  it('leaves a node that is not fit to run guests where it is, and says so', async () => {
    const given = await opened();
    await setMarks(given, 'n1');
    given.store.nodes['n1']!.audit = ['pve-manager'];
    expect(await restarted(given).open(OTHER_RELEASE)).toEqual({
      kind: 'done',
      adopted: ['undone: noout of n1', 'left: maintenance of n1 (dpkg is not clean: pve-manager)'],
    });
    expect(restarted(given).ours()).toEqual({ maintenance: ['n1'], noout: [] });
  });

  it('waits for an upgrade that still runs, before it undoes anything under it', async () => {
    const given = await opened();
    await setMarks(given, 'n1');
    const node = given.store.nodes['n1']!;
    node.unit = { name: upgradeUnit(aReleaseRef().manifest), state: 'running' };
    node.pending = 3;
    given.store.before('unset noout', () => expect(node.unit?.state).toBe('succeeded'));
    const answer = await restarted(given).open(OTHER_RELEASE);
    expect(answer).toMatchObject({
      kind: 'done',
      adopted: [
        expect.stringContaining('adopted the upgrade edge-governor-upgrade-'),
        'undone: noout of n1',
        'undone: maintenance of n1',
      ],
    });
    expect(given.store.effects).toContain('unset noout n1');
  });

  it('clears away a failed upgrade and keeps its log as evidence', async () => {
    const given = await opened();
    await setMarks(given, 'n1');
    const node = given.store.nodes['n1']!;
    node.unit = { name: upgradeUnit(aReleaseRef().manifest), state: 'failed' };
    node.log = ['E: Sub-process /usr/bin/dpkg returned an error code (1)'];
    const answer = await restarted(given).open(NEXT);
    expect(answer.kind === 'done' && answer.adopted).toContain(
      'E: Sub-process /usr/bin/dpkg returned an error code (1)',
    );
    expect(node.unit).toBeUndefined();
  });

  it.each(['reboot', 'upgrade'])(
    'waits for a node that went away during its %s, which nobody has proven to be over',
    async (step) => {
      const given = await opened();
      await setMarks(given, 'n1');
      await given.store.state.intent(stepKey(aTask(), `${step} n1`), {});
      goDown(given.store.nodes['n1']!);
      await restarted(given).open(NEXT);
      expect(given.store.nodes['n1']?.up).toBe(true);
    },
  );

  it('waits no longer than a reboot takes, and goes on without a node that does not come back', async () => {
    const given = await opened(aTask(), { timing: { reboot: 5 } });
    await setMarks(given, 'n1');
    await given.store.state.intent(stepKey(aTask(), 'reboot n1'), {});
    given.store.nodes['n1']!.rebootLooks = 'never';
    goDown(given.store.nodes['n1']!);
    const answer = await restarted(given).open(NEXT);
    expect(answer.kind === 'done' && answer.adopted[0]).toBe('went on without n1: n1 cannot be reached');
  });

  it.each<[string, unknown]>([
    ['that went away when nothing was begun there', undefined],
    ['whose reboot has failed already', { kind: 'failed', stop: { reason: 'RebootTimeout', summary: 'gone' } }],
  ])('does not wait for a node %s: it is down, and the pre-check says so', async (_, result) => {
    const given = await opened(aTask(), { timing: { reboot: 600_000, upgrade: 600_000 } });
    await setMarks(given, 'n1');
    if (result) {
      await given.store.state.intent(stepKey(aTask(), 'reboot n1'), {});
      await given.store.state.result(stepKey(aTask(), 'reboot n1'), result);
    }
    given.store.nodes['n1']!.rebootLooks = 'never';
    goDown(given.store.nodes['n1']!);
    const answer = await restarted(given).open(NEXT);
    expect(answer.kind === 'done' && answer.adopted[0]).toBe('went on without n1: n1 cannot be reached');
    expect(restarted(given).ours().maintenance).toEqual(['n1']);
  });

  it('names an upgrade that does not end, and does not take the node back under it', async () => {
    const given = await opened(aTask(), { timing: { upgrade: 5, rejoin: 5 } });
    await setMarks(given, 'n1');
    given.store.nodes['n1']!.unit = { name: upgradeUnit(aReleaseRef().manifest), state: 'running' };
    given.store.nodes['n1']!.upgradeEnds = 'never';
    const answer = await restarted(given).open(OTHER_RELEASE);
    const unit = upgradeUnit(aReleaseRef().manifest);
    expect(answer).toMatchObject({
      adopted: [
        `went on without n1: ${unit} still runs`,
        'undone: noout of n1',
        `left: maintenance of n1 (${unit} still runs)`,
      ],
    });
  });

  it('does not take the old operation for open any more', async () => {
    const given = await opened();
    const next = restarted(given);
    await next.open(NEXT);
    const answer = await next.step(aTask(), 'drain n1', () => Promise.reject(new Error('it acted')));
    expect(answer).toMatchObject({ kind: 'refused', stop: { reason: 'StaleOperation' } });
    expect(await next.close(aTask(), 'aborted')).toEqual({ undone: [], leftSet: [] });
    expect(given.store.state.operation()).toMatchObject({ operationId: NEXT.operationId, open: true });
  });

  it('waits for a step of the old operation that still runs in this process', async () => {
    const given = await opened();
    const { promise, resolve } = deferred<{ kind: 'done' }>();
    const step = given.operation.step(aTask(), 'upgrade n1', () => promise);
    let taken = false;
    const next = given.operation.open(NEXT).then(() => (taken = true));
    await new Promise((done) => setImmediate(done));
    expect(taken).toBe(false);
    resolve({ kind: 'done' });
    await Promise.all([step, next]);
    expect(taken).toBe(true);
  });
});

describe('step', () => {
  it('runs once, and gives the recorded answer ever after', async () => {
    const given = await opened();
    let runs = 0;
    const run = () => Promise.resolve({ kind: 'done' as const, moved: (runs += 1) });
    expect(await given.operation.step(aTask(), 'drain n1', run)).toEqual({ kind: 'done', moved: 1 });
    expect(await given.operation.step(aTask(), 'drain n1', run)).toEqual({ kind: 'done', moved: 1 });
    expect(await restarted(given).step(aTask(), 'drain n1', run)).toEqual({ kind: 'done', moved: 1 });
    expect(await given.operation.step(aTask(), 'drain n2', run)).toEqual({ kind: 'done', moved: 2 });
  });

  it.each(['refused', 'failed'] as const)('records that it was %s', async (kind) => {
    const { operation } = await opened();
    const stop = { reason: 'FactsChanged' as const, summary: 'x' };
    await operation.step(aTask(), 'drain n1', () => Promise.resolve({ kind, stop }));
    expect(await operation.step(aTask(), 'drain n1', () => Promise.reject(new Error('again')))).toEqual({ kind, stop });
  });

  it('joins an attempt that still runs: two attempts at once are one', async () => {
    const { operation } = await opened();
    const { promise, resolve } = deferred<{ kind: 'done'; moved: number }>();
    let runs = 0;
    const run = () => {
      runs += 1;
      return promise;
    };
    const both = [operation.step(aTask(), 'drain n1', run), operation.step(aTask(), 'drain n1', run)];
    resolve({ kind: 'done', moved: 3 });
    expect(await Promise.all(both)).toEqual([
      { kind: 'done', moved: 3 },
      { kind: 'done', moved: 3 },
    ]);
    expect(runs).toBe(1);
  });

  it('does not record an error: the next attempt looks and goes on', async () => {
    const { operation } = await opened();
    await expect(operation.step(aTask(), 'drain n1', () => Promise.reject(new Error('cut')))).rejects.toThrow('cut');
    expect(await operation.step(aTask(), 'drain n1', () => Promise.resolve({ kind: 'done' }))).toEqual({
      kind: 'done',
    });
  });

  it('leaves its intent behind when it dies half-way', async () => {
    const given = await opened();
    const dies = async (key: string) => {
      await given.store.state.intent(key, { bootId: 'old' });
      throw new Error('killed');
    };
    await expect(given.operation.step(aTask(), 'reboot n1', dies)).rejects.toThrow('killed');
    const found = await restarted(given).step(aTask(), 'reboot n1', (key) =>
      Promise.resolve({ kind: 'done', intent: given.store.state.step(key)?.intent }),
    );
    expect(found).toEqual({ kind: 'done', intent: { bootId: 'old' } });
  });

  it.each([
    ['when nobody has opened an operation', undefined],
    ['of an operation with another fence', aTask({ fence: 101 })],
    ['of another operation', NEXT],
  ])('is refused %s', async (_, task) => {
    const { operation } = task ? await opened() : { operation: createOperation(aFakeStore().deps) };
    const answer = await operation.step(task ?? aTask(), 'drain n1', () => Promise.reject(new Error('it acted')));
    expect(answer).toMatchObject({ kind: 'refused', stop: { reason: 'StaleOperation' } });
  });

  it('is refused after the end', async () => {
    const { operation } = await opened();
    await operation.close(aTask(), 'succeeded');
    const answer = await operation.step(aTask(), 'drain n1', () => Promise.reject(new Error('it acted')));
    expect(answer).toMatchObject({ kind: 'refused', stop: { reason: 'StaleOperation' } });
  });

  it('is done anew when a later run has the same name: its old answers are of another release', async () => {
    const { operation } = await opened();
    await operation.step(aTask(), 'drain n1', () => Promise.resolve({ kind: 'done', moved: 1 }));
    await operation.close(aTask(), 'failed');
    const again = aTask({ fence: 200 });
    expect(await operation.open(again)).toMatchObject({ kind: 'done' });
    expect(await operation.step(again, 'drain n1', () => Promise.resolve({ kind: 'done', moved: 2 }))).toEqual({
      kind: 'done',
      moved: 2,
    });
  });
});

describe('marks and homes', () => {
  it('are kept on disk, each once', async () => {
    const given = await opened();
    await given.operation.mark('maintenance', 'n1');
    await given.operation.mark('maintenance', 'n1');
    await given.operation.mark('noout', 'n1');
    expect(
      restarted(given)
        .marks()
        .map(({ kind, node }) => `${kind} ${node}`),
    ).toEqual(['maintenance n1', 'noout n1']);
    await given.operation.unmark('noout', 'n1');
    await given.operation.unmark('noout', 'n2');
    expect(restarted(given).ours()).toEqual({ maintenance: ['n1'], noout: [] });
  });

  it('hold the first place of a guest for its home', async () => {
    const { operation } = await opened();
    await operation.rememberHomes({ '101': 'n1', '102': 'n1' });
    await operation.rememberHomes({ '101': 'n2', '103': 'n2' });
    expect(operation.homes()).toEqual({ '101': 'n1', '102': 'n1', '103': 'n2' });
  });

  it('are not set before a store is held', async () => {
    await expect(createOperation(aFakeStore().deps).mark('noout', 'n1')).rejects.toThrow(
      'No operation holds the store.',
    );
  });
});

describe('close', () => {
  it('takes noout back before maintenance, on every node', async () => {
    const given = await opened();
    await setMarks(given, 'n1');
    await setMarks(given, 'n2');
    expect(await given.operation.close(aTask(), 'failed')).toEqual({
      undone: ['noout of n1', 'noout of n2', 'maintenance of n1', 'maintenance of n2'],
      leftSet: [],
    });
    expect(given.store.effects).toEqual([
      'unset noout n1',
      'unset noout n2',
      'maintenance disable n1',
      'maintenance disable n2',
    ]);
    expect(given.store.state.operation()).toMatchObject({ open: false, outcome: 'failed', marks: [] });
  });

  it('takes back what was marked and never set, since the mark comes first', async () => {
    const given = await opened();
    await given.operation.mark('maintenance', 'n1');
    await given.operation.mark('noout', 'n1');
    expect((await given.operation.close(aTask(), 'aborted')).leftSet).toEqual([]);
    expect(given.operation.marks()).toEqual([]);
  });

  it.each([0, 1])(
    'leaves a node with unclean packages out of service and names it (dpkg ends with %d)',
    async (code) => {
      const given = await opened();
      await setMarks(given, 'n1');
      Object.assign(given.store.nodes['n1']!, { audit: ['pve-manager half configured'], auditCode: code });
      expect(await given.operation.close(aTask(), 'failed')).toEqual({
        undone: ['noout of n1'],
        leftSet: ['maintenance of n1 (dpkg is not clean: pve-manager half configured)'],
      });
      expect([...given.store.maintenance]).toEqual(['n1']);
      expect(given.store.state.operation()).toMatchObject({
        open: false,
        marks: [{ kind: 'maintenance', node: 'n1' }],
      });
    },
  );

  it('leaves a node alone on which an upgrade still runs', async () => {
    const given = await opened();
    await setMarks(given, 'n1');
    Object.assign(given.store.nodes['n1']!, {
      unit: { name: 'edge-governor-upgrade-x', state: 'running' },
      upgradeEnds: 'never',
    });
    expect((await given.operation.close(aTask(), 'timedOut')).leftSet).toEqual([
      'maintenance of n1 (edge-governor-upgrade-x still runs)',
    ]);
  });

  it('leaves a node that is away as it is', async () => {
    const given = await opened();
    await setMarks(given, 'n1');
    given.store.nodes['n1']!.rebootLooks = 'never';
    goDown(given.store.nodes['n1']!);
    expect(await given.operation.close(aTask(), 'failed')).toEqual({
      undone: ['noout of n1'],
      leftSet: ['maintenance of n1 (not reachable: n1 cannot be reached)'],
    });
  });

  it('names a noout that does not go, and still frees the node', async () => {
    const given = await opened(aTask(), { timing: { rejoin: 5 } });
    await setMarks(given, 'n1');
    given.store.before('unset noout', () => {
      throw new Error('mon is away');
    });
    expect(await given.operation.close(aTask(), 'failed')).toEqual({
      undone: ['maintenance of n1'],
      leftSet: ['noout of n1 (mon is away)'],
    });
  });

  it('names a maintenance that does not end, and still frees the next node', async () => {
    const given = await opened(aTask(), { timing: { rejoin: 5 } });
    await setMarks(given, 'n1');
    await setMarks(given, 'n2');
    given.store.before('maintenance disable n1', () => {
      throw new Error('no quorum');
    });
    expect(await given.operation.close(aTask(), 'failed')).toEqual({
      undone: ['noout of n1', 'noout of n2', 'maintenance of n2'],
      leftSet: ['maintenance of n1 (n1 does not leave maintenance: no quorum)'],
    });
    expect(given.store.state.operation()?.open).toBe(false);
  });

  it('removes an upgrade unit that has ended', async () => {
    const given = await opened();
    await setMarks(given, 'n1');
    given.store.nodes['n1']!.unit = { name: 'edge-governor-upgrade-x', state: 'failed' };
    await given.operation.close(aTask(), 'failed');
    expect(given.store.nodes['n1']?.unit).toBeUndefined();
  });

  it('changes nothing the second time', async () => {
    const given = await opened();
    await setMarks(given, 'n1');
    await given.operation.close(aTask(), 'failed');
    const effects = [...given.store.effects];
    expect(await restarted(given).close(aTask(), 'failed')).toEqual({ undone: [], leftSet: [] });
    expect(given.store.effects).toEqual(effects);
  });

  it('tries again what it could not take back the first time', async () => {
    const given = await opened();
    await setMarks(given, 'n1');
    given.store.nodes['n1']!.audit = ['pve-manager'];
    await given.operation.close(aTask(), 'failed');
    given.store.nodes['n1']!.audit = [];
    expect(await given.operation.close(aTask(), 'failed')).toEqual({ undone: ['maintenance of n1'], leftSet: [] });
  });

  it('waits for a step that still runs', async () => {
    const given = await opened();
    const { promise, resolve } = deferred<{ kind: 'done' }>();
    const step = given.operation.step(aTask(), 'drain n1', async () => {
      const answer = await promise;
      await setMarks(given, 'n1');
      return answer;
    });
    const closing = given.operation.close(aTask(), 'aborted');
    resolve({ kind: 'done' });
    await step;
    expect((await closing).undone).toEqual(['noout of n1', 'maintenance of n1']);
  });

  it.each([
    ['succeeded', aReleaseRef()],
    ['failed', undefined],
    ['aborted', undefined],
    ['timedOut', undefined],
  ])('after an operation that %s, the store runs %j', async (outcome, current) => {
    const { store, operation } = await opened();
    await operation.close(aTask(), outcome);
    expect(store.state.trust().current).toEqual(current);
  });

  it('does not count as current what could not be given back clean', async () => {
    const given = await opened();
    await setMarks(given, 'n1');
    given.store.nodes['n1']!.audit = ['pve-manager'];
    await given.operation.close(aTask(), 'succeeded');
    expect(given.store.state.trust().current).toBeUndefined();
  });

  it('is nothing for an operation that never held the store', async () => {
    const given = await opened();
    await setMarks(given, 'n1');
    expect(await given.operation.close(NEXT, 'failed')).toEqual({ undone: [], leftSet: [] });
    expect(given.store.effects).toEqual([]);
    expect(given.store.state.operation()?.open).toBe(true);
  });
});

describe('a registry that does not answer', () => {
  const unavailable = Object.assign(new Error('GET http://registry.example: no answer'), {
    kind: 'Unavailable',
    retryable: true,
  });

  it('is no refusal: it is said what was to be verified, and tried again', async () => {
    const store = aFakeStore();
    store.deps.verifier.verify = () => Promise.reject(unavailable);
    await expect(createOperation(store.deps).open(aTask())).rejects.toMatchObject({
      kind: 'RegistryUnreachable',
      retryable: true,
      message:
        'Release 2026.48.0 cannot be verified, because the registry does not give it: GET http://registry.example: no answer',
    });
    expect(store.state.operation()).toBeUndefined();
  });

  it.each(['desired', 'withdrawn'] as const)(
    'is not passed over when it keeps to itself what became of earlier releases (%s)',
    async (record) => {
      const store = aFakeStore();
      const known = { current: aReleaseRef(47), lastGood: aReleaseRef(47), goodBefore: aReleaseRef(46) };
      await store.state.saveTrust(known);
      Object.assign(store.deps.verifier, { [record]: () => Promise.reject(unavailable) });
      const operation = createOperation(store.deps);
      await expect(operation.open(aTask())).rejects.toMatchObject({ kind: 'RegistryUnreachable', retryable: true });
      expect([store.state.operation(), store.verifications]).toEqual([undefined, 0]);
      await expect(operation.learnLastGood()).resolves.toBeUndefined();
      expect(store.state.trust()).toMatchObject(known);
    },
  );

  describe('for a record that may not be there, since it refuses what is not there too', () => {
    const refused = (change: object) =>
      Object.assign(new Error('https://registry.example answered 403 for pointer withdrawn/store-001.json.'), {
        kind: 'Unavailable',
        retryable: false,
        ...change,
      });
    const desired = {
      schema: 'edge.desired/v1' as const,
      store: 'store-001',
      release: aReleaseRef(48),
      soaked: { release: aReleaseRef(47), at: '2026-11-20T03:00:00.000Z' },
    };
    const aStoreRefused = async (change: object, known: object = { desired }) => {
      const store = aFakeStore();
      await store.state.saveTrust({ current: aReleaseRef(47), lastGood: aReleaseRef(46) });
      Object.assign(store, known);
      store.deps.verifier.withdrawn = () => Promise.reject(refused(change));
      const told: string[] = [];
      return { store, told, operation: createOperation(store.deps, (line) => void told.push(line)) };
    };

    it('closes no store, learns from the other one, and says so once', async () => {
      const { store, told, operation } = await aStoreRefused({ mayBeAbsent: true });
      await operation.learnLastGood();
      expect(store.state.trust()).toMatchObject({ lastGood: aReleaseRef(47), goodBefore: aReleaseRef(46) });
      expect(await operation.open(aTask())).toMatchObject({ kind: 'done' });
      expect(told).toEqual([
        'The registry does not say whether releases were taken back here: https://registry.example answered 403 for pointer withdrawn/store-001.json.',
      ]);
    });

    it('is named where the store takes no permit', async () => {
      const { store, operation } = await aStoreRefused({ mayBeAbsent: true });
      await store.state.saveTrust({ current: aReleaseRef(48), lastGood: aReleaseRef(48), goodBefore: aReleaseRef(47) });
      const permit = { permit: `sha256:${'e'.repeat(64)}`, bundle: `sha256:${'f'.repeat(64)}` };
      expect(await operation.open(aTask({ release: aReleaseRef(46), permit }))).toMatchObject({
        kind: 'refused',
        stop: {
          reason: 'RollbackNotPermitted',
          detail: [expect.stringMatching(/does not say whether .* answered 403/)],
        },
      });
    });

    it('stays closed when the refusal is of another kind', async () => {
      const { store, operation } = await aStoreRefused({});
      await expect(operation.open(aTask())).rejects.toMatchObject({ kind: 'RegistryUnreachable' });
      expect([store.state.operation(), store.verifications]).toEqual([undefined, 0]);
    });

    it('stays closed when the registry does say what is not there', async () => {
      const { store, operation } = await aStoreRefused({ mayBeAbsent: true }, { desired: undefined });
      await expect(operation.open(aTask())).rejects.toMatchObject({ kind: 'RegistryUnreachable' });
      expect([store.state.operation(), store.verifications]).toEqual([undefined, 0]);
    });
  });

  it('is not what every error of a verification is taken for', async () => {
    const store = aFakeStore();
    store.deps.verifier.verify = () => Promise.reject(new TypeError('a bug'));
    await expect(createOperation(store.deps).open(aTask())).rejects.toThrow('a bug');
  });
});

const MINUTE = 60_000;
const LIMIT = 90 * MINUTE;

/** Both clocks go on. */
function later({ store }: Given, ms: number): void {
  store.clock.now = new Date(store.clock.now.getTime() + ms);
  store.clock.uptime += ms;
}

describe('a store whose operation fell silent', () => {
  it('takes its marks back when they are too old, and remembers it', async () => {
    const given = await opened();
    await setMarks(given, 'n1');
    later(given, LIMIT - 1);
    expect(await given.operation.lookAfter()).toEqual([]);
    later(given, 1);
    expect(await given.operation.lookAfter()).toEqual([
      `Taken back, since ${aTask().operationId} is silent: noout of n1.`,
      `Taken back, since ${aTask().operationId} is silent: maintenance of n1.`,
    ]);
    expect(given.store.effects).toEqual(['unset noout n1', 'maintenance disable n1']);
    expect(given.operation.marks()).toEqual([]);
    expect(restarted(given).selfUndo()).toEqual({
      at: '2026-11-24T12:30:00.000Z',
      undone: ['noout of n1', 'maintenance of n1'],
      leftSet: [],
    });
  });

  it('writes down what it is about to take back before it does', async () => {
    const given = await opened();
    await setMarks(given, 'n1');
    later(given, LIMIT);
    given.store.before('unset noout', () =>
      expect(given.store.state.step(stepKey(aTask(), 'self-undo'))?.intent).toEqual({
        at: '2026-11-24T12:30:00.000Z',
        marks: ['maintenance n1', 'noout n1'],
      }),
    );
    expect(await given.operation.lookAfter()).toHaveLength(2);
  });

  it('does so after a restart of its worker too, once it has given the centre its time', async () => {
    const given = await opened();
    await setMarks(given, 'n1');
    later(given, LIMIT);
    const next = restarted(given);
    expect(await next.lookAfter()).toEqual([]);
    later(given, LIMIT / 10);
    expect(await next.lookAfter()).toHaveLength(2);
  });

  it('leaves a step that runs alone, however long it takes', async () => {
    const given = await opened();
    await setMarks(given, 'n1');
    const { promise, resolve } = deferred<{ kind: 'done' }>();
    const step = given.operation.step(aTask(), 'upgrade n1', () => promise);
    later(given, 2 * LIMIT);
    expect(await given.operation.lookAfter()).toEqual([]);
    resolve({ kind: 'done' });
    await step;
    expect(await given.operation.lookAfter()).toEqual([]);
    later(given, LIMIT / 10);
    expect(await given.operation.lookAfter()).toHaveLength(2);
  });

  it.each([
    ['forward', 3 * LIMIT, 0],
    ['back', -3 * LIMIT, 2],
  ])('is not misled by a clock that jumps %s', async (_, jump, taken) => {
    const given = await opened();
    await setMarks(given, 'n1');
    await given.operation.lookAfter();
    given.store.clock.now = new Date(given.store.clock.now.getTime() + jump);
    given.store.clock.uptime += taken > 0 ? LIMIT : LIMIT / 10 - 1;
    expect(await given.operation.lookAfter()).toHaveLength(taken);
  });

  it('lets no step begin while it takes back; the step that comes then finds its node in service', async () => {
    const given = await opened();
    await setMarks(given, 'n1');
    later(given, LIMIT);
    const { promise, resolve } = deferred<undefined>();
    given.store.before('unset noout', () => promise);
    const looking = given.operation.lookAfter();
    let marks: unknown;
    const step = given.operation.step(aTask(), 'reboot n1', () => {
      marks = given.operation.marks();
      return Promise.resolve({ kind: 'done' });
    });
    await new Promise((done) => setImmediate(done));
    expect(marks).toBeUndefined();
    resolve(undefined);
    await Promise.all([looking, step]);
    expect(marks).toEqual([]);
  });

  it('leaves a node that is not fit where it is, says so once, and goes on trying', async () => {
    const given = await opened();
    await setMarks(given, 'n1');
    given.store.nodes['n1']!.audit = ['pve-manager'];
    later(given, LIMIT);
    expect(await given.operation.lookAfter()).toEqual([
      `Taken back, since ${aTask().operationId} is silent: noout of n1.`,
      `Left in place by ${aTask().operationId}: maintenance of n1 (dpkg is not clean: pve-manager).`,
    ]);
    expect(await given.operation.lookAfter()).toEqual([]);
    given.store.nodes['n1']!.audit = [];
    expect(await given.operation.lookAfter()).toHaveLength(1);
    expect(given.operation.selfUndo()).toMatchObject({ undone: ['noout of n1', 'maintenance of n1'], leftSet: [] });
  });

  it('tells whoever closes the operation what it took back', async () => {
    const given = await opened();
    await setMarks(given, 'n1');
    later(given, LIMIT);
    await given.operation.lookAfter();
    expect(await given.operation.close(aTask(), 'failed')).toEqual({
      undone: [
        'noout of n1 (by the store itself, at 2026-11-24T12:30:00.000Z)',
        'maintenance of n1 (by the store itself, at 2026-11-24T12:30:00.000Z)',
      ],
      leftSet: [],
    });
    expect(given.operation.selfUndo()).toBeUndefined();
  });

  it('gives itself free when nothing is set, and the operation may not go on when it is back', async () => {
    const given = await opened();
    later(given, LIMIT - 1);
    expect(await given.operation.lookAfter()).toEqual([]);
    later(given, 1);
    expect(await given.operation.lookAfter()).toEqual([
      `The store is free again: ${aTask().operationId} holds nothing and has been silent for too long.`,
    ]);
    expect(given.store.state.operation()).toMatchObject({ open: false, outcome: 'freed' });
    const summary = `The store gave itself free at 2026-11-24T12:30:00.000Z, since ${aTask().operationId} was silent for too long.`;
    const step = await given.operation.step(aTask(), 'drain n1', () => Promise.reject(new Error('it acted')));
    expect(step).toMatchObject({ kind: 'refused', stop: { reason: 'StoreCutOff', summary } });
    expect(await given.operation.open(aTask())).toMatchObject({
      kind: 'refused',
      stop: { reason: 'StoreCutOff', summary },
    });
    expect(await given.operation.close(aTask(), 'failed')).toEqual({ undone: [], leftSet: [] });
  });

  it.each([
    ['for facts that its own hand has changed is one of a store that was cut off', true, 'StoreCutOff'],
    ['for facts that changed by themselves keeps its reason', false, 'FactsChanged'],
  ] as const)('a step refused %s', async (_, isSilent, reason) => {
    const given = await opened();
    await setMarks(given, 'n1');
    if (isSilent) later(given, LIMIT);
    await given.operation.lookAfter();
    const stop = { reason: 'FactsChanged' as const, step: 'upgrade n1', summary: 'n1 is not in maintenance' };
    const refuse = () => given.operation.step(aTask(), 'upgrade n1', async () => ({ kind: 'refused', stop }));
    const answer = { kind: 'refused', stop: { reason, step: 'upgrade n1' } };
    expect(await refuse()).toMatchObject(answer);
    expect(await refuse()).toMatchObject(answer);
  });

  it('counts every word of the operation as a sign of life', async () => {
    const given = await opened();
    for (const say of [
      () => given.operation.open(aTask()),
      () => given.operation.release(aTask()),
      () => given.operation.step(aTask(), 'drain n1', () => Promise.resolve({ kind: 'done' })),
    ]) {
      later(given, LIMIT - 1);
      await say();
      later(given, 1);
      expect(await given.operation.lookAfter()).toEqual([]);
    }
  });

  it('keeps an operation that stands paused and says that it lives, and takes back what it carries on for too long', async () => {
    const given = await opened();
    await setMarks(given, 'n1');
    const told: string[] = [];
    for (let signs = 0; signs < 40; signs += 1) {
      // The worker looks several times between two signs.
      for (let looks = 0; looks < 5; looks += 1) {
        later(given, signEvery(LIMIT) / 5);
        told.push(...(await given.operation.lookAfter()));
      }
      await given.operation.release(aTask());
    }
    expect(told).toEqual([
      `Taken back, since ${aTask().operationId} is silent: noout of n1.`,
      `Taken back, since ${aTask().operationId} is silent: maintenance of n1.`,
    ]);
    expect(given.store.state.operation()).toMatchObject({ open: true, marks: [] });
    expect(await given.operation.step(aTask(), 'drain n1', async () => ({ kind: 'done' }))).toEqual({ kind: 'done' });
  });

  it('does not take words of other operations for signs of life', async () => {
    const given = await opened();
    later(given, LIMIT);
    await given.operation.release(aTask({ operationId: 'probe', fence: 0 }));
    await given.operation.step(NEXT, 'drain n1', () => Promise.reject(new Error('it acted')));
    expect(await given.operation.lookAfter()).toHaveLength(1);
  });

  it('leaves what an operation left that has ended: people decide', async () => {
    const given = await opened();
    await setMarks(given, 'n1');
    given.store.nodes['n1']!.audit = ['pve-manager'];
    await given.operation.close(aTask(), 'failed');
    given.store.nodes['n1']!.audit = [];
    later(given, 10 * LIMIT);
    expect(await given.operation.lookAfter()).toEqual([]);
    expect([...given.store.maintenance]).toEqual(['n1']);
  });

  it('is nothing for a store that was never held', async () => {
    expect(await createOperation(aFakeStore().deps).lookAfter()).toEqual([]);
  });
});

describe('a dump', () => {
  const DUMP = { operationId: 'night-2026-11-26/store-001/r0', fence: 150 };
  const PLAN = { nodes: [{ node: 'n1', vmids: [101] }] };
  const go = () => Promise.resolve({ kind: 'proceed' as const, plan: PLAN });
  const refuse = () =>
    Promise.resolve({ kind: 'refuse' as const, stop: { reason: 'NoQuorum', summary: 'no' } as const });
  const MARKS = ['maintenance of n1', 'noout of n1'];

  /** A patch left n1 out of service, by dying or by its end, and a dump has come since. */
  async function afterPatch(end?: 'failed'): Promise<Given> {
    const given = await opened();
    await setMarks(given, 'n1');
    await given.operation.rememberHomes({ '102': 'n1' });
    if (end) {
      let isIll = true;
      const { timing } = given.store.deps;
      const { rejoin } = timing;
      timing.rejoin = 5;
      given.store.nodes['n1']!.audit = ['pve-manager'];
      given.store.before('unset noout', () => {
        if (isIll) throw new Error('Ceph says no');
      });
      expect((await given.operation.close(aTask(), end)).leftSet).toHaveLength(2);
      isIll = false;
      timing.rejoin = rejoin;
      given.store.nodes['n1']!.audit = [];
    }
    const operation = restarted(given);
    expect(await operation.openDump(DUMP, go)).toEqual({ kind: 'done', ...PLAN, adopted: [] });
    return { store: given.store, operation };
  }

  it('takes a store that was never held, without a release', async () => {
    const store = aFakeStore();
    const operation = createOperation(store.deps);
    expect(await operation.openDump(DUMP, go)).toEqual({ kind: 'done', ...PLAN, adopted: [] });
    expect(store.state.operation()).toMatchObject({ ...DUMP, kind: 'dump', open: true, marks: [] });
    expect(store.state.operation()).not.toHaveProperty('release');
    expect(store.verifications).toBe(0);
    await operation.closeDump(DUMP);
    expect(await operation.open(aTask({ fence: 151 }))).toEqual({ kind: 'done', adopted: [] });
  });

  it('leaves all that was set as it is, while it runs and when it ends', async () => {
    const given = await afterPatch();
    expect(given.operation.ours()).toEqual({ maintenance: ['n1'], noout: ['n1'] });
    await given.operation.closeDump(DUMP);
    await given.operation.closeDump(DUMP);
    expect(restarted(given).ours()).toEqual({ maintenance: ['n1'], noout: ['n1'] });
    expect(given.store.effects).toEqual([]);
    expect([[...given.store.maintenance], [...given.store.noout]]).toEqual([['n1'], ['n1']]);
  });

  it.each([
    ['that died', undefined],
    ['that failed', 'failed'],
  ] as const)('is as if it had not been, for the patch after one %s', async (_, end) => {
    const same = await afterPatch(end);
    await same.operation.closeDump(DUMP);
    expect(await restarted(same).open(NEXT)).toEqual({
      kind: 'done',
      adopted: MARKS.map((mark) => `took over ${mark} from ${aTask().operationId}`),
    });
    expect(restarted(same).homes()).toEqual({ '102': 'n1' });
    expect(same.store.effects).toEqual([]);

    const other = await afterPatch(end);
    expect(await restarted(other).openDump({ ...DUMP, fence: 151 }, go)).toMatchObject({ kind: 'done' });
    expect(await restarted(other).open(OTHER_RELEASE)).toMatchObject({
      kind: 'done',
      adopted: ['undone: noout of n1', 'undone: maintenance of n1'],
    });
    expect([...other.store.maintenance, ...other.store.noout]).toEqual([]);
  });

  it('does not make the patch after it forget a reboot that nobody has proven to be over', async () => {
    const given = await opened(aTask(), { timing: { reboot: 5 } });
    await setMarks(given, 'n1');
    const node = given.store.nodes['n1']!;
    await given.store.state.intent(stepKey(aTask(), 'reboot n1'), {});
    node.rebootLooks = 'never';
    goDown(node);
    await restarted(given).openDump(DUMP, go);
    node.rebootLooks = 8;
    goDown(node);
    given.store.deps.timing.reboot = 60_000;
    await restarted(given).open(NEXT);
    expect(node.up).toBe(true);
  });

  it('waits for an upgrade that still runs before it looks whether it may begin', async () => {
    const given = await opened();
    await setMarks(given, 'n1');
    const node = given.store.nodes['n1']!;
    node.unit = { name: upgradeUnit(aReleaseRef().manifest), state: 'running' };
    node.pending = 3;
    const answer = await restarted(given).openDump(DUMP, () => {
      expect(node.unit?.state).toBe('succeeded');
      return go();
    });
    expect(answer).toMatchObject({ adopted: [expect.stringContaining('adopted the upgrade')] });
  });

  it('that may not begin does not hold the store', async () => {
    const given = await opened();
    await given.operation.close(aTask(), 'succeeded');
    expect(await given.operation.openDump(DUMP, refuse)).toMatchObject({ stop: { reason: 'NoQuorum' } });
    expect(given.store.state.operation()).toMatchObject({ operationId: aTask().operationId, open: false });
  });

  it('has the plan of the first time when it is asked again, after a restart too', async () => {
    const given = await afterPatch();
    expect(await restarted(given).openDump(DUMP, refuse)).toEqual({ kind: 'done', ...PLAN, adopted: [] });
  });

  it('that was killed between the lock and its plan decides anew, and gives the lock back when it may not', async () => {
    const store = aFakeStore();
    const { result } = store.state;
    store.state.result = () => Promise.reject(new Error('killed'));
    await expect(createOperation(store.deps).openDump(DUMP, go)).rejects.toThrow('killed');
    store.state.result = result;
    expect(store.state.operation()).toMatchObject({ ...DUMP, open: true });
    expect(await createOperation(store.deps).openDump(DUMP, refuse)).toMatchObject({ kind: 'refused' });
    expect(store.state.operation()).toMatchObject({ ...DUMP, open: false });
  });

  it.each([
    ['is older than the holder', { ...DUMP, fence: 99 }],
    ['has the fence of the holder', { ...DUMP, fence: 100 }],
  ])('is refused when it %s', async (_, dump) => {
    const given = await opened();
    expect(await given.operation.openDump(dump, go)).toMatchObject({ stop: { reason: 'StaleOperation' } });
    expect(given.store.state.operation()).toMatchObject({ kind: 'patch', open: true });
  });

  it('keeps out the patch before it, and steps of its own when it is over', async () => {
    const { operation } = await afterPatch();
    const acts = () => Promise.reject(new Error('it acted'));
    expect(await operation.step(aTask(), 'drain n2', acts)).toMatchObject({ stop: { reason: 'StaleOperation' } });
    expect(await operation.open(aTask())).toMatchObject({ stop: { reason: 'StaleOperation' } });
    expect(await operation.close(aTask(), 'failed')).toEqual({ undone: [], leftSet: [] });
    await operation.closeDump(DUMP);
    expect(await operation.step(DUMP, 'dump n1', acts)).toMatchObject({ stop: { reason: 'StaleOperation' } });
    expect(await operation.openDump(DUMP, go)).toMatchObject({ stop: { reason: 'StaleOperation' } });
  });

  it('is not closed by another one', async () => {
    const { store, operation } = await afterPatch();
    await operation.closeDump({ ...DUMP, fence: 149 });
    expect(store.state.operation()).toMatchObject({ ...DUMP, open: true });
  });

  it('that is silent loses its lock, and leaves what a patch that ended has left', async () => {
    const given = await afterPatch('failed');
    later(given, LIMIT - 1);
    expect(await given.operation.lookAfter()).toEqual([]);
    later(given, 1);
    expect(await given.operation.lookAfter()).toEqual([
      `The store is free again: ${DUMP.operationId} has been silent for too long.`,
    ]);
    later(given, 10 * LIMIT);
    expect(await given.operation.lookAfter()).toEqual([]);
    expect(given.operation.ours()).toEqual({ maintenance: ['n1'], noout: ['n1'] });
    expect(given.store.state.operation()).toMatchObject({ outcome: 'freed' });
  });

  it('does not keep what a dead patch has set from being taken back when it is too old', async () => {
    const given = await afterPatch();
    later(given, LIMIT - 1);
    await given.operation.step(DUMP, 'dump n1', () => Promise.resolve({ kind: 'done' }));
    await given.operation.closeDump(DUMP);
    later(given, LIMIT);
    expect(await given.operation.lookAfter()).toEqual([
      `Taken back, since ${aTask().operationId} is silent: noout of n1.`,
      `Taken back, since ${aTask().operationId} is silent: maintenance of n1.`,
    ]);
    expect(await given.operation.inspect()).toEqual({ foreign: [] });
  });

  it('is not disturbed while it works, however old the marks are', async () => {
    const given = await afterPatch();
    const { promise, resolve } = deferred<{ kind: 'done' }>();
    const step = given.operation.step(DUMP, 'dump n1', () => promise);
    later(given, 3 * LIMIT);
    expect(await given.operation.lookAfter()).toEqual([]);
    resolve({ kind: 'done' });
    await step;
    expect(await given.operation.lookAfter()).toEqual([]);
  });

  it('is named for its lock, and the patch before it for its marks', async () => {
    const { operation } = await afterPatch('failed');
    const { operationId, fence } = aTask();
    expect(await operation.inspect()).toEqual({ leftBy: { ...DUMP, locked: true, marks: MARKS }, foreign: [] });
    await operation.closeDump(DUMP);
    expect(await operation.inspect()).toEqual({
      leftBy: { operationId, fence, locked: false, marks: MARKS },
      foreign: [],
    });
  });

  it('is swept with what it carries on, and answers alike when it is asked again', async () => {
    const given = await afterPatch();
    const sweep = { protocol: 1, store: 'store-001', fleet: 'edge', over: DUMP };
    const swept = { kind: 'swept', undone: ['noout of n1', 'maintenance of n1'], left: [] };
    expect(await given.operation.sweep(sweep)).toEqual(swept);
    expect(await restarted(given).sweep(sweep)).toEqual(swept);
    expect(given.store.state.operation()).toMatchObject({ ...DUMP, open: false, marks: [] });
    expect(given.store.count('maintenance disable n1')).toBe(1);
  });

  it('loses its lock to a sweep even when a node cannot be taken back', async () => {
    const given = await afterPatch();
    given.store.nodes['n1']!.audit = ['pve-manager'];
    await given.operation.sweep({ protocol: 1, store: 'store-001', fleet: 'edge', over: DUMP });
    expect(given.store.state.operation()).toMatchObject({ open: false, outcome: 'swept' });
    expect(given.operation.ours()).toEqual({ maintenance: ['n1'], noout: [] });
  });

  it('is not swept for the patch before it while it holds the store', async () => {
    const given = await afterPatch();
    const { operationId, fence } = aTask();
    const sweep = { protocol: 1, store: 'store-001', fleet: 'edge', over: { operationId, fence } };
    expect(await given.operation.sweep(sweep)).toEqual({ kind: 'taken', by: DUMP.operationId });
    expect(given.store.effects).toEqual([]);
  });
});

describe('inspect and sweep', () => {
  const sweepOf = ({ operationId, fence }: StoreTask = aTask()): SweepTask => ({
    protocol: 1,
    store: 'store-001',
    fleet: 'edge',
    over: { operationId, fence },
  });
  const leftBy = (change: object = {}) => ({
    operationId: aTask().operationId,
    fence: aTask().fence,
    locked: true,
    marks: ['maintenance of n1', 'noout of n1'],
    ...change,
  });

  it('name what a dead operation left, then take it back with its lock', async () => {
    const given = await opened();
    await setMarks(given, 'n1');
    const operation = restarted(given);
    expect(await operation.inspect()).toEqual({ leftBy: leftBy(), foreign: [] });
    expect(given.store.effects).toEqual([]);
    expect(await operation.sweep(sweepOf())).toEqual({
      kind: 'swept',
      undone: ['noout of n1', 'maintenance of n1'],
      left: [],
    });
    expect([...given.store.maintenance, ...given.store.noout]).toEqual([]);
    expect(given.store.state.operation()).toMatchObject({ open: false, marks: [] });
    expect(await operation.inspect()).toEqual({ foreign: [] });
  });

  it('refuse the operation that was swept, should it speak again', async () => {
    const given = await opened();
    await given.operation.sweep(sweepOf());
    const late = await given.operation.step(aTask(), 'drain n2', () => Promise.reject(new Error('ran')));
    expect(late).toMatchObject({ kind: 'refused', stop: { reason: 'StaleOperation' } });
    expect(await given.operation.open(NEXT)).toMatchObject({ kind: 'done' });
  });

  it.each([
    ['of another name', NEXT],
    ['of the same name, begun anew', aTask({ fence: 101 })],
  ])('touch nothing when an operation %s has opened since the look', async (_, next) => {
    const given = await opened();
    const { leftBy: seen } = await given.operation.inspect();
    await given.operation.open(next);
    await setMarks(given, 'n1');
    expect(await given.operation.sweep(sweepOf(aTask({ fence: seen?.fence ?? 0 })))).toEqual({
      kind: 'taken',
      by: next.operationId,
    });
    expect(given.store.effects).toEqual([]);
    expect(given.store.state.operation()).toMatchObject({ open: true, fence: next.fence });
    expect(given.store.state.operation()?.marks).toHaveLength(2);
  });

  it('touch nothing when an operation opens while the sweep waits for a step of the dead one', async () => {
    const given = await opened();
    const { promise, resolve } = deferred<{ kind: 'done' }>();
    const step = given.operation.step(aTask(), 'drain n1', () => promise);
    const opening = given.operation.open(NEXT);
    const sweeping = given.operation.sweep(sweepOf());
    resolve({ kind: 'done' });
    await Promise.all([step, opening]);
    expect(await sweeping).toEqual({ kind: 'taken', by: NEXT.operationId });
    expect(given.store.state.operation()).toMatchObject({ open: true, fence: NEXT.fence });
  });

  it('wait for a step that still runs, and take back what it has set', async () => {
    const given = await opened();
    const { promise, resolve } = deferred<{ kind: 'done' }>();
    const step = given.operation.step(aTask(), 'drain n1', async () => {
      const answer = await promise;
      await setMarks(given, 'n1');
      return answer;
    });
    const sweeping = given.operation.sweep(sweepOf());
    resolve({ kind: 'done' });
    await step;
    expect(await sweeping).toMatchObject({ kind: 'swept', undone: ['noout of n1', 'maintenance of n1'] });
    expect([...given.store.maintenance, ...given.store.noout]).toEqual([]);
  });

  it('answer alike when they are asked again, because the first answer may have been lost', async () => {
    const given = await opened();
    await setMarks(given, 'n1');
    const first = await given.operation.sweep(sweepOf());
    expect(await restarted(given).sweep(sweepOf())).toEqual(first);
    expect(given.store.count('maintenance disable n1')).toBe(1);
  });

  it('try again what an ended operation could not take back, and hold the lock of a dead one as long', async () => {
    const given = await opened();
    await setMarks(given, 'n1');
    given.store.nodes['n1']!.audit = ['pve-manager'];
    expect(await given.operation.sweep(sweepOf())).toEqual({
      kind: 'swept',
      undone: ['noout of n1'],
      left: ['maintenance of n1 (dpkg is not clean: pve-manager)'],
    });
    expect(await given.operation.inspect()).toEqual({ leftBy: leftBy({ marks: ['maintenance of n1'] }), foreign: [] });
    await given.operation.close(aTask(), 'failed');
    expect(await given.operation.inspect()).toEqual({
      leftBy: leftBy({ locked: false, marks: ['maintenance of n1'] }),
      foreign: [],
    });
    given.store.nodes['n1']!.audit = [];
    expect(await given.operation.sweep(sweepOf())).toMatchObject({ left: [] });
    expect(await given.operation.inspect()).toEqual({ foreign: [] });
    expect(given.store.state.operation()?.outcome).toBe('failed');
  });

  it('name what is foreign and never touch it', async () => {
    const given = await opened();
    await setMarks(given, 'n1');
    given.store.maintenance.add('n2');
    given.store.noout.add('n3');
    const foreign = ['noout of n3', 'maintenance of n2'];
    expect(await given.operation.inspect()).toEqual({ leftBy: leftBy(), foreign });
    await given.operation.sweep(sweepOf());
    expect(await given.operation.inspect()).toEqual({ foreign });
    expect([...given.store.maintenance, ...given.store.noout]).toEqual(['n2', 'n3']);
  });

  it('touch nothing with a memory that knows of nothing', async () => {
    const store = aFakeStore();
    store.maintenance.add('n2');
    const operation = createOperation(store.deps);
    expect(await operation.inspect()).toEqual({ foreign: ['maintenance of n2'] });
    expect(await operation.sweep(sweepOf())).toEqual({ kind: 'taken', by: 'nobody' });
    expect(store.effects).toEqual([]);
  });
});
