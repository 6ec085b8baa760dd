import { describe, expect, it } from 'vitest';
import { renderFleetStatus, renderGuestStatus, renderNights, renderStoreStatus } from '#client/cli/render-backup.js';
import { renderNight } from '#client/cli/render-night.js';
import { run } from '#client/cli/main.js';
import { backupStatus } from '#domain/backup-status.js';
import type { NightView } from '#domain/messages/backup.js';
import type { GuestBackupRow } from '#domain/messages/ledger.js';
import { emptyTally } from '#domain/outcomes.js';
import { fleet as aFleet, store as aStore } from '../builders.js';
import { fakeIo } from './fake-io.js';

const now = new Date('2026-11-26T12:00:00Z');
const clock = { zone: 'UTC', now };
const HOUR = 3_600_000;
const ago = (hours: number): string => new Date(now.getTime() - hours * HOUR).toISOString();
const fleet = aFleet({
  backup: {
    window: { start: '22:00', end: '05:00' },
    tiers: { normal: { rpo: { local: '26h', offsite: '50h' }, restoreWeeks: 13 } },
    defaultTier: 'normal',
    keep: { daily: 7 },
    offsite: { keep: { daily: 14 } },
  },
});
const guests = [
  { vmid: 101, name: 'pos', kind: 'qemu' },
  { vmid: 102, name: 'cache', kind: 'lxc' },
];
const stores = ['store-001', 'store-002'].map((id) => aStore(id, { backup: {}, guests }));
const aRow = (store: string, vmid: number, hours: number, change: Partial<GuestBackupRow> = {}): GuestBackupRow => ({
  fleet: 'edge',
  store,
  vmid,
  name: vmid === 101 ? 'pos' : 'cache',
  kind: 'qemu',
  tier: 'normal',
  rpoLocalMs: 26 * HOUR,
  rpoOffsiteMs: 50 * HOUR,
  local: { readAt: ago(1), provenAt: ago(hours), size: 4 * 1024 ** 3, encrypted: true },
  offsite: { readAt: ago(1), provenAt: ago(hours) },
  firstSeen: ago(1_000),
  seenAt: ago(1),
  ...change,
});
const statusOf = (...rows: GuestBackupRow[]) =>
  backupStatus({ fleet, stores: [...stores, aStore('store-003', { guests })], rows, now });
const well = ['store-001', 'store-002'].flatMap((store) => [aRow(store, 101, 2), aRow(store, 102, 2)]);

describe('the status of a fleet', () => {
  it('is short when all is well, and names the stores that nobody backs up', () => {
    expect(renderFleetStatus(statusOf(...well))).toEqual([
      'Backups of 2 stores, 4 guests:',
      '  Stores, by their worst guest: ok 2',
      '  Guests, at the store: ok 4',
      '  Guests, in the second place: ok 4',
      'Every guest has a proven backup that is young enough.',
      'Nobody backs these up (no section backup in store.yaml or fleet.yaml): store-003',
    ]);
  });

  it('names the worst first, with its age against the objective, and how to see more', () => {
    const lines = renderFleetStatus(statusOf(...well.slice(0, 3), aRow('store-002', 102, 60)));
    expect(lines).toContain('  Stores, by their worst guest: ok 1, breach 1');
    expect(lines.find((line) => line.startsWith('  store-002'))).toMatch(
      /BREACH +2 d 12 h old at the store, may be 26 h: guest 102 \(cache\)/,
    );
    expect(lines).toContain('  Guests, in the second place: ok 3, late 1');
    expect(lines).toContain('See one of them: edge backup status store-002');
  });
});

