import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { WEEKDAYS, type Freeze, type MaintenanceWindow } from '#domain/fleet.js';
import {
  activeFreeze,
  isoWeekId,
  localDate,
  nextOpening,
  nextScheduled,
  nextWindow,
  storeWindow,
  windowsMeet,
} from '#domain/windows.js';

const at = (iso: string): Date => new Date(iso);
const day: MaintenanceWindow = { start: '10:00', end: '16:00' };

interface WindowRow {
  window: MaintenanceWindow;
  timeZone: string;
  after: string;
  opens: string;
  closes: string;
}

const nextWindows: Record<string, WindowRow> = {
  'gives the window of the day before it opens': {
    window: day,
    timeZone: 'Europe/Berlin',
    after: '2026-11-24T08:00:00Z',
    opens: '2026-11-24T09:00:00.000Z',
    closes: '2026-11-24T15:00:00.000Z',
  },
  'gives the open window with its start in the past': {
    window: day,
    timeZone: 'Europe/Berlin',
    after: '2026-11-24T12:00:00Z',
    opens: '2026-11-24T09:00:00.000Z',
    closes: '2026-11-24T15:00:00.000Z',
  },
  'counts the first instant as inside': {
    window: day,
    timeZone: 'Europe/Berlin',
    after: '2026-11-24T09:00:00Z',
    opens: '2026-11-24T09:00:00.000Z',
    closes: '2026-11-24T15:00:00.000Z',
  },
  'counts the last instant as outside': {
    window: day,
    timeZone: 'Europe/Berlin',
    after: '2026-11-24T15:00:00Z',
    opens: '2026-11-25T09:00:00.000Z',
    closes: '2026-11-25T15:00:00.000Z',
  },
  'skips to the next named day': {
    window: { ...day, days: ['mon', 'tue'] },
    timeZone: 'Europe/Berlin',
    after: '2026-11-24T15:00:00Z',
    opens: '2026-11-30T09:00:00.000Z',
    closes: '2026-11-30T15:00:00.000Z',
  },
  'ends a night window on the next day': {
    window: { start: '22:00', end: '04:00', days: ['fri'] },
    timeZone: 'Europe/Berlin',
    after: '2026-11-27T12:00:00Z',
    opens: '2026-11-27T21:00:00.000Z',
    closes: '2026-11-28T03:00:00.000Z',
  },
  'is still inside a night window that opened yesterday': {
    window: { start: '22:00', end: '04:00', days: ['fri'] },
    timeZone: 'Europe/Berlin',
    after: '2026-11-28T02:59:59Z',
    opens: '2026-11-27T21:00:00.000Z',
    closes: '2026-11-28T03:00:00.000Z',
  },
  'takes the day in the zone, not in UTC': {
    window: { ...day, days: ['wed'] },
    timeZone: 'Asia/Tokyo',
    after: '2026-11-24T20:00:00Z',
    opens: '2026-11-25T01:00:00.000Z',
    closes: '2026-11-25T07:00:00.000Z',
  },
  'does not close at midnight between all-day windows': {
    window: { start: '00:00', end: '00:00', days: ['sat', 'sun'] },
    timeZone: 'Europe/Berlin',
    after: '2026-11-28T22:30:00Z',
    opens: '2026-11-27T23:00:00.000Z',
    closes: '2026-11-29T23:00:00.000Z',
  },
  'opens later when spring skips the start (Berlin 02:30 becomes 03:30)': {
    window: { start: '02:30', end: '05:00' },
    timeZone: 'Europe/Berlin',
    after: '2026-03-29T00:00:00Z',
    opens: '2026-03-29T01:30:00.000Z',
    closes: '2026-03-29T03:00:00.000Z',
  },
  'leaves out a window that spring skips as a whole (Berlin 02:15 to 03:00)': {
    window: { start: '02:15', end: '03:00' },
    timeZone: 'Europe/Berlin',
    after: '2026-03-28T12:00:00Z',
    opens: '2026-03-30T00:15:00.000Z',
    closes: '2026-03-30T01:00:00.000Z',
  },
  'keeps the wall clock across spring (Berlin)': {
    window: day,
    timeZone: 'Europe/Berlin',
    after: '2026-03-28T15:00:00Z',
    opens: '2026-03-29T08:00:00.000Z',
    closes: '2026-03-29T14:00:00.000Z',
  },
  'takes the earlier of two starts in autumn (Berlin 02:30 is 00:30 UTC)': {
    window: { start: '02:30', end: '05:00' },
    timeZone: 'Europe/Berlin',
    after: '2026-10-24T22:00:00Z',
    opens: '2026-10-25T00:30:00.000Z',
    closes: '2026-10-25T04:00:00.000Z',
  },
  'takes the earlier of two ends in autumn (Berlin)': {
    window: { start: '00:00', end: '02:30' },
    timeZone: 'Europe/Berlin',
    after: '2026-10-24T21:00:00Z',
    opens: '2026-10-24T22:00:00.000Z',
    closes: '2026-10-25T00:30:00.000Z',
  },
  'is an hour longer in UTC over the autumn night (Berlin)': {
    window: { start: '22:00', end: '04:00' },
    timeZone: 'Europe/Berlin',
    after: '2026-10-24T21:00:00Z',
    opens: '2026-10-24T20:00:00.000Z',
    closes: '2026-10-25T03:00:00.000Z',
  },
  'opens later when spring skips the start (Lisbon 01:30 becomes 02:30)': {
    window: { start: '01:30', end: '04:00' },
    timeZone: 'Europe/Lisbon',
    after: '2026-03-28T12:00:00Z',
    opens: '2026-03-29T01:30:00.000Z',
    closes: '2026-03-29T03:00:00.000Z',
  },
  'takes the earlier of two starts in autumn (Lisbon 01:30 is 00:30 UTC)': {
    window: { start: '01:30', end: '04:00' },
    timeZone: 'Europe/Lisbon',
    after: '2026-10-24T12:00:00Z',
    opens: '2026-10-25T00:30:00.000Z',
    closes: '2026-10-25T04:00:00.000Z',
  },
  'opens later when spring skips the start (New York 02:30 becomes 03:30)': {
    window: { start: '02:30', end: '05:00' },
    timeZone: 'America/New_York',
    after: '2026-03-07T20:00:00Z',
    opens: '2026-03-08T07:30:00.000Z',
    closes: '2026-03-08T09:00:00.000Z',
  },
  'takes the earlier of two starts in autumn (New York 01:30 is 05:30 UTC)': {
    window: { start: '01:30', end: '04:00' },
    timeZone: 'America/New_York',
    after: '2026-10-31T12:00:00Z',
    opens: '2026-11-01T05:30:00.000Z',
    closes: '2026-11-01T09:00:00.000Z',
  },
  'never shifts where clocks do not change (Phoenix in March)': {
    window: { start: '02:30', end: '05:00' },
    timeZone: 'America/Phoenix',
    after: '2026-03-07T20:00:00Z',
    opens: '2026-03-08T09:30:00.000Z',
    closes: '2026-03-08T12:00:00.000Z',
  },
  'never shifts where clocks do not change (Phoenix in November)': {
    window: { start: '01:30', end: '04:00' },
    timeZone: 'America/Phoenix',
    after: '2026-10-31T12:00:00Z',
    opens: '2026-11-01T08:30:00.000Z',
    closes: '2026-11-01T11:00:00.000Z',
  },
};

