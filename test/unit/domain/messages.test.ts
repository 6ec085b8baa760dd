import { describe, expect, it } from 'vitest';
import { z } from 'zod';
import { parse, pathOf } from '#domain/messages/parse.js';
import {
  helloTaskSchema,
  nodeTaskSchema,
  patchStoreInputSchema,
  probeTaskSchema,
  PROTOCOL,
  PROTOCOL_RANGE,
  storeTaskSchema,
} from '#domain/messages/store.js';
import {
  commandSchema,
  decisionSchema,
  launchInputSchema,
  trainInputSchema,
  waveInputSchema,
} from '#domain/messages/train.js';
import { HOSTILE, shown } from '../../support/hostile.js';
import { aWave } from '../../support/workflow-builders.js';
import { aNodeTask, aReleaseRef, aTask } from '../../support/builders.js';

const problemsOf = (schema: z.ZodType, raw: unknown): string[] => {
  const parsed = parse(schema, raw);
  return parsed.ok ? [] : parsed.problems;
};

describe('parse', () => {
  const schema = z
    .object({
      name: z.string().max(5),
      stages: z.array(z.object({ window: z.object({ start: z.string().regex(/^\d\d:\d\d$/, 'is not a time') }) })),
      kind: z.enum(['a', 'b']).default('a'),
    })
    .strict();

  it('gives what the schema makes of it', () => {
    expect(parse(schema, { name: 'x', stages: [] })).toEqual({ ok: true, value: { name: 'x', stages: [], kind: 'a' } });
  });

  it('names every problem by its path', () => {
    const raw = {
      name: 'too long',
      stages: [{ window: { start: '10:00' } }, { window: { start: 'ten' } }],
      kind: 'c',
      more: 1,
    };
    expect(problemsOf(schema, raw)).toEqual([
      expect.stringMatching(/^name: /),
      'stages[1].window.start: is not a time',
      expect.stringMatching(/^kind: /),
      expect.stringMatching(/more/),
    ]);
  });

  it.each([undefined, null, 42, 'text', [], () => 1])('refuses %s where an object is asked for', (raw) => {
    expect(problemsOf(schema, raw)).toHaveLength(1);
  });

  it('does not turn one type into another', () => {
    expect(problemsOf(z.object({ count: z.number() }), { count: '3' })).toEqual([expect.stringMatching(/^count: /)]);
  });

  it('shows fifty problems and counts the rest', () => {
    const problems = problemsOf(
      z.array(z.number()),
      Array.from({ length: 80 }, () => 'x'),
    );
    expect(problems).toHaveLength(51);
    expect(problems[50]).toBe('and 30 more');
  });

  it('never repeats what was given, be it a secret or ten megabytes', () => {
    const secret = 'hunter2-s3cret';
    const told = problemsOf(schema, { name: `${secret} and more`, stages: secret, kind: secret }).join();
    expect(told).not.toContain(secret);
    const huge = 'k'.repeat(10_000_000);
    expect(problemsOf(schema, { name: huge, stages: [], [huge]: 1 }).join().length).toBeLessThan(2_000);
  });

  it('does not fall for a key that every object has', () => {
    const raw: unknown = JSON.parse('{"name":"x","stages":[],"__proto__":{"admin":true}}');
    const parsed = parse(schema, raw);
    expect(parsed.ok ? (parsed.value as { admin?: boolean }).admin : undefined).toBeUndefined();
    expect(({} as { admin?: boolean }).admin).toBeUndefined();
  });
});

describe('pathOf', () => {
  it.each([
    [[], ''],
    [['stages'], 'stages'],
    [['stages', 1, 'window'], 'stages[1].window'],
    [[0, 'name'], '[0].name'],
    [['files', 'a.b'], 'files.a.b'],
  ])('writes %j as %j', (path, text) => expect(pathOf(path)).toBe(text));

  it('cuts a long key', () => expect(pathOf(['k'.repeat(10_000)])).toHaveLength(80));
});

