import { mkdtempSync, mkdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { run } from '#client/cli/main.js';
import { fullPlanHash } from '#client/cli/train.js';
import { planHash } from '../builders.js';
import { fakeIo } from './fake-io.js';

let dir: string;
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'edge-cli-'));
});
afterEach(() => rmSync(dir, { recursive: true, force: true }));

const commands = [
  [],
  ['demo'],
  ['bench'],
  ['up'],
  ['init'],
  ['fleet', 'check'],
  ['train', 'plan'],
  ['train', 'start'],
  ['train', 'show'],
  ['train', 'approve'],
  ['train', 'reject'],
  ['train', 'pause'],
  ['train', 'resume'],
  ['train', 'abort'],
  ['train', 'ask-again'],
  ['train', 'retry-gate'],
  ['train', 'retry-failed'],
  ['train', 'retry-offline'],
  ['train', 'skip'],
  ['train', 'finish'],
  ['train', 'rollback'],
  ['train', 'history'],
  ['store', 'show'],
  ['backup', 'status'],
  ['backup', 'run'],
  ['backup', 'show'],
  ['backup', 'abort'],
  ['backup', 'history'],
  ['janitor', 'run'],
  ['janitor', 'show'],
  ['store', 'pause'],
  ['store', 'resume'],
  ['store', 'abort'],
  ['schedules', 'plan'],
  ['schedules', 'apply'],
  ['runbook'],
  ['doctor'],
  ['workers', 'show'],
  ['workers', 'make-current'],
  ['lab', 'up'],
  ['lab', 'check'],
  ['lab', 'journal'],
  ['lab', 'fault', 'add'],
  ['lab', 'fault', 'plan'],
  ['lab', 'fault', 'remove'],
  ['lab', 'faults'],
  ['lab', 'wan'],
  ['lab', 'state'],
];

describe('help', () => {
  for (const command of commands) {
    it(`of \`${['edge', ...command].join(' ')}\` teaches with an example`, async () => {
      const io = fakeIo();
      expect(await run([...command, '--help'], io)).toBe(0);
      expect(io.stdout()).toMatch(/Examples?:\n {2}edge /);
      expect(io.stderr()).toBe('');
    });
  }
});

describe('wrong usage ends with 2 and says what is wrong', () => {
  const cases: Record<string, [argv: string[], words: RegExp]> = {
    'an unknown command': [['trian'], /unknown command 'trian'[\s\S]*train/],
    'an unknown option': [['train', 'show', '--wach'], /unknown option '--wach'/],
    'a missing argument': [['store', 'show'], /missing required argument 'id'/],
    'an approval without a plan': [['train', 'approve', 'canary'], /--plan/],
    'an unknown time zone': [['train', 'show', '--zone', 'Mars/Olympus'], /is not a time zone/],
    'an unknown reason': [['runbook', 'Nonsense'], /no reason Nonsense/],
    'an address without a port': [['train', 'show', '--address', 'localhost'], /host:port/],
    'no fleet': [['train', 'plan'], /Which repo\?/],
    'a count that is none': [['demo', '--stores', 'many'], /whole number/],
    'a drill of another size': [['demo', '--rollback', '--stores', '60'], /leave out --stores and --calm/],
    'a kill without the comparison': [['bench', '--kill', '--backup'], /give --ansible as well/],
    'patience without the comparison': [['bench', '--patience', '2.5'], /give --ansible as well/],
    'patience with a run that is killed': [
      ['bench', '--ansible', '--kill', '--patience', '2.5'],
      /leave out --kill or --patience/,
    ],
    'patience that is less than the train took': [
      ['bench', '--ansible', '--patience', '0.5'],
      /a factor of at least 1/,
    ],
    'patience that is no number': [['bench', '--ansible', '--patience', '1e3'], /a factor of at least 1/],
    'backups by the playbook': [['bench', '--backup', '--ansible'], /makes no backups/],
    'a speed that is none': [['up', '--lab', '3', '--speed', 'fast'], /--speed/],
  };
  for (const [name, [argv, words]] of Object.entries(cases)) {
    it(name, async () => {
      const io = fakeIo({ cwd: dir });
      expect(await run(argv, io)).toBe(2);
      expect(io.stderr()).toMatch(words);
    });
  }

  it('as JSON too, with --json; help is no problem of the input', async () => {
    const io = fakeIo({ cwd: dir });
    expect(await run(['train', 'show', '--wach', '--json'], io)).toBe(2);
    expect(JSON.parse(io.stdout())).toEqual({
      error: expect.stringMatching(/^unknown option '--wach'/) as string,
      problems: [],
    });
    const helped = fakeIo({ cwd: dir });
    expect(await run(['train', '--help', '--json'], helped)).toBe(0);
    expect(helped.stdout()).toMatch(/^Usage: edge train/);
  });

  it('without letting what was typed steer the terminal', async () => {
    const io = fakeIo();
    expect(await run(['runbook', '\u001b[2Jboom'], io)).toBe(2);
    expect(await run(['tr\u001b[2Jain'], io)).toBe(2);
    expect(io.stderr()).not.toContain('\u001b');
  });
});

