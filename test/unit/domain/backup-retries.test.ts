import { describe, expect, it } from 'vitest';
import type { GuestRun } from '#domain/backup-failures.js';
import { afterRefusal, planRetries } from '#domain/backup-retries.js';

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
    const at = minutes === undefined ? {} : { at: inMinutes(minutes) };
    expect(planRetries(byGuest, NOW, DEADLINE, WAIT)).toEqual({ vmids, ...at });
  });

  it('are not tried after the night', () => {
    expect(planRetries(new Map([[101, [failed(101, 'lock')]]]), NOW, inMinutes(5), WAIT)).toEqual({ vmids: [] });
  });
});

describe('a dump that was refused', () => {
  it.each(['NoQuorum', 'TasksRunning', 'FactsUnreadable', 'BackupFailed'] as const)(
    'for %s is asked for once more',
    (reason) => {
      expect(afterRefusal(reason, 1, NOW, DEADLINE, WAIT)).toEqual({ kind: 'again', at: inMinutes(5) });
    },
  );
  it.each(['BackupRefused', 'DatastoreFull', 'OutsideWindow', 'StaleOperation'] as const)('for %s is not', (reason) => {
    expect(afterRefusal(reason, 1, NOW, DEADLINE, WAIT).kind).toBe('stop');
  });
});
