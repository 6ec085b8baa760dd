import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { ProbeResult, TrialPlan } from '#domain/messages/restore.js';
import { judgeTrial, RESTORE_RESULTS, storeStop, type RestoreResult, type TrialSteps } from '#domain/restore-trial.js';

/** The moment of the backup; the trial begins days later. */
const BACKUP = Date.parse('2026-11-28T22:00:00Z');
const at = (seconds: number): string => new Date(Date.parse('2026-11-29T09:00:00Z') + seconds * 1_000).toISOString();
const fromBackup = (seconds: number): string => new Date(BACKUP + seconds * 1_000).toISOString();
const HOUR = 3_600_000;
const timed = (from: number, to: number) => ({ startedAt: at(from), endedAt: at(to) });

type Probes = TrialPlan['probes'];
const aProbe = (name: string): Probes[number] => ({ name, command: [`/usr/bin/${name}`], within: 60_000 });
const answer = (name: string, change: Partial<ProbeResult> = {}): ProbeResult => ({
  name,
  ok: true,
  said: 'well',
  ...change,
});

type Probed = NonNullable<TrialSteps['probed']>;
const restored = { kind: 'done' as const, ...timed(0, 60), bytes: 4_000 };
const booted = { kind: 'done' as const, ...timed(62, 92) };
const probed = (change: Partial<Extract<Probed, { kind: 'done' }>> = {}): Probed => ({
  kind: 'done',
  ...timed(95, 100),
  probes: [answer('http'), answer('db')],
  canary: { at: fromBackup(-45), sequence: 7 },
  ...change,
});
const failed = (fault: 'guest' | 'site', detail?: string[]) => ({
  kind: 'failed' as const,
  fault,
  why: `the ${fault} spoilt it`,
  detail,
});

const snapshot = { type: 'vm' as const, id: '101', time: BACKUP / 1_000 };
/** A trial in which all went well, apart from the change. A step that is `undefined` did not come to its turn. */
const judge = (steps: TrialSteps = {}, plan: Partial<Pick<TrialPlan, 'probes' | 'canary' | 'recordWithin'>> = {}) =>
  judgeTrial(
    { probes: [aProbe('http'), aProbe('db')], canary: true, recordWithin: 26 * HOUR, ...plan },
    { snapshot, restored, booted, probed: probed(), ...steps },
  );

