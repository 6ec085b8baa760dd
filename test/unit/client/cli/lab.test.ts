import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { run } from '#client/cli/main.js';
import { fakeIo } from './fake-io.js';

/** A control API whose answers the test sets by method and path. */
const answers = new Map<string, { status?: number; body: unknown }>();
const requests: { line: string; body: unknown }[] = [];
let server: Server;
let control: string;

beforeEach(async () => {
  answers.clear();
  requests.length = 0;
  server = createServer((request, response) => {
    let text = '';
    request.on('data', (part: Buffer) => (text += part.toString()));
    request.on('end', () => {
      const line = `${request.method} ${request.url}`;
      requests.push({ line, body: text === '' ? undefined : JSON.parse(text) });
      const answer = answers.get(line) ?? { status: 404, body: { error: `There is no ${line}.` } };
      response.writeHead(answer.status ?? 200, { 'content-type': 'application/json' });
      response.end(typeof answer.body === 'string' ? answer.body : JSON.stringify(answer.body));
    });
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  control = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
});
afterEach(() => new Promise((resolve) => server.close(resolve)));

const lab = async (...argv: string[]) => {
  const io = fakeIo();
  const code = await run(['lab', ...argv, '--control', control, '--zone', 'Europe/Berlin'], io);
  return { code, out: io.stdout(), err: io.stderr() };
};
const entry = (seq: number, change: object = {}) => ({
  seq,
  at: '2026-11-24T11:08:00.123Z',
  store: 'store-014',
  node: 'n2',
  effect: 'node.reboot.request',
  by: 'edge-governor',
  ...change,
});

describe('lab check', () => {
  const rules = (violations: object[]) => ({
    effects: 1426,
    rules: [{ id: 'one-down', title: 'Never two nodes down', violations }],
  });

  it('ends with 0 when every rule holds', async () => {
    answers.set('POST /check', { body: rules([]) });
    expect(await lab('check')).toEqual({
      code: 0,
      out:
        'holds   Never two nodes down (one-down)\n' +
        "Practice fleet's own journal: 1,426 effects, 1 rule, 0 violations.\n",
      err: '',
    });
  });

  it('ends with 1 and names what is broken', async () => {
    answers.set('POST /check', {
      body: rules([{ store: 'store-014', summary: 'n1 and n2 were down\u001b[2J together' }]),
    });
    const { code, out } = await lab('check');
    expect(code).toBe(1);
    expect(out).toContain(
      'BROKEN  Never two nodes down (one-down)\n          store-014: n1 and n2 were down together\n',
    );
    expect(out).toContain('1 violation.');
  });

  it('does not take an answer without rules for a good one', async () => {
    answers.set('POST /check', { body: { effects: 0, rules: [] } });
    const { code, err } = await lab('check');
    expect(code).toBe(1);
    expect(err).toContain('unknown form');
  });
});

describe('lab journal', () => {
  it('prints effects with place and time to the millisecond, and filters them', async () => {
    answers.set('GET /journal?after=0', {
      body: [entry(1), entry(2, { effect: 'node.up', by: 'node' }), entry(3, { store: 'store-015', node: undefined })],
    });
    const { out } = await lab('journal', '--store', 'store-014', '--effect', 'node.re');
    expect(out).toBe(
      '1  12:08:00.123  store-014/n2  node.reboot.request  by edge-governor\n1 effect of 1 (times in Europe/Berlin).\n',
    );
  });
  it('prints only the newest when asked to', async () => {
    answers.set('GET /journal?after=0', { body: [entry(1), entry(2), entry(3)] });
    const { out } = await lab('journal', '--last', '1', '--json');
    expect(JSON.parse(out)).toMatchObject([{ seq: 3 }]);
  });
});

describe('lab fault add', () => {
  it('sends the fault as it was written, with durations in milliseconds', async () => {
    answers.set('POST /faults', { body: { id: 'fault-1' } });
    const { code } = await lab(
      ...['fault', 'add', 'slow-recovery', '--store', 'store-014', '--node', 'n2', '--times', '1', '--for', '20m'],
      ...['--param', 'factor=10', '--param', 'host=n3', '--param', 'silent=true'],
    );
    expect(code).toBe(0);
    expect(requests[0]?.body).toEqual({
      kind: 'slow-recovery',
      store: 'store-014',
      node: 'n2',
      times: 1,
      durationMs: 1_200_000,
      params: { factor: 10, host: 'n3', silent: true },
    });
  });
  it.each([
    [['kind: unknown', 'step: unknown'], 'The fault is not valid: kind: unknown; step: unknown'],
    [['kind: unknown'], 'The fault is not valid; kind: unknown'],
  ])('passes on why it was refused, each problem once', async (problems, words) => {
    answers.set('POST /faults', { status: 400, body: { error: words.replace('; kind: unknown', ''), problems } });
    const { code, err } = await lab('fault', 'add', 'gremlins', '--store', 'store-014');
    expect(code).toBe(1);
    expect(err).toBe(`The practice fleet refused POST /faults: ${words}\n`);
  });
  it('knows wrong numbers before it sends anything', async () => {
    expect((await lab('fault', 'add', 'apt-fail', '--store', 's', '--times', 'twice')).code).toBe(2);
    expect((await lab('fault', 'add', 'apt-fail', '--store', 's', '--for', 'long')).code).toBe(2);
    expect(requests).toEqual([]);
  });
});

describe('lab fault plan', () => {
  let folder: string;
  beforeEach(() => (folder = mkdtempSync(join(tmpdir(), 'edge-plan-'))));
  afterEach(() => rmSync(folder, { recursive: true, force: true }));
  const plan = (text: string): string => {
    const file = join(folder, 'plan.yaml');
    writeFileSync(file, text);
    return file;
  };

  it('sends all faults of the file at once', async () => {
    answers.set('POST /faults', { body: [{ id: 'f1', store: 'store-014', kind: 'wan-cut' }] });
    const { code, out } = await lab('fault', 'plan', plan('- kind: wan-cut\n  store: store-014\n'));
    expect(code).toBe(0);
    expect(out).toMatch(/^1 fault of .*plan\.yaml set\.\n$/);
    expect(requests[0]?.body).toEqual([{ kind: 'wan-cut', store: 'store-014' }]);
  });

  it('says what is wrong with a file before it sends anything', async () => {
    expect((await lab('fault', 'plan', join(folder, 'absent.yaml'))).err).toContain('cannot be read');
    expect((await lab('fault', 'plan', plan('- kind: [\n'))).err).toContain('is not YAML');
    expect(requests).toEqual([]);
  });
});

describe('lab fault remove', () => {
  it('ends a fault by its id', async () => {
    answers.set('DELETE /faults/fault-1', { body: { removed: 'fault-1' } });
    expect((await lab('fault', 'remove', 'fault-1')).out).toBe('fault-1 is over.\n');
  });
});

describe('lab faults', () => {
  const table = [
    {
      kind: 'apt-fail',
      title: 'apt fails',
      sort: 'trap',
      steps: [{ step: 'apt.update', title: 'lists are fetched', moments: ['during', 'before'] }],
      params: [],
    },
    {
      kind: 'disk-full',
      title: 'the disk is full',
      sort: 'event',
      steps: Array.from({ length: 5 }, (_, i) => ({ step: `s${i}`, title: 't', moments: ['before'] })),
      params: [{ name: 'free', type: 'number', title: 'bytes left' }],
    },
  ];
  beforeEach(() => {
    answers.set('GET /faults/table', { body: table });
    answers.set('GET /faults', {
      body: [
        {
          id: 'f1',
          store: 'store-014',
          kind: 'apt-fail',
          step: 'apt.update',
          moment: 'before',
          state: 'active',
          bites: 1,
        },
      ],
    });
  });

  it('lists what can go wrong, and what is set', async () => {
    const { out } = await lab('faults');
    expect(out).toMatch(/apt-fail +trap +apt fails +apt\.update\n/);
    expect(out).toMatch(/disk-full +event +the disk is full +5 steps\n/);
    expect(out).toMatch(/f1 +apt-fail +store-014 +before apt\.update +active, bit 1 time\n$/);
  });

  it('shows every step, moment and setting of one kind', async () => {
    expect((await lab('faults', '--kind', 'apt-fail')).out).toMatch(/apt\.update +during, before +lists are fetched/);
    expect((await lab('faults', '--kind', 'disk-full')).out).toMatch(/free +number +bytes left/);
    expect((await lab('faults', '--kind', 'gremlins')).code).toBe(2);
  });

  it('gives programs both', async () => {
    expect(JSON.parse((await lab('faults', '--json')).out)).toMatchObject({ kinds: table, set: [{ id: 'f1' }] });
  });
});

describe('lab wan', () => {
  it('cuts and restores a link', async () => {
    answers.set('POST /stores/store-014/wan', { body: { store: 'store-014', up: false } });
    expect((await lab('wan', 'store-014', 'down')).out).toBe('The link of store-014 is down.\n');
    expect(requests[0]?.body).toEqual({ up: false });
    expect((await lab('wan', 'store-014', 'sideways')).code).toBe(2);
  });
});

describe('the practice fleet', () => {
  it('is said not to run when nobody answers', async () => {
    const io = fakeIo();
    expect(await run(['lab', 'faults', '--control', 'http://127.0.0.1:1'], io)).toBe(1);
    expect(io.stderr()).toContain('Is `edge up --lab` running?');
  });
  it('is not believed when it answers something else than JSON', async () => {
    answers.set('GET /faults/table', { body: 'hello' });
    const { code, err } = await lab('faults');
    expect(code).toBe(1);
    expect(err).toContain('something else than JSON');
  });
});