describe('a command that cannot do its work ends with 1 and a sentence', () => {
  it.each([
    ['does not exist', 'nowhere'],
    ['is no Git repo', ''],
  ])('when the repo %s', async (_, folder) => {
    const io = fakeIo({ cwd: dir });
    for (const argv of [['train', 'plan'], ['up'], ['schedules', 'plan']]) {
      expect(await run([...argv, '--repo', join(dir, folder)], io)).toBe(1);
    }
    const lines = io.stderr().trim().split('\n');
    expect(lines).toHaveLength(3);
    for (const line of lines) expect(line).toMatch(/^The repo .+ cannot be read: .+ A new one is made by: edge init$/);
  });

  it('when no service runs here', async () => {
    const io = fakeIo({ cwd: dir });
    expect(await run(['train', 'show'], io)).toBe(1);
    expect(io.stderr()).toMatch(
      /No service is running here: .*service\.json does not exist\. Start one with `edge up`/,
    );
  });

  it('when nobody answers at the address', { timeout: 30_000 }, async () => {
    const io = fakeIo({ cwd: dir });
    expect(await run(['train', 'show', '--fleet', 'edge', '--address', '127.0.0.1:1'], io)).toBe(1);
    expect(io.stderr()).toBe('Cannot reach Temporal at 127.0.0.1:1. Is `edge up` running?\n');
  });

  it('as JSON too, with --json', async () => {
    const io = fakeIo({ cwd: dir });
    expect(await run(['train', 'show', '--json'], io)).toBe(1);
    expect(JSON.parse(io.stdout())).toMatchObject({ error: expect.stringContaining('No service is running here') });
  });

  it('when the service file is not one', async () => {
    mkdirSync(join(dir, '.edge'));
    writeFileSync(join(dir, '.edge', 'service.json'), '{"temporal":{"address":7}}');
    const io = fakeIo({ cwd: dir });
    expect(await run(['train', 'show'], io)).toBe(1);
    expect(io.stderr()).toMatch(/service\.json is not as expected: temporal\.address/);
  });
});

describe('runbook', () => {
  it('finds a reason however it is typed', async () => {
    const io = fakeIo();
    expect(await run(['runbook', 'reboottimeout', '--json'], io)).toBe(0);
    expect(JSON.parse(io.stdout())).toMatchObject({ reason: 'RebootTimeout' });
  });
  it('knows situations that are no reason of a store', async () => {
    const io = fakeIo();
    expect(await run(['runbook', 'keylost'], io)).toBe(0);
    expect(io.stdout()).toMatch(/^# KeyLost$/m);
  });
  it('lists all reasons without one', async () => {
    const io = fakeIo();
    expect(await run(['runbook'], io)).toBe(0);
    expect(io.stdout()).toContain('SequenceRollback');
  });
});

describe('init and fleet check', () => {
  it('make a repo without problems, then find every problem that is put into it', async () => {
    const io = fakeIo({ cwd: dir });
    expect(await run(['init', 'edge-infra', '--stores', '8'], io)).toBe(0);
    expect(io.stdout()).toContain('holds a fleet of 8 stores');
    expect(await run(['fleet', 'check', '--repo', 'edge-infra'], io)).toBe(0);

    writeFileSync(join(dir, 'edge-infra', 'clusters', 'store-003', 'store.yaml'), 'id: store-003\nnodes: []\n');
    const broken = fakeIo({ cwd: dir });
    expect(await run(['fleet', 'check', '--repo', 'edge-infra'], broken)).toBe(1);
    expect(broken.stdout()).toMatch(/^clusters\/store-003\/store\.yaml:2 +nodes +needs three nodes/m);
    expect(broken.stdout()).toMatch(/1 problem in 1 file of \d+\. Nothing was changed\.\n$/);
  });

  it('never write over what is there', async () => {
    writeFileSync(join(dir, 'precious.txt'), 'mine');
    const io = fakeIo({ cwd: dir });
    expect(await run(['init', '.'], io)).toBe(1);
    expect(io.stderr()).toContain('not empty');
  });
});

describe('train plan', () => {
  it('works from a repo alone', async () => {
    const io = fakeIo({ cwd: dir });
    await run(['init', 'edge-infra', '--stores', '8'], io);
    const planning = fakeIo({ cwd: join(dir, 'edge-infra') });
    expect(await run(['train', 'plan', '--json'], planning)).toBe(0);
    const plan = JSON.parse(planning.stdout()) as { stages: { stores: unknown[] }[]; problems: string[] };
    expect(plan.problems).toEqual([]);
    expect(plan.stages.flatMap(({ stores }) => stores)).toHaveLength(8);
  });

  it('knows its stages', async () => {
    const io = fakeIo({ cwd: dir });
    await run(['init', 'edge-infra'], io);
    const planning = fakeIo({ cwd: join(dir, 'edge-infra') });
    expect(await run(['train', 'plan', '--stages', 'canary,wave-9'], planning)).toBe(2);
    expect(planning.stderr()).toContain('wave-9 is not a stage');
  });
});

describe('fullPlanHash', () => {
  const view = { train: '2026-w48', planHash };
  it('takes the first digits of the plan that the train runs, in any form', () => {
    expect(fullPlanHash('4f1c9a02', view)).toBe(planHash);
    expect(fullPlanHash('SHA256:4F1C9A02AA31', view)).toBe(planHash);
    expect(fullPlanHash(planHash, view)).toBe(planHash);
  });
  it('refuses another plan', () => {
    expect(() => fullPlanHash('deadbeef', view)).toThrow(/runs plan 4f1c9a02aa31, not deadbeef/);
  });
  it('refuses digits too few to tell plans apart, and what is no hash', () => {
    expect(() => fullPlanHash('4f1c', view)).toThrow(/at least its first 8 digits/);
    expect(() => fullPlanHash('latest!!', view)).toThrow(/at least its first 8 digits/);
  });
  it('refuses when there is no plan yet', () => {
    expect(() => fullPlanHash('4f1c9a02', { train: 'x', planHash: undefined })).toThrow(/no plan yet/);
  });
});