describe('what a store worker takes for a task', () => {
  it('speaks the protocol that it says it speaks', () => {
    expect(PROTOCOL).toBeGreaterThanOrEqual(PROTOCOL_RANGE.min);
    expect(PROTOCOL).toBeLessThanOrEqual(PROTOCOL_RANGE.max);
  });

  it.each([
    ['a task', storeTaskSchema, aTask({ notAfter: '2026-11-24T15:00:00Z' })],
    ['a task about a node', nodeTaskSchema, aNodeTask('n2')],
    ['hello', helloTaskSchema, { protocol: 1, store: 'store-001' }],
    ['hello of a protocol to come', helloTaskSchema, { protocol: 7, store: 'store-001' }],
    ['a probe', probeTaskSchema, { protocol: 1, store: 'store-001', fleet: 'edge' }],
  ])('accepts %s', (_, schema, raw) => expect(problemsOf(schema, raw)).toEqual([]));

  const bad: Record<string, [schema: z.ZodType, raw: object, problem: RegExp]> = {
    'another store path': [storeTaskSchema, aTask({ store: '../store-002' }), /^store: /],
    'a node name with a shell in it': [nodeTaskSchema, aNodeTask('n1;reboot'), /^node: /],
    'a node name with a slash': [nodeTaskSchema, aNodeTask('n1/../n2'), /^node: /],
    'a node that is missing': [nodeTaskSchema, aTask(), /^node: /],
    'a negative fence': [storeTaskSchema, aTask({ fence: -1 }), /^fence: /],
    'a fence with a fraction': [storeTaskSchema, aTask({ fence: 1.5 }), /^fence: /],
    'a fence that is no number': [storeTaskSchema, aTask({ fence: Number.NaN }), /^fence: /],
    'an operation whose name is no name': [
      storeTaskSchema,
      aTask({ operationId: '2026-w48/canary/store-001/r0|drain' }),
      /^operationId: /,
    ],
    'an operation without a name': [storeTaskSchema, aTask({ operationId: '' }), /^operationId: /],
    'an operation with a very long name': [storeTaskSchema, aTask({ operationId: 'x'.repeat(201) }), /^operationId: /],
    'a release by name': [
      storeTaskSchema,
      aTask({ release: { ...aReleaseRef(), manifest: 'latest' } }),
      /^release\.manifest: /,
    ],
    'a window that is no instant': [storeTaskSchema, aTask({ notAfter: 'tomorrow' }), /^notAfter: /],
    'an order it does not know': [storeTaskSchema, { ...aTask(), force: true }, /force/],
  };
  it.each(Object.entries(bad))('refuses %s', (_, [schema, raw, problem]) => {
    expect(problemsOf(schema, raw)).toEqual([expect.stringMatching(problem)]);
  });
});

describe('what starts patchStore', () => {
  const input = {
    fleet: 'edge',
    train: '2026-w48',
    stage: 'canary',
    store: 'store-001',
    round: 0,
    release: aReleaseRef(),
    offlineAfter: 60_000,
    cutOffAfter: 1_800_000,
    storeTimeout: 14_400_000,
  };
  it('is this', () => expect(problemsOf(patchStoreInputSchema, input)).toEqual([]));
  it('is all of this: each missing part is named', () => {
    expect(problemsOf(patchStoreInputSchema, {}).map((line) => line.split(':')[0])).toEqual(Object.keys(input));
  });
  it.each(['offlineAfter', 'cutOffAfter', 'storeTimeout'])('never waits for no time: %s', (key) => {
    expect(problemsOf(patchStoreInputSchema, { ...input, [key]: 0 })).toEqual([expect.stringMatching(`^${key}: `)]);
  });
});

describe('what people say to a train', () => {
  const decision = {
    stage: 'canary',
    planHash: `sha256:${'4'.repeat(64)}`,
    decision: 'approve',
    by: 'Jörg Müller (ops)',
  };

  it.each(['Jörg Müller', 'a.person@example.org', 'bot/approver', '李雷'])('may come from %s', (by) => {
    expect(problemsOf(decisionSchema, { ...decision, by })).toEqual([]);
  });

  it.each(['', ' ', '-x', '<script>', 'a\nb', 'a'.repeat(101), '$(id)', 'x\u202Ey'])('may not come from %j', (by) => {
    expect(problemsOf(decisionSchema, { ...decision, by })).not.toEqual([]);
  });

  it.each([
    [{ decision: 'maybe' }, /^decision: /],
    [{ planHash: '4f1c9a02' }, /^planHash: is not a plan hash/],
    [{ stage: '' }, /^stage: is not a stage name/],
    [{ comment: 'x'.repeat(501) }, /^comment: /],
    [{ via: 'Chat!' }, /^via: /],
  ])('is not a decision with %j', (change, problem) => {
    expect(problemsOf(decisionSchema, { ...decision, by: 'ops', ...change })).toEqual([expect.stringMatching(problem)]);
  });

  it('starts a train of a known form only', () => {
    expect(problemsOf(trainInputSchema, { fleet: 'edge' })).toEqual([]);
    expect(problemsOf(trainInputSchema, { fleet: 'Edge', train: '../x', commit: 'HEAD', stages: [], go: 1 })).toEqual([
      'fleet: is not a fleet name',
      'train: is not a train id',
      'commit: is not a full commit hash',
      expect.stringMatching(/^stages: /),
      expect.stringMatching(/go/),
    ]);
  });
});

