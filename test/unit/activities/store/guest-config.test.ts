import { createHash } from 'node:crypto';
import { describe, expect, it } from 'vitest';
import { applyConfig } from '#activities/store/guest-config.js';
import type { StoreArtifact } from '#domain/release.js';
import { CommandError } from '#systems/ssh/errors.js';
import { aManifest, anArtifact, aStoreFile } from '../../../support/builders.js';
import { aFakeStore, aGuest, type FakeGuest, type FakeStore } from '../../../support/fake-store.js';

const TARGET = '/etc/app/app.conf';
const fileOf = (content: string): string =>
  `/etc/edge-governor/releases/${createHash('sha256').update(content).digest('hex')}/app.conf`;

interface Given {
  store: FakeStore;
  guest: FakeGuest;
}

/** A store with one guest that has one file; its last good one says `good`. */
function given(kind: 'qemu' | 'lxc' = 'lxc', before: 'link' | 'file' | 'nothing' = 'link'): Given {
  const store = aFakeStore({ timing: { rejoin: 20 } });
  const guest = aGuest(103, 'n2', { kind, name: 'app' });
  store.guests = [guest];
  if (before === 'link') {
    guest.files.set(fileOf('good'), { content: 'good' });
    guest.files.set(TARGET, { link: fileOf('good') });
  }
  if (before === 'file') guest.files.set(TARGET, { content: 'good' });
  if (before !== 'nothing') guest.loaded.set(TARGET, 'good');
  store.ill = ({ loaded }) => loaded.get(TARGET)?.includes('makes ill') === true;
  return { store, guest };
}

function artifact(content: string | undefined, config: Record<string, unknown> = {}): StoreArtifact {
  const entry = { file: 'app.conf', target: TARGET, check: ['check', '{file}'], reload: ['reload', TARGET], ...config };
  const file = aStoreFile({ guests: [{ vmid: 103, name: 'app', kind: 'lxc', config: [entry] }] });
  return anArtifact(file, content === undefined ? {} : { 'app.conf': content });
}

const apply = ({ store }: Given, content: string | undefined, config?: Record<string, unknown>) =>
  applyConfig(store.deps, { manifest: aManifest(), artifact: artifact(content, config) });

const active = ({ guest }: Given): string | undefined => {
  const entry = guest.files.get(TARGET);
  return entry && 'link' in entry ? entry.link : undefined;
};

describe.each(['lxc', 'qemu'] as const)('the configuration of a guest that is a %s', (kind) => {
  it('is written under its digest, checked, switched to and loaded', async () => {
    const it_ = given(kind);
    expect(await apply(it_, 'new')).toEqual({ kind: 'done', changed: ['app:app.conf'] });
    expect(it_.guest.files.get(fileOf('new'))).toEqual({ content: 'new' });
    expect(active(it_)).toBe(fileOf('new'));
    expect(it_.guest.loaded.get(TARGET)).toBe('new');
    expect(it_.store.effects).toEqual(['write app', `switch app ${fileOf('new')}`, 'reload app']);
  });

  it('is left alone when it was proven to be loaded', async () => {
    const it_ = given(kind);
    await apply(it_, 'new');
    it_.store.effects.length = 0;
    expect(await apply(it_, 'new')).toEqual({ kind: 'done', changed: [] });
    expect(it_.store.effects).toEqual([]);
  });

  it('is loaded once more when the link names it and nobody proved it, and then no more', async () => {
    const it_ = given(kind);
    expect(await apply(it_, 'good')).toEqual({ kind: 'done', changed: ['app:app.conf'] });
    expect(it_.store.effects).toEqual(['write app', 'reload app']);
    expect(await apply(it_, 'good')).toEqual({ kind: 'done', changed: [] });
  });

  it('is not switched to when the guest does not take it', async () => {
    const it_ = given(kind);
    expect(await apply(it_, 'bad syntax')).toEqual({
      kind: 'failed',
      stop: {
        reason: 'ConfigRejected',
        step: 'apply config',
        summary: 'app does not take app.conf: its check failed: line 1: bad syntax',
      },
    });
    expect(active(it_)).toBe(fileOf('good'));
    expect(it_.store.effects).toEqual(['write app']);
  });

  it.each([
    ['does not load it', 'will not load', 'its reload failed'],
    ['falls ill with it', 'makes ill', 'the guest is not healthy with it'],
  ])('gives way to the last good one when the guest %s', async (_, content, why) => {
    const it_ = given(kind);
    expect(await apply(it_, content)).toMatchObject({
      kind: 'failed',
      stop: { reason: 'ConfigRejected', summary: expect.stringContaining(why) },
    });
    expect(active(it_)).toBe(fileOf('good'));
    expect(it_.guest.loaded.get(TARGET)).toBe('good');
    expect((await it_.store.deps.probe(artifact('x').store.guests[0]!)).healthy).toBe(true);
  });

  it('is found where the guest is at this moment', async () => {
    const it_ = given(kind);
    it_.guest.node = 'n3';
    expect(await apply(it_, 'new')).toMatchObject({ kind: 'done' });
  });
});