describe('a trial', () => {
  it('in which all was asked and all was well has passed, and tells how long it took and what would be lost', () => {
    expect(judge()).toEqual({
      result: 'pass',
      restoreMs: 60_000,
      bootMs: 30_000,
      probeMs: 5_000,
      rtoMs: 100_000,
      rpoMs: 45_000,
      bytes: 4_000,
    });
  });

  const undone = { restored: undefined, booted: undefined, probed: undefined };
  const rows: Record<string, [TrialSteps, result: RestoreResult, why: string]> = {
    'fails when its copy cannot be opened through its own fault': [
      { ...undone, snapshot: undefined, opened: failed('guest') },
      'fail',
      'the guest spoilt it',
    ],
    'says nothing when the site could not open the copy': [
      { ...undone, snapshot: undefined, opened: failed('site') },
      'infra-error',
      'the site spoilt it',
    ],
    'fails when no backup of it is proven': [
      { ...undone, snapshot: undefined },
      'fail',
      'The central server holds no proven backup of it.',
    ],
    'fails when it cannot be restored': [{ ...undone, restored: failed('guest') }, 'fail', 'the guest spoilt it'],
    'says nothing when the site could not restore it': [
      { ...undone, restored: failed('site') },
      'infra-error',
      'the site spoilt it',
    ],
    'fails when it does not start': [{ booted: failed('guest'), probed: undefined }, 'fail', 'the guest spoilt it'],
    'says nothing when the site could not start it': [
      { booted: failed('site'), probed: undefined },
      'infra-error',
      'the site spoilt it',
    ],
    'fails when it cannot be asked': [{ probed: failed('guest') }, 'fail', 'the guest spoilt it'],
    'says nothing when the site could not ask it': [{ probed: failed('site') }, 'infra-error', 'the site spoilt it'],
    'says nothing when it ended before it was restored': [
      undone,
      'infra-error',
      'The trial ended before its last step.',
    ],
    'says nothing when it ended before it was started': [
      { booted: undefined, probed: undefined },
      'infra-error',
      'The trial ended before its last step.',
    ],
    'says nothing when it ended before it was asked': [
      { probed: undefined },
      'infra-error',
      'The trial ended before its last step.',
    ],
    'fails when a probe is not well': [
      { probed: probed({ probes: [answer('http', { ok: false }), answer('db')] }) },
      'fail',
      'It was restored and started, and is not well: http.',
    ],
    'fails when probes are not well, and names each': [
      { probed: probed({ probes: [answer('http', { ok: false }), answer('db', { ok: false })] }) },
      'fail',
      'It was restored and started, and is not well: http, db.',
    ],
    'fails when its record of the moment is damaged': [
      { probed: probed({ canary: { broken: 'Unexpected end of JSON input' } }) },
      'fail',
      'Its record of the moment is damaged: Unexpected end of JSON input',
    ],
    'fails when its record of the moment names no moment': [
      { probed: probed({ canary: { at: 'last night', sequence: 7 } }) },
      'fail',
      'Its record of the moment is damaged: "last night" is no instant.',
    ],
    'fails when its record is younger than the backup by more than clocks may differ': [
      { probed: probed({ canary: { at: fromBackup(301), sequence: 7 } }) },
      'fail',
      `Its record of the moment (${fromBackup(301)}) is younger than the backup.`,
    ],
    'fails when its record is older than the backup by more than its tier allows of a backup': [
      { probed: probed({ canary: { at: fromBackup(-26 * 3_600 - 1), sequence: 7 } }) },
      'fail',
      `It last wrote its record of the moment at ${fromBackup(-26 * 3_600 - 1)}, 26 h before its backup of ${fromBackup(0)}; its tier allows 26 h.`,
    ],
    'fails when its record is a month old, whatever else is well': [
      { probed: probed({ canary: { at: fromBackup(-30 * 86_400), sequence: 7 } }) },
      'fail',
      `It last wrote its record of the moment at ${fromBackup(-30 * 86_400)}, 30 d before its backup of ${fromBackup(0)}; its tier allows 26 h.`,
    ],
    'fails for a probe that is not well before its record is looked at': [
      {
        probed: probed({
          probes: [answer('http', { ok: false }), answer('db')],
          canary: { at: fromBackup(-30 * 86_400), sequence: 7 },
        }),
      },
      'fail',
      'It was restored and started, and is not well: http.',
    ],
    'is less than a pass when the record that it ought to keep is not there': [
      { probed: probed({ canary: undefined }) },
      'partial',
      'It was restored and started; left out: it keeps no record of the moment.',
    ],
    'is less than a pass when not all probes were answered': [
      { probed: probed({ probes: [answer('http')] }) },
      'partial',
      'It was restored and started; left out: not all probes were run.',
    ],
    'is less than a pass for every thing that was left out': [
      { probed: probed({ probes: [], canary: undefined }) },
      'partial',
      'It was restored and started; left out: not all probes were run, it keeps no record of the moment.',
    ],
  };
  it.each(Object.entries(rows))('%s', (_words, [steps, result, why]) => {
    expect(judge(steps)).toMatchObject({ result, why });
  });

  it('is less than a pass when nothing is declared that it could be asked', () => {
    expect(judge({ probed: probed({ probes: [] }) }, { probes: [] })).toMatchObject({
      result: 'partial',
      why: 'It was restored and started; left out: no probe is declared for it.',
    });
  });

  it('passes without a record of the moment where none is kept, and tells nothing of what would be lost', () => {
    const verdict = judge({ probed: probed({ canary: undefined }) }, { canary: false });
    expect(verdict.result).toBe('pass');
    expect(verdict).not.toHaveProperty('why');
    expect(verdict).not.toHaveProperty('rpoMs');
  });

  const WITHOUT = 'It was tried without usb0, serial0: devices that its node has, and the site has not.';
  it('of a guest that was restored without devices of its node passes, and says which', () => {
    const without = { restored: { ...restored, leftOut: ['usb0', 'serial0'] } };
    expect(judge(without)).toMatchObject({ result: 'pass', why: WITHOUT });
    expect(judge(without)).not.toHaveProperty('detail');
    expect(judge({ restored: { ...restored, leftOut: [] } })).not.toHaveProperty('why');
  });

  it('that does not pass says so too: a device that is not there may be why', () => {
    const without = { restored: { ...restored, leftOut: ['usb0', 'serial0'] } };
    const probes = [answer('http', { ok: false, said: 'no scale' }), answer('db')];
    expect(judge({ ...without, probed: probed({ probes }) }).detail).toEqual(['http: no scale', WITHOUT]);
    expect(judge({ ...without, booted: failed('guest'), probed: undefined }).detail).toEqual([WITHOUT]);
    expect(judge({ ...without, probed: probed({ canary: undefined }) })).toMatchObject({
      result: 'partial',
      detail: [WITHOUT],
    });
  });

  it('reads a record that is there though nobody expects it', () => {
    expect(judge({}, { canary: false })).toMatchObject({ result: 'pass', rpoMs: 45_000 });
    expect(judge({ probed: probed({ canary: { broken: 'empty' } }) }, { canary: false }).result).toBe('fail');
  });

  it.each([
    ['as long before the backup as its tier allows', -26 * 3_600],
    ['at the moment of the backup', 0],
    ['as far after it as clocks may differ', 300],
  ])('that finds a record written %s passes, and what would be lost is told', (_words, seconds) => {
    const canary = { at: fromBackup(seconds), sequence: 7 };
    expect(judge({ probed: probed({ canary }) })).toMatchObject({
      result: 'pass',
      rpoMs: Math.max(0, -1_000 * seconds),
    });
  });

  it('of a plan that says nothing of its age, as an older one, passes with a record of whatever age', () => {
    const canary = { at: fromBackup(-30 * 86_400), sequence: 7 };
    expect(judge({ probed: probed({ canary }) }, { recordWithin: undefined }).result).toBe('pass');
  });

  it('of a guest that is said to keep no record passes with an old one that lies about', () => {
    const canary = { at: fromBackup(-30 * 86_400), sequence: 7 };
    expect(judge({ probed: probed({ canary }) }, { canary: false }).result).toBe('pass');
  });

  it('that fails for the age of its record tells what would be lost', () => {
    const canary = { at: fromBackup(-30 * 86_400), sequence: 7 };
    expect(judge({ probed: probed({ canary }) }).rpoMs).toBe(30 * 24 * HOUR);
  });

  it('that fails names the first thing that did, before any of the record', () => {
    const probes = [answer('http', { ok: false, said: 'connection refused' }), answer('db')];
    const verdict = judge({ probed: probed({ probes, canary: { broken: 'empty' } }) });
    expect(verdict.why).toBe('It was restored and started, and is not well: http.');
    expect(verdict.detail).toEqual(['http: connection refused']);
  });

  it('hands on what was seen where it stopped', () => {
    expect(judge({ booted: failed('guest', ['no bootable device']), probed: undefined }).detail).toEqual([
      'no bootable device',
    ]);
    expect(judge({ booted: failed('guest'), probed: undefined })).not.toHaveProperty('detail');
  });
});