describe('the status of a store whose backups lack disks', () => {
  const lacking = { readAt: ago(1), unprovenAt: ago(2), unprovenWhy: 'disks left out' as const };
  const textOf = (leftOut: GuestBackupRow['leftOut'], change: Partial<GuestBackupRow> = {}) => {
    const row = aRow('store-002', 102, 2, { local: lacking, offsite: lacking, leftOut, ...change });
    const [store] = statusOf(...well.slice(0, 3), row).stores;
    return renderStoreStatus(store!, clock).join('\n').replaceAll(/\s+/g, ' ');
  };

  it('names the guest, the disks and what to do', () => {
    const text = textOf({ disks: ['mp0', 'mp1'], at: ago(1) });
    expect(text).toMatch(/^store-002: NEVER\./);
    expect(text).toContain(
      'Guest 102: disks left out: mp0, mp1: set backup=1 there, or say in store.yaml that it is meant (withoutDisks).',
    );
  });

  it('says so when nobody could read which', () => {
    expect(textOf({ disks: [], at: ago(1) })).toContain('Guest 102: disks left out: nobody could read which.');
  });

  it('says nothing of it any more once a newer backup has all disks, wherever it has got to', () => {
    const whole = { readAt: ago(1), provenAt: ago(2) };
    for (const offsite of [whole, { readAt: ago(1) }])
      expect(textOf({ disks: ['mp0'], at: ago(9) }, { local: whole, offsite })).not.toContain('left out');
  });
});

describe('the status of a store', () => {
  const [worst] = statusOf(
    ...well.slice(0, 3),
    aRow('store-002', 102, 2, {
      local: { readAt: ago(1), provenAt: ago(30), unprovenAt: ago(2), unprovenWhy: 'verification failed' },
      name: 'ca\u001b[31mche\nx',
    }),
  ).stores;

  it('shows each guest in both places, why a newer backup does not count, and what to do', () => {
    const text = renderStoreStatus(worst!, clock).join('\n');
    expect(text).toMatch(/^store-002: LATE\. 2 guests/);
    expect(text).toMatch(/101 pos +ok, 2 h +ok, 2 h +4\.0 GiB +yes/);
    expect(text.replaceAll(/\s+/g, ' ')).toContain(
      'Guest 102: a newer backup at the store, of Thu 10:00 (UTC), is not proven: verification failed',
    );
    expect(text).toContain('Back it up now: edge backup run --store store-002');
    expect(text).not.toContain('\u001b');
  });

  it('says of a guest what became of it in the last nights', () => {
    const text = renderGuestStatus(
      worst!.guests[0]!,
      [
        { night: 'night-2026-11-26', store: 'store-002', vmid: 102, name: 'cache', result: 'verification failed' },
        { night: 'night-2026-11-25', store: 'store-002', vmid: 102, name: 'cache', result: 'proven', offsite: true },
      ],
      clock,
    ).join('\n');
    expect(text).toContain('At the store: late, 30 h; it may be 26 h');
    expect(text).toMatch(/night-2026-11-25 +proven, proven in the second place/);
  });

  const keyed = (vmid: number, keyFingerprint: string | undefined, encrypted = true) =>
    aRow('store-001', vmid, 2, { local: { readAt: ago(1), provenAt: ago(2), encrypted, keyFingerprint } });
  const [A, B] = ['aa', 'bb'].map((byte) => Array(32).fill(byte).join(':')) as [string, string];

  it('shows the key that the newest backups need, in short', () => {
    const linesOf = (...rows: GuestBackupRow[]) =>
      renderStoreStatus(
        statusOf(...rows).stores.find((one) => one.store === 'store-001')!,
        clock,
      ).filter((line) => line.includes('Encrypted with'));
    expect(linesOf(keyed(101, A), keyed(102, A))).toEqual(['  Encrypted with key aa:aa:aa:aa:aa:aa:aa:aa']);
    expect(linesOf(keyed(101, A), keyed(102, B))).toEqual([
      '  Encrypted with key aa:aa:aa:aa:aa:aa:aa:aa (guest 101)',
      '  Encrypted with key bb:bb:bb:bb:bb:bb:bb:bb (guest 102)',
    ]);
    expect(linesOf(keyed(101, 'aa\u001b[2J'), keyed(102, undefined))).toEqual(['  Encrypted with key unreadable']);
    const [guest] = statusOf(keyed(101, A))
      .stores.find((one) => one.store === 'store-001')!
      .guests.slice(-1);
    expect(renderGuestStatus(guest!, [], clock)[0]).toMatch(/encrypted with key aa:aa:aa:aa:aa:aa:aa:aa$/);
  });

  it('shows how full the datastores are, and says so of the fleet when it is too much', () => {
    const GIB = 1024 ** 3;
    const of = { fleet: 'edge', store: 'store-001', readAt: ago(2) };
    const datastores = [
      { ...of, place: 'local' as const, total: 1_000 * GIB, used: 979 * GIB, stillBad: 2 },
      { ...of, place: 'offsite' as const },
    ];
    const status = backupStatus({ fleet, stores, rows: [], datastores, now });
    for (const rows of [[], well]) {
      const [first] = backupStatus({ fleet, stores, rows, datastores, now }).stores;
      const text = renderStoreStatus(first!, clock).join(' ').replaceAll(/\s+/g, ' ');
      expect(text).toContain(
        'Datastore at the store: 97 % full, 979.0 GiB of 1000.0 GiB; 2 damaged parts that no backup has written anew, read Thu 10:00 (UTC)',
      );
      expect(text).toContain('Datastore of the second place: the server does not say how full it is, read Thu 10:00');
    }
    expect(renderFleetStatus(status).join(' ')).toContain('nearly full: store-001 (97 %)');
  });

  it('says of a backup in clear that it should not be, of the store and of the fleet', () => {
    const status = backupStatus({
      fleet: { ...fleet, backup: { ...fleet.backup!, encrypted: true } },
      stores,
      rows: [keyed(101, A), keyed(102, undefined, false)],
      now,
    });
    const text = renderStoreStatus(
      status.stores.find((one) => one.store === 'store-001')!,
      clock,
    ).join(' ');
    expect(text.replaceAll(/\s+/g, ' ')).toContain('Guest 102: its backup is not encrypted, though fleet.yaml asks');
    expect(renderFleetStatus(status).join(' ')).toContain('The newest backups of 1 guest are not encrypted');
  });

  it('says that nobody has looked when that is so', () => {
    const [silent] = statusOf(aRow('store-001', 101, 2, { local: { readAt: ago(40), provenAt: ago(41) } })).stores;
    expect(renderStoreStatus(silent!, clock).join('\n')).toContain('was last read Tue 20:00');
  });
});