describe('a way back', () => {
  it('is kept when the image brought a plain file and no link', async () => {
    const it_ = given('lxc', 'file');
    expect(await apply(it_, 'makes ill')).toMatchObject({ kind: 'failed' });
    expect(active(it_)).toBe(fileOf('good'));
    expect(it_.guest.files.get(fileOf('good'))).toEqual({ content: 'good' });
    expect(it_.guest.loaded.get(TARGET)).toBe('good');
  });

  it('is to what a guest that was made anew brought, not to what is remembered of the one before', async () => {
    const it_ = given();
    await apply(it_, 'new');
    it_.guest.files.clear();
    it_.guest.files.set(TARGET, { content: 'of the image' });
    expect(await apply(it_, 'makes ill')).toMatchObject({ kind: 'failed' });
    expect(active(it_)).toBe(fileOf('of the image'));
    expect(it_.guest.files.get(fileOf('of the image'))).toEqual({ content: 'of the image' });
    expect(it_.guest.loaded.get(TARGET)).toBe('of the image');
  });

  it('is to nothing when nothing was there, so that a file that makes ill is never held for applied', async () => {
    const it_ = given('lxc', 'nothing');
    expect(await apply(it_, 'makes ill')).toMatchObject({ kind: 'failed' });
    expect(it_.guest.files.has(TARGET)).toBe(false);
    expect(await apply(it_, 'makes ill')).toMatchObject({ kind: 'failed' });
  });

  it('that cannot be taken is said', async () => {
    const it_ = given();
    it_.guest.files.set(fileOf('good'), { content: 'will not load either' });
    const answer = await apply(it_, 'makes ill');
    expect(answer).toMatchObject({ stop: { summary: expect.stringContaining('the last good file is NOT back') } });
  });
});

describe('an attempt that was cut off', () => {
  it('between the switch and the reload is gone through again: the guest loads the file', async () => {
    const it_ = given();
    it_.store.loseAnswer('switch app');
    await expect(apply(it_, 'new')).rejects.toMatchObject({ kind: 'OutcomeUnknown' });
    expect(it_.guest.loaded.get(TARGET)).toBe('good');
    expect(await apply(it_, 'new')).toEqual({ kind: 'done', changed: ['app:app.conf'] });
    expect(it_.guest.loaded.get(TARGET)).toBe('new');
    expect(it_.store.count('switch app')).toBe(1);
  });

  it('still knows the last good file when the guest falls ill the second time', async () => {
    const it_ = given();
    it_.store.loseAnswer('reload app');
    await expect(apply(it_, 'makes ill')).rejects.toMatchObject({ kind: 'OutcomeUnknown' });
    expect(await apply(it_, 'makes ill')).toMatchObject({ kind: 'failed', stop: { reason: 'ConfigRejected' } });
    expect(active(it_)).toBe(fileOf('good'));
    expect(it_.guest.loaded.get(TARGET)).toBe('good');
  });
});