describe('nextWindow', () => {
  it.each(Object.entries(nextWindows))('%s', (_sentence, { window, timeZone, after, opens, closes }) => {
    const found = nextWindow({ window, timeZone, after: at(after) });
    expect(found && { opens: found.opens.toISOString(), closes: found.closes.toISOString() }).toEqual({
      opens,
      closes,
    });
  });

  it('has no window to wait for when there is none', () => {
    expect(nextWindow({ timeZone: 'Europe/Berlin', after: at('2026-11-24T08:00:00Z') })).toBeUndefined();
  });
});

describe('storeWindow', () => {
  const berlin = { fleetZone: 'Europe/Berlin', storeZone: 'Europe/Berlin' };
  const after = at('2026-11-24T08:00:00Z');

  it('is always open without any window', () => {
    expect(storeWindow({ ...berlin, after })).toEqual({ kind: 'always' });
  });

  it.each([
    ['takes the stage alone', day, undefined],
    ['takes the store alone', undefined, day],
    ['takes what both allow', { start: '10:00', end: '20:00' }, { start: '06:00', end: '16:00' }],
  ])('%s', (_sentence, stage, store) => {
    expect(storeWindow({ ...berlin, stage, store, after })).toEqual({
      kind: 'window',
      opens: at('2026-11-24T09:00:00Z'),
      closes: at('2026-11-24T15:00:00Z'),
    });
  });

  it('reads each window in its own zone: Berlin 10-16 and Lisbon 14-18 meet for an hour', () => {
    const found = storeWindow({
      stage: day,
      fleetZone: 'Europe/Berlin',
      store: { start: '14:00', end: '18:00' },
      storeZone: 'Europe/Lisbon',
      after,
    });
    expect(found).toEqual({
      kind: 'window',
      opens: at('2026-11-24T14:00:00Z'),
      closes: at('2026-11-24T15:00:00Z'),
    });
  });

  it('gives the interval that is open now with its start in the past', () => {
    const found = storeWindow({
      ...berlin,
      stage: day,
      store: { start: '11:00', end: '13:00' },
      after: at('2026-11-24T11:00:00Z'),
    });
    expect(found).toMatchObject({ opens: at('2026-11-24T10:00:00Z'), closes: at('2026-11-24T12:00:00Z') });
  });

  it('goes on to the next day when today is over for the store', () => {
    const found = storeWindow({
      ...berlin,
      stage: day,
      store: { start: '11:00', end: '13:00' },
      after: at('2026-11-24T12:00:00Z'),
    });
    expect(found).toMatchObject({ opens: at('2026-11-25T10:00:00Z') });
  });

  it('meets a night window of the store that reaches into the morning of the stage', () => {
    const found = storeWindow({
      ...berlin,
      stage: { start: '03:00', end: '09:00', days: ['sat'] },
      store: { start: '22:00', end: '05:00', days: ['fri'] },
      after,
    });
    expect(found).toEqual({
      kind: 'window',
      opens: at('2026-11-28T02:00:00Z'),
      closes: at('2026-11-28T04:00:00Z'),
    });
  });

  it.each([
    ['whose hours do not meet', day, { start: '16:00', end: '10:00' }],
    ['whose days do not meet', { ...day, days: ['mon'] }, { ...day, days: ['tue'] }],
  ] satisfies [string, MaintenanceWindow, MaintenanceWindow][])('never opens for windows %s', (_what, stage, store) => {
    expect(storeWindow({ ...berlin, stage, store, after })).toEqual({ kind: 'never' });
  });
});

