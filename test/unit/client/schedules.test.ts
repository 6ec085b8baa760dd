import { describe, expect, it } from 'vitest';
import { renderChanges, summaryOf } from '#client/cli/render-schedules.js';
import {
  desiredSchedules,
  planSchedules,
  silenceOf,
  type DesiredSchedule,
  type ExistingSchedule,
} from '#client/schedules.js';
import { fleet } from './builders.js';

const HOUR = 3_600_000;
const window = (days: string[], start: string) => [
  { name: 'canary', stores: 'rest', window: { days, start, end: '16:00' } },
];
const desired = (change: Record<string, unknown> = {}): DesiredSchedule =>
  desiredSchedules(fleet(change))[0] as DesiredSchedule;

const NIGHTS = {
  tiers: { normal: { rpo: { local: '26h', offsite: '50h' }, restoreWeeks: 13 } },
  defaultTier: 'normal',
  keep: { daily: 7 },
  offsite: { keep: { daily: 14 } },
};

/** What Temporal would say of a schedule that was just created from `wanted`. */
const existing = (wanted: DesiredSchedule, change: Partial<ExistingSchedule> = {}): ExistingSchedule => ({
  id: wanted.id,
  owner: 'edge-governor',
  paused: false,
  note: wanted.note,
  ...change,
  fields: {
    time: 'Monday 02:00',
    'time zone': 'Europe/Berlin',
    workflow: 'launchTrain launch/edge',
    'task queue': 'edge-control',
    input: '[{"fleet":"edge"}]',
    overlap: 'SKIP',
    'catch-up': '6 h',
    note: wanted.note,
    ...change.fields,
  },
});