describe('nights', () => {
  it('are listed with what came of them', () => {
    const tally = { ...emptyTally(), succeeded: 59, failed: 1 };
    const row = {
      id: 'night-2026-11-25',
      fleet: 'edge',
      state: 'done',
      stores: 60,
      tally,
      startedAt: ago(14),
      endedAt: ago(11),
    };
    expect(renderNights([row], clock).slice(1)).toEqual([
      '  Wed 22:00  night-2026-11-25  done, took 3 h',
      '    60 stores: succeeded 59, failed 1',
    ]);
    expect(renderNights([], clock)).toEqual(['No night of backups is on record. Start one: edge backup run']);
  });

  it('under way say what is not begun any more when, and what to do about what failed', () => {
    const view: NightView = {
      night: 'night-2026-11-26',
      fleet: 'edge',
      state: 'running',
      startedAt: ago(2),
      closes: ago(-5),
      doing: 'Backs up each store at its own moment of the window.',
      stores: 60,
      inFlight: 3,
      tally: { ...emptyTally(), succeeded: 10, failed: 1 },
      notSucceeded: [
        {
          store: 'store-007',
          outcome: 'failed',
          reason: 'DatastoreFull',
          stop: { reason: 'DatastoreFull', summary: 'no room' },
        },
      ],
    };
    expect(renderNight(view, clock)).toEqual([
      'Night night-2026-11-26: running, since Thu 10:00 (UTC).',
      '  Backs up each store at its own moment of the window.',
      '  11 of 60 stores ended: succeeded 10, failed 1; in work 3',
      '  Nothing is begun after Thu 17:00 (UTC).',
      '  store-007: failed (DatastoreFull: no room)',
      'What to do: edge runbook DatastoreFull',
    ]);
  });
});

describe('wrong usage', () => {
  it.each([
    [['backup', 'status', '--guest', '101'], /Of which store\?/],
    [['backup', 'status', '--state', 'green', '--repo', '/nowhere'], /green is not a state\. There are: ok, late/],
    [['backup', 'history', '--limit', '0', '--fleet', 'edge'], /--limit is a number/],
  ])('of %j is told with its remedy', async (argv, words) => {
    const io = fakeIo();
    expect(await run(argv, io)).toBe(2);
    expect(io.stderr()).toMatch(words);
  });
});