/** A store whose guest was proven to be well with `good`, and then left by an operation that ended in the middle of its next file. */
async function leftBetweenSwitchAndReload(content: string): Promise<Given> {
  const it_ = given();
  await apply(it_, 'good');
  it_.store.loseAnswer('switch app');
  await expect(apply(it_, content)).rejects.toMatchObject({ kind: 'OutcomeUnknown' });
  expect([active(it_), it_.guest.loaded.get(TARGET)]).toEqual([fileOf(content), 'good']);
  await nextOperation(it_);
  return it_;
}

/** A guest that hung with its new file, so that the last good one could not be linked; now it answers again. */
async function leftWithARefusedFile(): Promise<Given> {
  const it_ = given();
  await apply(it_, 'good');
  it_.store.after('reload app', () => void (it_.guest.status = 'stopped'));
  const answer = await apply(it_, 'makes ill');
  expect(answer).toMatchObject({ stop: { summary: expect.stringContaining('the last good file is NOT back') } });
  it_.guest.status = 'running';
  expect([active(it_), it_.guest.loaded.get(TARGET)]).toEqual([fileOf('makes ill'), 'makes ill']);
  await nextOperation(it_);
  return it_;
}

/** The guest has its last good file linked, and did not load it. */
async function leftLinkedAndNotLoaded(): Promise<Given> {
  const it_ = given();
  await apply(it_, 'good');
  let reloads = 0;
  it_.store.before('reload app', () => {
    reloads += 1;
    if (reloads === 2) throw new CommandError('Unreachable', 'n2 cannot be reached');
  });
  await expect(apply(it_, 'makes ill')).rejects.toMatchObject({ kind: 'Unreachable' });
  expect([active(it_), it_.guest.loaded.get(TARGET)]).toEqual([fileOf('good'), 'makes ill']);
  await nextOperation(it_);
  return it_;
}

/** Steps of operations before are forgotten then. */
const nextOperation = ({ store }: Given): Promise<void> =>
  store.state.save({
    ...{ operationId: 'next', fence: 1_000, kind: 'patch', open: true, startedAt: '2026-11-24T10:00:00.000Z' },
    ...{ marks: [], homes: {} },
  });

describe('the next operation, when the one before ended', () => {
  it('between switch and reload: the guest loads the file', async () => {
    const it_ = await leftBetweenSwitchAndReload('new');
    expect(await apply(it_, 'new')).toEqual({ kind: 'done', changed: ['app:app.conf'] });
    expect(it_.guest.loaded.get(TARGET)).toBe('new');
    expect(it_.store.count('switch app')).toBe(1);
  });

  it.each([
    ['does not load', 'will not load', 'its reload failed: Job for service failed.'],
    ['falls ill with', 'makes ill', 'the guest is not healthy with it'],
  ])('between switch and reload of a file that the guest %s: it is refused now', async (_, content, why) => {
    const it_ = await leftBetweenSwitchAndReload(content);
    const answer = await apply(it_, content);
    expect(answer).toMatchObject({ stop: { reason: 'ConfigRejected', summary: expect.stringMatching(`${why}$`) } });
    expect([active(it_), it_.guest.loaded.get(TARGET)]).toEqual([fileOf('good'), 'good']);
  });

  it('with a file that was refused and is still linked: it is refused again, and the last good one is back', async () => {
    const it_ = await leftWithARefusedFile();
    const answer = await apply(it_, 'makes ill');
    expect(answer).toMatchObject({ stop: { reason: 'ConfigRejected', summary: expect.stringMatching('with it$') } });
    expect([active(it_), it_.guest.loaded.get(TARGET)]).toEqual([fileOf('good'), 'good']);
  });

  it('with a refused file that its own check finds by now: the last good one is back', async () => {
    const it_ = await leftWithARefusedFile();
    const answer = await apply(it_, 'makes ill', { check: ['no-such-program'] });
    expect(answer).toMatchObject({ stop: { summary: expect.stringMatching('its check failed: .*not found$') } });
    expect([active(it_), it_.guest.loaded.get(TARGET)]).toEqual([fileOf('good'), 'good']);
  });

  it('before its reload could be done at all, for all of its tries', async () => {
    const it_ = await leftBetweenSwitchAndReload('new');
    const cut = { is: true };
    it_.store.before('reload app', () => {
      if (cut.is) throw new CommandError('Unreachable', 'n2 cannot be reached');
    });
    for (let tries = 0; tries < 3; tries += 1)
      await expect(apply(it_, 'new')).rejects.toMatchObject({ kind: 'Unreachable' });
    await nextOperation(it_);
    cut.is = false;
    expect(await apply(it_, 'new')).toEqual({ kind: 'done', changed: ['app:app.conf'] });
    expect(it_.guest.loaded.get(TARGET)).toBe('new');
  });
});