describe('desiredSchedules', () => {
  it('fires the launcher of the fleet at the build time in the fleet’s zone, never two at once', () => {
    expect(desired()).toEqual({
      id: 'edge-governor/train/edge',
      fleet: 'edge',
      calendar: { dayOfWeek: ['MONDAY'], hour: 2, minute: 0 },
      timeZone: 'Europe/Berlin',
      workflowType: 'launchTrain',
      workflowId: 'launch/edge',
      taskQueue: 'edge-control',
      args: [{ fleet: 'edge' }],
      overlap: 'SKIP',
      catchupWindow: 6 * HOUR,
      note: 'weekly',
      memo: { owner: 'edge-governor' },
      summary: 'Weekly patch train of fleet edge',
      warnings: [],
    });
  });

  it('fires the janitor every day at its time, five in the morning when nobody says when', () => {
    const [, janitor] = desiredSchedules(fleet());
    expect(janitor).toMatchObject({
      id: 'edge-governor/janitor/edge',
      calendar: { hour: 5, minute: 0 },
      timeZone: 'Europe/Berlin',
      workflowType: 'janitor',
      workflowId: 'janitor/edge/nightly',
      args: [{ fleet: 'edge' }],
      overlap: 'SKIP',
      catchupWindow: HOUR,
      memo: { owner: 'edge-governor' },
    });
    expect(janitor?.calendar).not.toHaveProperty('dayOfWeek');
    expect(desiredSchedules(fleet({ janitor: { at: '23:30' } }))[1]?.calendar).toEqual({ hour: 23, minute: 30 });
  });

  describe('of a fleet with backups', () => {
    const night = (change: object = {}): DesiredSchedule | undefined =>
      desiredSchedules(fleet({ backup: { ...backup, ...change } }))[1];
    const backup = {
      window: { start: '22:00', end: '05:00' },
      tiers: { normal: { rpo: { local: '26h' }, restoreWeeks: 13 } },
      defaultTier: 'normal',
      keep: { daily: 7 },
    };

    it('begins a night when the window opens, beside the train and the janitor', () => {
      const all = desiredSchedules(fleet({ backup }));
      expect(all.map(({ workflowType }) => workflowType)).toEqual(['launchTrain', 'nightlyBackup', 'janitor']);
      expect(night()).toMatchObject({
        id: 'edge-governor/backup/edge',
        calendar: { hour: 22, minute: 0 },
        timeZone: 'Europe/Berlin',
        args: [{ fleet: 'edge' }],
        overlap: 'SKIP',
        catchupWindow: 2 * HOUR,
        warnings: [],
      });
      expect(night()?.calendar).not.toHaveProperty('dayOfWeek');
    });

    it('begins it on the days of the window only', () => {
      const window = { days: ['mon', 'fri'], start: '23:30', end: '04:00' };
      expect(night({ window })?.calendar).toEqual({ dayOfWeek: ['MONDAY', 'FRIDAY'], hour: 23, minute: 30 });
    });

    it('makes up for no night after its window, and says so', () => {
      const short = night({ window: { start: '23:30', end: '00:30' } });
      expect(short?.catchupWindow).toBe(HOUR);
      expect(short?.warnings).toEqual(['backup.catchUp is 2 h, but the window is only 1 h long.']);
    });

    it('restores guests for a test every week, by day, once there is a second place to restore from', () => {
      const tiers = { normal: { rpo: { local: '26h', offsite: '50h' }, restoreWeeks: 13 } };
      const withSecondPlace = { ...backup, tiers, offsite: { keep: { daily: 14 } } };
      const all = desiredSchedules(fleet({ backup: { ...withSecondPlace, restoreTest: { day: 'wed', at: '09:15' } } }));
      expect(all.map(({ workflowType }) => workflowType)).toEqual([
        'launchTrain',
        'nightlyBackup',
        'restoreTest',
        'janitor',
      ]);
      expect(all[2]).toMatchObject({
        id: 'edge-governor/restores/edge',
        calendar: { dayOfWeek: ['WEDNESDAY'], hour: 9, minute: 15 },
        timeZone: 'Europe/Berlin',
        workflowId: 'restores/edge/weekly',
        args: [{ fleet: 'edge' }],
        overlap: 'SKIP',
      });
      expect(all[2]?.catchupWindow).toBe(24 * HOUR);
    });
  });

  const catchUps: Record<string, [build: object, stages: object[], catchUp: string, hours: number]> = {
    'keeps a catch-up that ends before the canary’s window': [
      { day: 'mon', at: '02:00' },
      window(['tue'], '10:00'),
      '6h',
      6,
    ],
    'caps one that would reach into the window, with an hour for a change of the clocks': [
      { day: 'mon', at: '02:00' },
      window(['tue'], '10:00'),
      '3d',
      31,
    ],
    'takes the next opening when the window is open on several days': [
      { day: 'mon', at: '02:00' },
      window(['fri', 'mon'], '10:00'),
      '3d',
      7,
    ],
    'counts over the end of the week': [{ day: 'sun', at: '22:00' }, window(['mon'], '10:00'), '3d', 11],
    'leaves next to nothing when the build is at the opening itself': [
      { day: 'tue', at: '10:00' },
      window(['tue'], '10:00'),
      '6h',
      1 / 60,
    ],
    'has no cap without a window': [{ day: 'mon', at: '02:00' }, [{ name: 'canary', stores: 'rest' }], '3d', 72],
  };
  for (const [sentence, [build, stages, catchUp, hours]] of Object.entries(catchUps)) {
    it(sentence, () => {
      expect(desired({ train: { build, catchUp }, stages }).catchupWindow).toBe(hours * HOUR);
    });
  }

  it('says so when it uses less than was asked for', () => {
    const { warnings } = desired({ train: { build: { day: 'mon', at: '02:00' }, catchUp: '3d' } });
    expect(warnings).toHaveLength(1);
    expect(warnings[0]).toContain('only 31 h is used');
  });

  it('warns of a build in the night in which clocks are changed', () => {
    const { warnings } = desired({ train: { build: { day: 'sun', at: '02:30' } } });
    expect(warnings.some((warning) => warning.includes('Clocks are changed'))).toBe(true);
  });

  const atThatHour = (timeZone: string, at: string) =>
    desiredSchedules(
      fleet({
        timeZone,
        backup: { ...NIGHTS, window: { start: at, end: '09:00' }, restoreTest: { day: 'sun', at } },
        janitor: { at },
        train: { build: { day: 'sun', at } },
      }),
    ).map(({ warnings }) => warnings.filter((warning) => warning.includes('Clocks are changed')));

  it('warns of whatever begins at that hour: trains, nights, restore tests and the janitor', () => {
    expect(atThatHour('Europe/Berlin', '02:30').map(([warning]) => warning?.split(': ')[1])).toEqual([
      'a train built at 02:30 may be missed in spring and started twice in autumn. Take another hour.',
      'a night that begins at 02:30 may be missed in spring and started twice in autumn. Take another hour.',
      'a run of restore tests at 02:30 may be missed in spring and started twice in autumn. Take another hour.',
      'the janitor at 02:30 may be missed in spring and started twice in autumn. Take another hour.',
    ]);
  });

  it.each([
    ['at no other hour', 'Europe/Berlin', '03:00', 0],
    ['where clocks are not changed', 'UTC', '02:30', 0],
    ['where they are changed at midnight, on another day than Sunday, for what is daily', 'Africa/Cairo', '00:00', 2],
    ['in spring alone where the hour after it is repeated', 'America/New_York', '02:30', 4],
  ])('does so %s', (_, zone, at, count) => {
    expect(atThatHour(zone, at).flat()).toHaveLength(count);
  });

  it('names what begins nothing by itself: a schedule that is missing or paused', () => {
    const wanted = desired();
    expect(silenceOf([existing(wanted)], [wanted.id])).toEqual([]);
    expect(silenceOf([], [wanted.id])).toEqual([
      'The schedule edge-governor/train/edge is missing, so nothing begins by itself: edge schedules apply',
    ]);
    expect(silenceOf([existing(wanted, { paused: true, note: 'mara: inventory week' })], [wanted.id])).toEqual([
      'The schedule edge-governor/train/edge is paused, so nothing begins by itself: mara: inventory week',
    ]);
  });
});