describe('what people type by hand to start a workflow', () => {
  const train = {
    fleet: 'edge',
    train: '2026-w48',
    commit: 'c'.repeat(40),
    release: aReleaseRef(),
    stages: ['canary'],
    requestedBy: 'ops',
  };
  const store = {
    fleet: 'edge',
    train: '2026-w48',
    stage: 'canary',
    store: 'store-001',
    round: 0,
    release: aReleaseRef(),
    notAfter: '2026-11-24T15:00:00Z',
    offlineAfter: 1,
    cutOffAfter: 1,
    storeTimeout: 1,
  };
  const closes = '2026-11-24T15:00:00Z';
  const wave = aWave([{ id: 'store-001', opens: '2026-11-24T09:00:00Z', closes }], { notAfter: closes });
  const decision = {
    stage: 'canary',
    planHash: `sha256:${'4'.repeat(64)}`,
    decision: 'approve',
    by: 'ops',
    via: 'cli',
  };

  const forms: [workflow: string, schema: z.ZodType, whole: object, fields: string[]][] = [
    ['patchTrain', trainInputSchema, train, ['fleet', 'train', 'commit', 'stages[0]', ...ofRelease()]],
    ['launchTrain', launchInputSchema, { fleet: 'edge' }, ['fleet']],
    ['patchStore', patchStoreInputSchema, store, ['fleet', 'train', 'stage', 'store', 'notAfter', ...ofRelease()]],
    [
      'wave',
      waveInputSchema,
      wave,
      [
        'fleet',
        'train',
        'stage',
        'operation',
        'notAfter',
        'stores[0].id',
        'stores[0].opens',
        'stores[0].closes',
        'limits.maxConcurrency',
        'limits.storeTimeout',
        'limits.errorThreshold',
        ...ofRelease(),
      ],
    ],
    ['decide', decisionSchema, decision, ['stage', 'planHash', 'decision', 'via']],
  ];
  function ofRelease(): string[] {
    return ['release.version', 'release.sequence', 'release.manifest', 'release.bundle'];
  }

  describe.each(forms)('%s', (_, schema, whole, fields) => {
    it('is sound before it is spoilt', () => expect(problemsOf(schema, whole)).toEqual([]));

    it.each(fields.flatMap((field) => HOSTILE.map((word) => [field, shown(word), word] as const)))(
      'refuses by its path a hostile %s: %s',
      (field, _shown, word) => {
        const problems = problemsOf(schema, spoilt(whole, field, word));
        expect(problems.map((line) => line.split(': ')[0])).toEqual([field]);
        expect(problems.join().length).toBeLessThan(1_000);
        expect(problems.join()).not.toMatch(/Invalid|pattern|expected|received|\/\^/);
      },
    );
  });

  it.each([
    ['patchStore', patchStoreInputSchema],
    ['wave', waveInputSchema],
    ['patchTrain', trainInputSchema],
    ['launchTrain', launchInputSchema],
    ['a decision', decisionSchema],
  ])('what %s lacks, or does not know, is said in words', (_, schema) => {
    const problems = problemsOf(schema, { comment: 5, release: { version: 'latest' }, '--force': true });
    expect(problems).toContain('--force: is not a known key here');
    expect(problems.some((line) => line.endsWith(': is missing'))).toBe(true);
    expect(problems.join()).not.toMatch(/Invalid|pattern|expected|received|\/\^/);
  });

  it.each(['storeTimeout', 'stageTimeout', 'offlineAfter', 'cutOffAfter', 'deferFor'])(
    'a wave never waits for no time, nor for ever: %s',
    (key) => {
      for (const value of [0, -1, 1.5, Number.MAX_SAFE_INTEGER, undefined])
        expect(problemsOf(waveInputSchema, { ...wave, limits: { ...wave.limits, [key]: value } })).toEqual([
          expect.stringMatching(`^limits\\.${key}: `),
        ]);
    },
  );

  it.each([{}, null, 'none'])('a wave is not run under the limits %j', (limits) => {
    const problems = problemsOf(waveInputSchema, { ...wave, limits });
    expect(problems).not.toEqual([]);
    for (const problem of problems) expect(problem).toMatch(/^limits/);
  });

  it.each(['a\u0000b', '\u001b[2J', 'a\nb', '\u202ereboot', '\u2028'])('no comment, reason or id holds %j', (text) => {
    const decision = { stage: 'canary', planHash: `sha256:${'9'.repeat(64)}`, decision: 'approve', by: 'mara' };
    expect(problemsOf(decisionSchema, decision)).toEqual([]);
    expect(problemsOf(decisionSchema, { ...decision, comment: text, id: text })).toHaveLength(2);
    expect(problemsOf(commandSchema, { by: 'mara', reason: text })).toHaveLength(1);
  });

  it.each(['', ' ', '-x', 'a\nb', '\u001b[2J', 'x'.repeat(10_000_000)])('nobody has a name like %#', (by) => {
    expect(problemsOf(commandSchema, { by })).not.toEqual([]);
    expect(problemsOf(launchInputSchema, { fleet: 'edge', requestedBy: by })).not.toEqual([]);
    expect(problemsOf(trainInputSchema, { fleet: 'edge', requestedBy: by })).not.toEqual([]);
  });
});

/** A copy with the value at a path such as `stores[0].id` replaced. */
function spoilt(whole: object, path: string, value: unknown): unknown {
  const copy = structuredClone(whole) as Record<string, unknown>;
  const keys = path.split(/[.[\]]+/).filter((key) => key !== '');
  let at = copy;
  for (const key of keys.slice(0, -1)) at = at[key] as Record<string, unknown>;
  at[keys.at(-1) as string] = value;
  return copy;
}
