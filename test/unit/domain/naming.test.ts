import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  COMMIT,
  CONTROL_QUEUE,
  launchWorkflowId,
  NODE_NAME,
  operationId,
  operationNamed,
  promotionTag,
  promotionTags,
  rollbackTag,
  RELEASE_QUEUE,
  SEARCH_ATTRIBUTES,
  SHA256,
  shortDigest,
  STAGE_NAME,
  STORE_ID,
  storeQueue,
  storeWorkflowId,
  TRAIN_ID,
  trainScheduleId,
  trainWorkflowId,
  UPGRADE_UNIT_PREFIX,
  upgradeUnit,
  waveWorkflowId,
} from '#domain/naming.js';

const HOSTILE = [
  '',
  '-',
  '-rf',
  '--help',
  '.',
  '..',
  '../store-001',
  'store/001',
  'store\\001',
  '/etc/passwd',
  'Store-001',
  'store 001',
  ' store-001',
  'store-001\n',
  'store-001\0',
  'store;reboot',
  '$(reboot)',
  '`reboot`',
  'a|b',
  'a&b',
  "a'b",
  'a"b',
  'a*',
  'ä',
  'store_001',
  'store.001',
  'a@{1}',
  'a:b',
  'a'.repeat(10_000_000),
];

describe.each([
  ['a store id', STORE_ID, ['s', '0', 'store-001', 'a'.repeat(63)], 'a'.repeat(64)],
  ['a node name', NODE_NAME, ['n1', 'pve-a', 'a'.repeat(63)], 'a'.repeat(64)],
  ['a train id', TRAIN_ID, ['2026-w48', 'hotfix-1'], 'a'.repeat(64)],
  ['a stage name', STAGE_NAME, ['canary', 'wave-1', 'a'.repeat(31)], 'a'.repeat(32)],
])('%s', (_, pattern, good, tooLong) => {
  it.each(good)('may be %s', (name) => expect(name).toMatch(pattern));
  it('has a longest form', () => expect(pattern.test(tooLong)).toBe(false));
  it.each(HOSTILE.map((name) => [JSON.stringify(name.slice(0, 20)), name]))('may not be %s', (_shown, name) => {
    expect(pattern.test(name)).toBe(false);
  });
});

it('a node name does not end in a dash: it is a DNS label', () => expect(NODE_NAME.test('n1-')).toBe(false));

describe('digests and commits', () => {
  const hex = 'a0'.repeat(32);
  it.each([
    [SHA256, `sha256:${hex}`, true],
    [SHA256, hex, false],
    [SHA256, `sha256:${hex}0`, false],
    [SHA256, `sha256:${hex.toUpperCase()}`, false],
    [SHA256, `sha256:${hex}\n`, false],
    [COMMIT, 'd'.repeat(40), true],
    [COMMIT, 'd'.repeat(39), false],
    [COMMIT, 'main', false],
    [COMMIT, `${'d'.repeat(38)}..`, false],
  ])('%s tests %j as %s', (pattern, text, good) => expect(pattern.test(text)).toBe(good));

  it('shortens a digest for people', () => {
    expect(shortDigest(`sha256:${hex}`)).toBe('a0a0a0a0a0a0');
    expect(shortDigest(hex)).toBe('a0a0a0a0a0a0');
  });
});

describe('names built of names', () => {
  const word = fc.stringMatching(/^[a-z0-9][a-z0-9-]{0,20}$/);

  it('are these', () => {
    expect(storeQueue('store-001')).toBe('store:store-001');
    expect(storeWorkflowId('store-001')).toBe('store/store-001');
    expect(trainWorkflowId('edge')).toBe('train/edge');
    expect(launchWorkflowId('edge')).toBe('launch/edge');
    expect(trainScheduleId('edge')).toBe('edge-governor/train/edge');
    expect(operationId('2026-w48', 'canary', 'store-001', 2)).toBe('2026-w48/canary/store-001/r2');
    expect(waveWorkflowId('2026-w48', 'canary', 0, 0)).toBe('2026-w48/canary/r0');
    expect(waveWorkflowId('2026-w48', 'rest', 1, 2)).toBe('2026-w48/rest/r1/2');
    expect(promotionTag('2026-w48', 'canary')).toBe('edge/2026-w48/canary');
    expect(promotionTags('2026-w48')).toBe('edge/2026-w48');
    expect(rollbackTag('2026-w48')).toBe('edge/2026-w48/rollback');
  });

  it('never put a store on a queue of the centre', () => {
    fc.assert(fc.property(word, (store) => [CONTROL_QUEUE, RELEASE_QUEUE].includes(storeQueue(store)) === false));
  });

  it('give two operations two ids', () => {
    const operation = fc.tuple(word, word, word, fc.nat(99));
    fc.assert(
      fc.property(operation, operation, (a, b) => {
        fc.pre(JSON.stringify(a) !== JSON.stringify(b));
        expect(operationId(...a)).not.toBe(operationId(...b));
      }),
    );
  });

  it('name the upgrade unit by the release, so that it is found again by whoever comes next', () => {
    const unit = upgradeUnit(`sha256:${'a0'.repeat(32)}`);
    expect(unit).toBe('edge-governor-upgrade-a0a0a0a0a0a0');
    expect(unit.startsWith(UPGRADE_UNIT_PREFIX)).toBe(true);
  });

  it('use each search attribute once', () => {
    const names = Object.values(SEARCH_ATTRIBUTES);
    expect(new Set(names).size).toBe(names.length);
  });
});

describe('the name of an operation', () => {
  it('leads back to it, and another name to none', () => {
    expect(operationNamed(operationId('2026-w48', 'rollback', 'store-001', 12))).toEqual({
      stage: 'rollback',
      store: 'store-001',
      round: 12,
    });
    for (const name of ['', 'store-001', '2026-w48/canary/store-001', '2026-w48/canary/store-001/r'])
      expect(operationNamed(name)).toBeUndefined();
  });
});