describe('planSchedules', () => {
  const wanted = desired();

  it('creates what is missing', () => {
    expect(planSchedules([], [wanted])).toEqual([{ kind: 'create', id: wanted.id, desired: wanted }]);
  });

  it('changes nothing when all is as wanted', () => {
    expect(planSchedules([existing(wanted)], [wanted])).toEqual([
      { kind: 'none', id: wanted.id, desired: wanted, paused: false },
    ]);
  });

  it('names each field that differs', () => {
    const other = existing(wanted, { note: 'old' });
    other.fields.time = 'Sunday 02:00';
    expect(planSchedules([other], [wanted])).toMatchObject([
      {
        kind: 'update',
        changes: [
          { field: 'time', from: 'Sunday 02:00', to: 'Monday 02:00' },
          { field: 'note', from: 'old', to: 'weekly' },
        ],
      },
    ]);
  });

  it('keeps the note of a schedule that somebody paused', () => {
    expect(planSchedules([existing(wanted, { paused: true, note: 'stock-taking, mara' })], [wanted])).toMatchObject([
      { kind: 'none', paused: true },
    ]);
  });

  it('never touches a schedule of somebody else, even when it differs', () => {
    const [foreign] = planSchedules([existing(wanted, { owner: undefined, note: 'mine' })], [wanted]);
    expect(foreign).toEqual({ kind: 'foreign', id: wanted.id, desired: wanted });
  });
});

describe('what is said of schedules', () => {
  const wanted = desired();
  it('says what would be created and how to do it', () => {
    const changes = planSchedules([], [wanted]);
    expect([...renderChanges(changes), summaryOf(changes, false)]).toEqual([
      'create   edge-governor/train/edge',
      '  every Monday at 02:00 (Europe/Berlin): launchTrain for fleet edge',
      '  a start missed by an outage is made up for within 6 h; never two at once',
      '1 schedule to change. Nothing was changed yet: edge schedules apply',
    ]);
  });
  it('says of the janitor that it comes every day', () => {
    const janitor = desiredSchedules(fleet())[1] as DesiredSchedule;
    expect(renderChanges(planSchedules([], [janitor]))).toContain(
      '  every day at 05:00 (Europe/Berlin): janitor for fleet edge',
    );
  });
  it('says that a paused one stays paused, and nothing to change', () => {
    const changes = planSchedules([existing(wanted, { paused: true })], [wanted]);
    expect([...renderChanges(changes), summaryOf(changes, true)]).toEqual([
      'same     edge-governor/train/edge (paused; stays paused)',
      'Nothing to change.',
    ]);
  });
});