describe('windowsMeet', () => {
  const stage = day;
  const fleetZone = 'Europe/Berlin';

  it.each([
    ['meet when either is absent', { stage, fleetZone, storeZone: 'Asia/Tokyo' }, true],
    [
      'meet for an hour',
      { stage, fleetZone, store: { start: '14:00', end: '18:00' }, storeZone: 'Europe/Lisbon' },
      true,
    ],
    [
      'do not meet when they only touch',
      { stage, fleetZone, store: { start: '16:00', end: '20:00' }, storeZone: 'Europe/Berlin' },
      false,
    ],
    [
      'do not meet when summer time alone brings them together (Tokyo 16:30 is 09:30 in Berlin in summer, 08:30 in winter)',
      {
        stage: { start: '09:00', end: '10:00' },
        fleetZone,
        store: { start: '16:15', end: '16:45' },
        storeZone: 'Asia/Tokyo',
      },
      false,
    ],
  ])('%s', (_sentence, pair, expected) => {
    expect(windowsMeet(pair)).toBe(expected);
  });
});

describe('activeFreeze', () => {
  const christmas: Freeze = { from: '2026-12-14', to: '2027-01-03', reason: 'Christmas trade' };
  const inventory: Freeze = { from: '2026-11-20', to: '2026-11-20', reason: 'Stocktaking', stores: ['store-007'] };
  const freezes = [christmas, inventory];

  it.each([
    ['holds on its first day', 'store-001', '2026-12-14', christmas],
    ['holds on its last day', 'store-001', '2027-01-03', christmas],
    ['does not hold the day before', 'store-001', '2026-12-13', undefined],
    ['does not hold the day after', 'store-001', '2027-01-04', undefined],
    ['holds for a store that it names', 'store-007', '2026-11-20', inventory],
    ['does not hold for a store that it does not name', 'store-001', '2026-11-20', undefined],
  ])('%s', (_sentence, store, date, expected) => {
    expect(activeFreeze(freezes, store, date)).toBe(expected);
  });
});

describe('isoWeekId', () => {
  it.each([
    ['a week in November', '2026-11-24T12:00:00Z', 'UTC', '2026-w48'],
    ['the Monday has begun in Berlin before it does in UTC', '2026-11-22T23:30:00Z', 'Europe/Berlin', '2026-w48'],
    ['and it is still Sunday in UTC', '2026-11-22T23:30:00Z', 'UTC', '2026-w47'],
    ['January 1st can belong to the old year', '2027-01-01T12:00:00Z', 'UTC', '2026-w53'],
    ['weeks below ten have two digits', '2026-01-05T12:00:00Z', 'UTC', '2026-w02'],
  ])('%s', (_sentence, iso, zone, expected) => {
    expect(isoWeekId(at(iso), zone)).toBe(expected);
  });
});

describe('localDate', () => {
  it('is the date in the zone', () => {
    expect(localDate(at('2026-11-24T23:30:00Z'), 'Europe/Berlin')).toBe('2026-11-25');
    expect(localDate(at('2026-11-24T23:30:00Z'), 'America/New_York')).toBe('2026-11-24');
  });
});