describe('the times of a trial', () => {
  const TIMES = ['restoreMs', 'bootMs', 'probeMs', 'rtoMs', 'rpoMs', 'bytes'] as const;
  const timesOf = (steps: TrialSteps) => {
    const verdict = judge(steps);
    return TIMES.filter((time) => verdict[time] !== undefined);
  };

  const rows: Record<string, [TrialSteps, (typeof TIMES)[number][]]> = {
    'are none when nothing was restored': [{ restored: failed('guest'), booted: undefined, probed: undefined }, []],
    'are those of the restore when it did not start': [
      { booted: failed('guest'), probed: undefined },
      ['restoreMs', 'bytes'],
    ],
    'are those of restore and start when it could not be asked': [
      { probed: failed('site') },
      ['restoreMs', 'bootMs', 'bytes'],
    ],
    'leave out how long it took to have it back when a probe failed: it was not had back': [
      { probed: probed({ probes: [answer('http'), answer('db', { ok: false })] }) },
      ['restoreMs', 'bootMs', 'probeMs', 'bytes'],
    ],
    'leave out how long it took to have it back when a probe was not run: nobody knows when it would have been well': [
      { probed: probed({ probes: [answer('http')] }) },
      ['restoreMs', 'bootMs', 'probeMs', 'rpoMs', 'bytes'],
    ],
    'leave out what would be lost when its record is damaged': [
      { probed: probed({ canary: { broken: 'empty' } }) },
      ['restoreMs', 'bootMs', 'probeMs', 'rtoMs', 'bytes'],
    ],
  };
  it.each(Object.entries(rows))('%s', (_words, [steps, times]) => {
    expect(timesOf(steps)).toEqual(times);
  });

  it('count from the order to restore to the last probe, with what lies between the steps', () => {
    const { rtoMs = 0, restoreMs = 0, bootMs = 0, probeMs = 0 } = judge();
    expect(rtoMs - restoreMs - bootMs - probeMs).toBe(5_000);
  });

  it('are never below nothing, also on a clock that was set back', () => {
    const back = { kind: 'done' as const, ...timed(60, 0), bytes: 1 };
    expect(judge({ restored: back })).toMatchObject({ restoreMs: 0 });
  });
});

