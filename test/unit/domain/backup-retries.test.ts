import { describe, expect, it } from 'vitest';
import type { GuestRun } from '#domain/backup-failures.js';
import { planNextTry, type Tried } from '#domain/backup-retries.js';
import type { Reason } from '#domain/reasons.js';

const NOW = new Date('2026-11-26T23:00:00Z');
const MINUTE = 60_000;
const WAIT = 5 * MINUTE;
const inMinutes = (minutes: number): Date => new Date(NOW.getTime() + minutes * MINUTE);
const DEADLINE = inMinutes(300);
const done = (vmid: number): GuestRun => ({ vmid, kind: 'done' });
const failed = (vmid: number, failure: 'lock' | 'network' | 'space' | 'guest' | 'credentials'): GuestRun => ({
  vmid,
  kind: 'failed',
  text: failure,
  failure,
});

const LOCKED = new Map([[101, [failed(101, 'lock')]]]);
const next = (tried: Partial<Tried>, deadline = DEADLINE) =>
  planNextTry({ tries: new Map(), refusals: [], isRefused: false, ...tried }, NOW, deadline, WAIT);

describe('guests that were not dumped', () => {
  const cases: Record<string, [tries: Record<number, GuestRun[]>, vmids: number[], minutes?: number]> = {
    'are none when all were': [{ 101: [done(101)] }, []],
    'are tried again when somebody had locked them': [{ 101: [failed(101, 'lock')], 102: [done(102)] }, [101], 5],
    'are tried again when nobody saw how it ended': [{ 101: [{ vmid: 101, kind: 'unknown' }] }, [101], 5],
    'are not when they were dumped since': [{ 101: [failed(101, 'lock'), done(101)] }, []],
    'are not for what does not mend itself': [
      { 101: [failed(101, 'guest')], 102: [failed(102, 'space')], 103: [failed(103, 'credentials')] },
      [],
    ],
    'are tried together, when the last of them may': [
      { 101: [failed(101, 'network'), failed(101, 'network')], 102: [failed(102, 'lock')] },
      [101, 102],
      15,
    ],
    'are given up after three failures of the network': [{ 101: [1, 2, 3].map(() => failed(101, 'network')) }, []],
  };
  it.each(Object.entries(cases))('%s', (_, [tries, vmids, minutes]) => {
    const byGuest = new Map(Object.entries(tries).map(([vmid, runs]) => [Number(vmid), runs]));
    const expected = minutes === undefined ? undefined : { vmids, at: inMinutes(minutes) };
    expect(next({ tries: byGuest })).toEqual(expected);
  });

  it('are not tried after the night', () => {
    expect(next({ tries: LOCKED }, inMinutes(5))).toBeUndefined();
  });

  it('are tried again though an earlier try was refused as a whole', () => {
    expect(next({ tries: LOCKED, refusals: ['NoQuorum'] })).toEqual({ vmids: [101], at: inMinutes(5) });
  });
});

describe('a dump that was refused', () => {
  const tries: [string, Partial<Tried>][] = [
    ['at first', {}],
    ['after some of its guests were dumped', { tries: LOCKED, vmids: [101] }],
  ];
  describe.each(tries)('%s', (_, tried) => {
    const asked = tried.vmids ? { vmids: [101] } : {};
    const refused = (reason: Reason, times: number, deadline = DEADLINE) =>
      next({ ...tried, isRefused: true, refusals: Array.from({ length: times }, () => reason) }, deadline);

    it.each(['NoQuorum', 'TasksRunning', 'FactsUnreadable', 'BackupFailed'] as const)(
      'for %s is asked for once more, for the same guests',
      (reason) => {
        expect(refused(reason, 1)).toEqual({ at: inMinutes(5), ...asked });
      },
    );
    it.each(['BackupRefused', 'DatastoreFull', 'OutsideWindow', 'StaleOperation', 'StoreBusy'] as const)(
      'for %s is not',
      (reason) => {
        expect(refused(reason, 1)).toBeUndefined();
      },
    );
    it('is given up after twelve refusals of one kind, and after the night', () => {
      expect(refused('NoQuorum', 11)).toEqual({ at: inMinutes(5), ...asked });
      expect(refused('NoQuorum', 12)).toBeUndefined();
      expect(refused('NoQuorum', 1, inMinutes(5))).toBeUndefined();
    });
    it('counts each kind by itself', () => {
      const refusals: Reason[] = ['BackupFailed', 'BackupFailed', 'NoQuorum', 'BackupFailed'];
      expect(next({ ...tried, isRefused: true, refusals })).toBeUndefined();
      expect(next({ ...tried, isRefused: true, refusals: refusals.slice(1) })).toEqual({
        at: inMinutes(15),
        ...asked,
      });
    });
  });
});