describe('nextScheduled', () => {
  it.each([
    ['later the same day', 'tue', '14:00', 'Europe/Berlin', '2026-11-24T08:00:00Z', '2026-11-24T13:00:00.000Z'],
    [
      'a week on when it is this very instant',
      'tue',
      '14:00',
      'Europe/Berlin',
      '2026-11-24T13:00:00Z',
      '2026-12-01T13:00:00.000Z',
    ],
    ['over the end of the week', 'sun', '02:00', 'Europe/Berlin', '2026-11-24T08:00:00Z', '2026-11-29T01:00:00.000Z'],
    [
      'later when spring skips the hour',
      'sun',
      '02:30',
      'Europe/Berlin',
      '2026-03-28T08:00:00Z',
      '2026-03-29T01:30:00.000Z',
    ],
    [
      'the earlier one when autumn repeats the hour',
      'sun',
      '01:30',
      'America/New_York',
      '2026-10-31T08:00:00Z',
      '2026-11-01T05:30:00.000Z',
    ],
    [
      'where clocks do not change',
      'sun',
      '02:30',
      'America/Phoenix',
      '2026-03-07T08:00:00Z',
      '2026-03-08T09:30:00.000Z',
    ],
  ] as const)('%s', (_sentence, weekday, time, timeZone, after, expected) => {
    expect(nextScheduled({ day: weekday, at: time, timeZone, after: at(after) }).toISOString()).toBe(expected);
  });
});

describe('any window, in any zone, at any instant of three years', () => {
  const time = fc
    .record({ hour: fc.nat(23), minute: fc.constantFrom(0, 15, 30, 59) })
    .map(({ hour, minute }) => `${String(hour).padStart(2, '0')}:${String(minute).padStart(2, '0')}`);
  const window = fc.record({
    days: fc.uniqueArray(fc.constantFrom(...WEEKDAYS), { minLength: 1 }),
    start: time,
    end: time,
  });
  // Of these, some change their clocks by half an hour, at midnight, in other weeks than Europe, or never.
  const zone = fc.constantFrom(
    'Europe/Berlin',
    'America/New_York',
    'Australia/Lord_Howe',
    'America/Santiago',
    'Asia/Kolkata',
    'UTC',
  );
  const instant = fc.date({ min: at('2025-01-01T00:00:00Z'), max: at('2028-01-01T00:00:00Z'), noInvalidDate: true });

  it('closes after it opens and later than now; asked again at its opening it is the same, at its closing a later one', () => {
    fc.assert(
      fc.property(window, zone, instant, (given, timeZone, after) => {
        const found = nextWindow({ window: given, timeZone, after });
        // A window of an hour that the clocks leave out does not exist on that day; the next one does.
        if (!found) throw new Error('no window');
        expect(found.closes.getTime()).toBeGreaterThan(Math.max(found.opens.getTime(), after.getTime()));
        if (found.opens > after) expect(nextWindow({ window: given, timeZone, after: found.opens })).toEqual(found);
        const next = nextWindow({ window: given, timeZone, after: found.closes });
        expect(next?.closes.getTime()).toBeGreaterThan(found.closes.getTime());
        // Seven days of 24 hours never close: where the search ends the same window is still open.
        const neverCloses = given.days.length === 7 && given.start === given.end;
        if (!neverCloses) expect(next?.opens.getTime()).toBeGreaterThanOrEqual(found.closes.getTime());
        else expect(next?.opens.getTime()).toBeLessThan(found.closes.getTime());
      }),
      {
        examples: [
          [{ days: [...WEEKDAYS], start: '04:30', end: '04:30' }, 'Europe/Berlin', at('2025-01-01T00:00:00Z')],
        ],
      },
    );
  });

  it('is met by a store only while both are open', () => {
    fc.assert(
      fc.property(window, window, zone, zone, instant, (stage, store, fleetZone, storeZone, after) => {
        const both = storeWindow({ stage, fleetZone, store, storeZone, after });
        if (both.kind !== 'window') return;
        for (const [given, timeZone] of [
          [stage, fleetZone],
          [store, storeZone],
        ] as const) {
          const own = nextWindow({ window: given, timeZone, after: both.opens > after ? both.opens : after });
          expect(own && own.opens <= both.opens && both.closes <= own.closes).toBe(true);
        }
      }),
    );
  });
});

describe('the next window to open', () => {
  it.each([
    ['is that of the same day', {}, '2026-11-26T20:59:00Z', '2026-11-26T21:00:00.000Z'],
    ['is a later one at the moment it opens', {}, '2026-11-26T21:00:00Z', '2026-11-27T21:00:00.000Z'],
    ['opens on its days alone', { days: ['mon' as const] }, '2026-11-26T21:00:00Z', '2026-11-30T21:00:00.000Z'],
    ['follows the clocks', {}, '2026-03-28T21:00:00Z', '2026-03-29T20:00:00.000Z'],
  ])('%s', (_, days, after, opens) => {
    const window = { start: '22:00', ...days };
    expect(nextOpening({ window, timeZone: 'Europe/Berlin', after: at(after) }).toISOString()).toBe(opens);
  });
});