describe('what the trials of a store come to', () => {
  const aRow = (vmid: number, result: RestoreResult, text?: string) => ({ vmid, name: `guest-${vmid}`, result, text });

  it('is nothing to speak of when all passed and nothing is left', () => {
    expect(storeStop([aRow(101, 'pass'), aRow(102, 'pass')], [])).toBeUndefined();
    expect(storeStop([], [])).toBeUndefined();
  });

  const rows: Record<string, [results: RestoreResult[], left: string[], reason: string]> = {
    'is a failed test as soon as one guest failed': [
      ['infra-error', 'partial', 'fail', 'pass'],
      [],
      'RestoreTestFailed',
    ],
    'is a failed test though something is left too': [['fail'], ['a disk'], 'RestoreTestFailed'],
    'is unproven when a guest was tried in part': [['partial', 'pass'], [], 'RestoreUnproven'],
    'is unproven when the site spoilt it': [['infra-error'], [], 'RestoreUnproven'],
    'is unproven though something is left too': [['infra-error'], ['a disk'], 'RestoreUnproven'],
    'is what is left when all passed': [['pass', 'pass'], ['a disk'], 'UndoIncomplete'],
    'is what is left when nobody was tried': [[], ['a disk'], 'UndoIncomplete'],
  };
  it.each(Object.entries(rows))('%s', (_words, [results, left, reason]) => {
    const stop = storeStop(
      results.map((result, index) => aRow(101 + index, result)),
      left,
    );
    expect(stop).toMatchObject({ reason, step: 'restore test' });
  });

  it('names a guest that failed before others, and counts these', () => {
    const stop = storeStop(
      [aRow(101, 'infra-error', 'no room'), aRow(102, 'pass'), aRow(103, 'fail', 'Chunk 12ab is damaged.')],
      [],
    );
    expect(stop?.summary).toBe('guest 103 (guest-103): Chunk 12ab is damaged. (and 1 more)');
    expect(stop?.detail).toEqual(['guest 101 (guest-101): no room', 'guest 103 (guest-103): Chunk 12ab is damaged.']);
  });

  it('names the result of a guest of which there is nothing to say', () => {
    expect(storeStop([aRow(101, 'partial')], [])?.summary).toBe('guest 101 (guest-101): partial');
  });

  it('names what is left in its summary when nothing else is wrong', () => {
    expect(storeStop([aRow(101, 'pass')], ['guest 90001', 'the storage'])).toMatchObject({
      summary: 'Left at the staging site: guest 90001',
      detail: ['left at the staging site: guest 90001', 'left at the staging site: the storage'],
    });
  });

  it('names what is left however many guests failed: it stands nowhere else', () => {
    const many = Array.from({ length: 30 }, (_, index) => aRow(101 + index, 'fail'));
    const detail = storeStop(many, ['guest 90001'])?.detail ?? [];
    expect(detail).toHaveLength(20);
    expect(detail).toContain('left at the staging site: guest 90001');
    expect(detail).toContain('guest 101 (guest-101): fail');
  });

  it('is no stop exactly when all passed and nothing is left, and never too long', () => {
    const row = fc.record({ vmid: fc.integer({ min: 100, max: 999 }), result: fc.constantFrom(...RESTORE_RESULTS) });
    fc.assert(
      fc.property(
        fc.array(row, { maxLength: 50 }),
        fc.array(fc.string({ minLength: 1 }), { maxLength: 50 }),
        (all, left) => {
          const stop = storeStop(
            all.map(({ vmid, result }) => aRow(vmid, result)),
            left,
          );
          expect(stop === undefined).toBe(left.length === 0 && all.every(({ result }) => result === 'pass'));
          expect((stop?.detail ?? []).length).toBeLessThanOrEqual(20);
        },
      ),
    );
  });
});