describe('a store that goes back', () => {
  it.each([
    ['from a file that was switched to and not loaded', () => leftBetweenSwitchAndReload('new')],
    ['from a file that was refused and is still linked', leftWithARefusedFile],
    ['to a file that is linked again and was not loaded', leftLinkedAndNotLoaded],
  ])('%s, has its guest load the last good one', async (_, left) => {
    const it_ = await left();
    expect(await apply(it_, 'good')).toEqual({ kind: 'done', changed: ['app:app.conf'] });
    expect([active(it_), it_.guest.loaded.get(TARGET)]).toEqual([fileOf('good'), 'good']);
    it_.store.effects.length = 0;
    expect(await apply(it_, 'good')).toEqual({ kind: 'done', changed: [] });
    expect(it_.store.effects).toEqual([]);
  });
});

describe('the last good file', () => {
  it('is what people linked since, when what was proven is linked no more', async () => {
    const it_ = given();
    await apply(it_, 'new');
    it_.guest.files.set(TARGET, { link: fileOf('good') });
    expect(await apply(it_, 'makes ill')).toMatchObject({ kind: 'failed' });
    expect(active(it_)).toBe(fileOf('good'));
  });

  it('that makes ill by now is said, and stays: there is no other', async () => {
    const it_ = given();
    await apply(it_, 'good');
    it_.store.loseAnswer('switch app');
    await expect(apply(it_, 'new')).rejects.toMatchObject({ kind: 'OutcomeUnknown' });
    it_.store.ill = () => true;
    expect(await apply(it_, 'good')).toMatchObject({
      stop: {
        summary: expect.stringMatching('not healthy with it; the last good file is NOT back: no other is known$'),
      },
    });
    expect([active(it_), it_.guest.loaded.get(TARGET)]).toEqual([fileOf('good'), 'good']);
  });
});

describe('what cannot be applied', () => {
  it('is a file that the release does not carry: it is not written empty', async () => {
    const it_ = given();
    expect(await apply(it_, undefined)).toMatchObject({ kind: 'failed', stop: { reason: 'ConfigRejected' } });
    expect(it_.store.effects).toEqual([]);
  });

  it('is a file of a guest that is not in the cluster', async () => {
    const it_ = given();
    it_.store.guests = [];
    await expect(apply(it_, 'new')).rejects.toThrow('Guest 103 (app) is not in the cluster.');
  });

  it('is a file of a guest that is stopped: nobody can say whether it is well', async () => {
    const it_ = given();
    it_.guest.status = 'stopped';
    await expect(apply(it_, 'new')).rejects.toThrow(/app: writing app\.conf failed/);
  });
});

it('a file without a check is switched to without one', async () => {
  const it_ = given();
  expect(await apply(it_, 'bad syntax', { check: [] })).toMatchObject({ kind: 'done' });
});

it('words are handed over as they are: nothing is a shell', async () => {
  const it_ = given();
  const answer = await apply(it_, 'new', { reload: ['reload; reboot', TARGET] });
  expect(answer).toMatchObject({ stop: { summary: expect.stringContaining('reload; reboot: command not found') } });
});
