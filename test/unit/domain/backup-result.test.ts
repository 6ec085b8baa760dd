import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { BackedUpGuest, SnapshotFacts } from '#domain/backup.js';
import {
  judgeNight,
  notBegun,
  provenGroups,
  prunableGroups,
  stillAtWork,
  type NightFacts,
} from '#domain/backup-result.js';

const STARTED = new Date('2026-11-26T01:00:00Z');
const NOW = new Date('2026-11-26T04:00:00Z');
const minutes = (count: number): number => STARTED.getTime() / 1_000 + count * 60;

const aGuest = (vmid: number, change: Partial<BackedUpGuest> = {}): BackedUpGuest => ({
  vmid,
  kind: 'qemu',
  name: `guest-${vmid}`,
  template: false,
  ...change,
});
const aSnapshot = (vmid: number, change: Partial<SnapshotFacts> = {}): SnapshotFacts => ({
  type: 'vm',
  id: String(vmid),
  time: minutes(10),
  size: 1_000,
  encrypted: false,
  protected: false,
  verification: { state: 'ok', node: 'pbs-001', at: minutes(60) },
  ...change,
});
const DAMAGED = { verification: { state: 'failed', node: 'pbs-001', at: minutes(60) } } as const;
const lastNight = (vmid: number) =>
  aSnapshot(vmid, { time: minutes(-24 * 60), verification: { state: 'ok', node: 'pbs-001', at: minutes(-23 * 60) } });

/** Two guests, both backed up and verified tonight. */
const aNight = (change: Partial<NightFacts> = {}): NightFacts => ({
  guests: [aGuest(101), aGuest(102)],
  night: 'night-2026-11-26',
  startedAt: STARTED,
  local: { node: 'pbs-001', snapshots: [aSnapshot(101), aSnapshot(102)] },
  runs: [
    { vmid: 101, kind: 'done' },
    { vmid: 102, kind: 'done' },
  ],
  steps: [
    { what: 'verify', ok: true, detail: '' },
    { what: 'prune', ok: true, detail: '' },
  ],
  ...change,
});
const holding = (...snapshots: SnapshotFacts[]): Partial<NightFacts> => ({ local: { node: 'pbs-001', snapshots } });

describe('the groups that a night has proven', () => {
  const which = { night: 'night-2026-11-26', startedAt: STARTED };
  const groupsOf = (guests: BackedUpGuest[] | undefined, ...snapshots: SnapshotFacts[]) =>
    provenGroups(guests, { node: 'pbs-001', snapshots }, which, NOW);

  it('are those of guests of which there is a new backup that its server has verified', () => {
    const guests = [101, 102, 103, 104].map((vmid) => aGuest(vmid));
    const ct = aGuest(105, { kind: 'lxc' });
    expect(
      groupsOf(
        [...guests, ct],
        aSnapshot(101),
        lastNight(102),
        aSnapshot(103, DAMAGED),
        aSnapshot(104, { verification: undefined }),
        aSnapshot(105, { type: 'ct' }),
      ),
    ).toEqual([
      { type: 'vm', id: '101' },
      { type: 'ct', id: '105' },
    ]);
  });

  it('are none of guests of which disks are left out: an older backup may have them', () => {
    expect(
      groupsOf(
        [aGuest(101, { leftOut: ['scsi1'] }), aGuest(102, { leftOut: 'unread' })],
        aSnapshot(101),
        aSnapshot(102),
      ),
    ).toEqual([]);
  });

  it('are none of guests that nobody listed, that are templates, or that another server vouches for', () => {
    const other = aSnapshot(102, { verification: { state: 'ok', node: 'pbs-002', at: minutes(60) } });
    expect(groupsOf([aGuest(101, { template: true }), aGuest(102)], aSnapshot(101), other, aSnapshot(103))).toEqual([]);
    expect(groupsOf(undefined, aSnapshot(101))).toEqual([]);
  });

  it.each<[string, Partial<SnapshotFacts>]>([
    ['damaged', DAMAGED],
    ['not verified yet', { verification: undefined }],
    ['unfinished', { size: undefined }],
  ])('are not pruned while a newer backup is %s, whoever made it', (_, change) => {
    const newer = aSnapshot(101, { time: minutes(20), night: 'backup-20261126-012000', ...change });
    const copy = { node: 'pbs-001', snapshots: [newer, aSnapshot(101), aSnapshot(102), lastNight(102)] };
    const guests = [aGuest(101), aGuest(102)];
    expect(provenGroups(guests, copy, which, NOW)).toHaveLength(2);
    expect(prunableGroups(guests, copy, which, NOW)).toEqual([{ type: 'vm', id: '102' }]);
  });
});

describe('the night of a store', () => {
  it('that it ended in the middle of a step says which one goes on, and what was not begun', () => {
    const steps = [stillAtWork('sync', ''), notBegun('collect', '')];
    expect(judgeNight(aNight({ offsite: { copy: { node: 'pbs-central', snapshots: [] } }, steps }), NOW)).toMatchObject(
      {
        kind: 'partial',
        stop: {
          reason: 'BackupIncomplete',
          summary:
            '2 of 2 guests backed up and verified; not in the second place: guest 101, 102; not done: collect; ' +
            'the night ended while the store still sends to the central server; that goes on.',
        },
      },
    );
  });

  it('that it ended in the middle of a step names it also when the server could not be read', () => {
    const result = judgeNight(aNight({ local: undefined, steps: [stillAtWork('verify', '')] }), NOW);
    expect(result).toMatchObject({
      kind: 'failed',
      stop: { reason: 'FactsUnreadable', summary: expect.stringContaining('still verifies') as string },
    });
  });

  it('succeeded with the guests that store.yaml names among those of the cluster', () => {
    expect(judgeNight(aNight({ named: [101] }), NOW)).toMatchObject({
      kind: 'succeeded',
      summary: '2 of 2 guests backed up and verified.',
    });
  });

  it('did not when a guest that store.yaml names is a template by now: nobody dumps it', () => {
    const guests = [aGuest(101), aGuest(102), aGuest(104, { template: true })];
    expect(judgeNight(aNight({ guests, named: [101, 104] }), NOW)).toMatchObject({
      kind: 'partial',
      stop: {
        reason: 'BackupIncomplete',
        summary: '2 of 3 guests backed up and verified; not guest 104.',
        detail: ['guest 104: it is a template, which nobody dumps, though store.yaml names it'],
      },
    });
  });

  it('did not when disks of a guest are left out, and names them and what to do', () => {
    const guests = [aGuest(101, { leftOut: ['scsi1', 'scsi2'] }), aGuest(102)];
    expect(judgeNight(aNight({ guests }), NOW)).toEqual({
      kind: 'partial',
      stop: {
        reason: 'BackupIncomplete',
        step: 'backup',
        summary: '1 of 2 guests backed up and verified; disks left out of guest 101 (scsi1, scsi2).',
        detail: [
          'guest 101 (guest-101): disks left out: scsi1, scsi2: set backup=1 there, or say in store.yaml that it is meant (withoutDisks)',
        ],
      },
      missing: [expect.objectContaining({ vmid: 101, why: 'disks left out' })],
    });
  });

  it('did not when nobody could read which disks of a guest are left out', () => {
    const guests = [aGuest(101, { leftOut: 'unread' }), aGuest(102)];
    expect(judgeNight(aNight({ guests }), NOW)).toMatchObject({
      kind: 'partial',
      stop: {
        reason: 'BackupIncomplete',
        summary: '1 of 2 guests backed up and verified; disks left out of guest 101 (nobody could read which).',
      },
    });
  });

  it('is partial, not failed, when every guest has a backup that lacks disks', () => {
    const guests = [aGuest(101, { leftOut: ['scsi1'] }), aGuest(102, { leftOut: ['scsi1'] })];
    expect(judgeNight(aNight({ guests }), NOW)).toMatchObject({
      kind: 'partial',
      stop: { reason: 'BackupIncomplete' },
      missing: [{ vmid: 101 }, { vmid: 102 }],
    });
  });

  it('says of a guest that has no backup at all that, not what it would lack', () => {
    const guests = [aGuest(101, { leftOut: ['scsi1'] }), aGuest(102)];
    expect(judgeNight(aNight({ guests, ...holding(aSnapshot(102)) }), NOW)).toMatchObject({
      stop: { summary: '1 of 2 guests backed up and verified; not guest 101.' },
      missing: [{ vmid: 101, why: 'nothing new' }],
    });
  });

  it('succeeded when there is no guest, and never was', () => {
    expect(judgeNight(aNight({ guests: [], ...holding() }), NOW).kind).toBe('succeeded');
  });

  it('succeeded when every guest has a new proven backup and every step ended well', () => {
    expect(judgeNight(aNight(), NOW)).toEqual({
      kind: 'succeeded',
      summary: '2 of 2 guests backed up and verified.',
    });
  });

  it('succeeded with what an earlier round of this night has made', () => {
    const before = aSnapshot(102, { time: minutes(-30), night: 'night-2026-11-26' });
    expect(judgeNight(aNight(holding(aSnapshot(101), before)), NOW).kind).toBe('succeeded');
  });

  it('did not with what was made for another night, however young', () => {
    const other = aSnapshot(102, { time: minutes(1), night: 'backup-20261126-005900' });
    expect(judgeNight(aNight(holding(aSnapshot(101), other)), NOW)).toMatchObject({
      kind: 'partial',
      missing: [{ vmid: 102, why: 'nothing new' }],
    });
  });

  describe('with a second place', () => {
    const there = (...snapshots: SnapshotFacts[]): Partial<NightFacts> => ({
      offsite: {
        copy: {
          node: 'pbs-central',
          snapshots: snapshots.map((one) => ({
            ...one,
            verification: { state: 'ok', node: 'pbs-central', at: minutes(90) },
          })),
        },
      },
    });

    it('succeeded when what is new is proven there too', () => {
      expect(judgeNight(aNight(there(aSnapshot(101), aSnapshot(102))), NOW).kind).toBe('succeeded');
    });

    it.each([
      ['lacks a guest', there(aSnapshot(101))],
      ['has only what is old of a guest', there(aSnapshot(101), lastNight(102))],
      ['has not verified it itself', { offsite: { copy: { node: 'pbs-central', snapshots: [aSnapshot(102)] } } }],
      ['could not be read', { offsite: { copy: undefined } }],
    ])('is partial when that %s, whatever the steps said', (_, change) => {
      const result = judgeNight(aNight(change), NOW);
      expect(result).toMatchObject({ kind: 'partial', missing: [], stop: { reason: 'BackupIncomplete' } });
      expect(JSON.stringify(result)).toMatch(/not in the second place: guest .*102/);
    });
  });

  it('is not green when both servers have one name: nobody knows which of them has verified what', () => {
    const copy = { node: 'pbs-001', snapshots: [aSnapshot(101), aSnapshot(102)] };
    const result = judgeNight(aNight({ offsite: { copy } }), NOW);
    expect(result).toMatchObject({ kind: 'partial', missing: [], stop: { reason: 'BackupIncomplete' } });
    expect(JSON.stringify(result)).toMatch(/both backup servers are called pbs-001,.*give each a host name of its own/);
    expect(JSON.stringify(result)).toMatch(/not in the second place: guest 101, 102/);
  });

  describe('with an old snapshot that is damaged', () => {
    const old = (vmid: number) => ({ ...lastNight(vmid), ...DAMAGED });
    const FAILED_STEP = { what: 'verify', ok: false, detail: 'vm/102: verification failed' } as const;

    it('names the snapshot and what to do with it, though all guests have a newer one that is proven', () => {
      const steps = [{ ...FAILED_STEP, reason: 'BackupVerifyFailed' as const }];
      const night = aNight({ ...holding(aSnapshot(101), aSnapshot(102), old(102)), steps });
      const result = judgeNight(night, NOW);
      expect(result).toMatchObject({ kind: 'partial', missing: [], stop: { reason: 'BackupVerifyFailed' } });
      const { summary, detail = [] } = (result as Extract<typeof result, { stop: object }>).stop;
      expect(summary).toBe(
        '2 of 2 guests backed up and verified; a verification found damage. Damaged: vm/102/2026-11-25T01:00:00Z.',
      );
      expect(detail[0]).toMatch(/^snapshot vm\/102\/2026-11-25T01:00:00Z: .*forget this one there, or leave it/);
    });

    it('is not green whatever the steps said, and says to keep one that nothing newer replaces', () => {
      const result = judgeNight(aNight(holding(aSnapshot(101), old(102))), NOW);
      expect(result).toMatchObject({ kind: 'partial', stop: { reason: 'BackupVerifyFailed' } });
      expect(JSON.stringify(result)).toContain('no newer one of the guest is proven: keep it until one is');
    });

    const GONE = /the cluster has no such guest any more, so no newer one will come: forget it there when nobody/;
    const TEMPLATE =
      /the guest is a template, which nobody dumps, so no newer one will come: forget it there when nobody/;
    const KEEP = /no newer one of the guest is proven: keep it until one is/;
    it.each<[string, RegExp, Partial<NightFacts>]>([
      ['of a guest that is gone', GONE, {}],
      ['of a VM whose number a container has now', GONE, { guests: [aGuest(101), aGuest(103, { kind: 'lxc' })] }],
      ['of a guest that is a template by now', TEMPLATE, { guests: [aGuest(101), aGuest(103, { template: true })] }],
      ['of a guest that is still there', KEEP, { guests: [aGuest(101), aGuest(103)] }],
      ['of a guest that store.yaml names and that may come back', KEEP, { named: [103] }],
      ['of a guest of whom nobody knows whether it is there', KEEP, { guests: undefined }],
      ['of a guest that is missing from a list that nobody believes', KEEP, { guests: [] }],
    ])('%s says what ends it, and is not green before', (_, advice, change) => {
      const copies = holding(aSnapshot(101), old(103));
      const result = judgeNight(aNight({ guests: [aGuest(101)], ...copies, ...change }), NOW);
      if (result.kind === 'succeeded') throw new Error('it is green');
      expect(result.stop.summary).toContain('Damaged: vm/103/2026-11-25T01:00:00Z.');
      expect(result.stop.detail?.join('\n')).toMatch(advice);
    });

    it('of a guest that is gone may be forgotten at once when a newer one is proven: pruning may leave it', () => {
      const older = { ...old(103), time: minutes(-48 * 60) };
      const result = judgeNight(
        aNight({ guests: [aGuest(101)], ...holding(aSnapshot(101), lastNight(103), older) }),
        NOW,
      );
      expect(JSON.stringify(result)).toContain('a newer one of the guest is proven, so forget this one there"');
    });

    it('in the second place says so', () => {
      const there = (one: SnapshotFacts, state: 'ok' | 'failed' = 'ok'): SnapshotFacts => ({
        ...one,
        verification: { state, node: 'pbs-central', at: minutes(90) },
      });
      const copy = {
        node: 'pbs-central',
        snapshots: [there(aSnapshot(101)), there(aSnapshot(102)), there(lastNight(102), 'failed')],
      };
      const result = judgeNight(aNight({ offsite: { copy } }), NOW);
      expect(result).toMatchObject({ stop: { reason: 'BackupVerifyFailed' } });
      expect(JSON.stringify(result)).toContain('Damaged: vm/102/2026-11-25T01:00:00Z at the central server.');
    });
  });

  describe('and encryption', () => {
    const KEY = 'aa:'.repeat(31) + 'aa';
    const SEALED = { encrypted: true, keyFingerprint: KEY } as const;
    const sealed = (one: SnapshotFacts): SnapshotFacts => ({ ...one, ...SEALED });
    const before = [101, 102].map((vmid) => sealed(lastNight(vmid)));
    const offsite = {
      copy: {
        node: 'pbs-central',
        snapshots: [aSnapshot(101, SEALED), aSnapshot(102), ...before].map((one): SnapshotFacts => ({
          ...one,
          verification: { state: 'ok', node: 'pbs-central', at: minutes(90) },
        })),
      },
    };

    it.each<[string, string, Partial<NightFacts>]>([
      [
        'an earlier one is encrypted',
        'its new backup is not encrypted, though an earlier one is',
        holding(aSnapshot(101, SEALED), aSnapshot(102), ...before),
      ],
      [
        'an earlier one in the second place is encrypted',
        'its new backup is not encrypted, though an earlier one is',
        { ...holding(aSnapshot(101, SEALED), aSnapshot(102)), offsite },
      ],
      [
        'fleet.yaml asks for it, whatever was before',
        'its new backup is not encrypted, though fleet.yaml asks for it',
        { ...holding(aSnapshot(101, SEALED), aSnapshot(102), lastNight(102)), encrypted: true },
      ],
    ])('is not green with a guest whose new backup is in clear when %s', (_, because, change) => {
      const result = judgeNight(aNight(change), NOW);
      expect(result).toMatchObject({
        kind: 'partial',
        missing: [],
        stop: {
          reason: 'BackupUnencrypted',
          summary: '2 of 2 guests backed up and verified; not encrypted: guest 102.',
          detail: [`guest 102 (guest-102): ${because}`],
        },
      });
    });

    it.each<[string, Partial<NightFacts>]>([
      [
        'all is encrypted, as fleet.yaml asks',
        { ...holding(...[101, 102].map((vmid) => sealed(aSnapshot(vmid)))), encrypted: true },
      ],
      ['nothing ever was', holding(aSnapshot(101), aSnapshot(102), lastNight(102))],
      [
        'fleet.yaml says that none has to be',
        { ...holding(aSnapshot(101), aSnapshot(102), ...before), encrypted: false },
      ],
      [
        'one in clear was made anew in the same night',
        holding(sealed(aSnapshot(101)), aSnapshot(102), sealed(aSnapshot(102, { time: minutes(30) }))),
      ],
      [
        'all is encrypted, and a later try broke off',
        holding(
          ...[101, 102].map((vmid) => sealed(aSnapshot(vmid))),
          aSnapshot(101, { time: minutes(30), size: undefined }),
        ),
      ],
    ])('is green when %s', (_, change) => {
      expect(judgeNight(aNight(change), NOW).kind).toBe('succeeded');
    });

    it('says first what is graver', () => {
      const clear = { ...holding(aSnapshot(101), aSnapshot(102, DAMAGED)), encrypted: true };
      expect(judgeNight(aNight(clear), NOW)).toMatchObject({ stop: { reason: 'BackupVerifyFailed' } });
    });
  });

  describe('whose dump was refused as a whole', () => {
    const refusal = { reason: 'DatastoreFull', step: 'open dump', summary: 'The datastore has no room.' } as const;
    const steps = [{ what: 'verify', ok: false, detail: 'vm/101 is damaged', reason: 'BackupVerifyFailed' }] as const;
    const earlier = holding({ ...lastNight(101), ...DAMAGED }, lastNight(102));

    it.each([
      ['and whose guests were read', {}, '0 of 2 guests backed up and verified; not guest 101, 102'],
      ['and whose guests nobody has read', { guests: undefined }, 'nobody has read the guests of the cluster'],
    ])('%s tells what a verification found all the same', (_, change, words) => {
      const result = judgeNight(aNight({ ...earlier, steps, refusal, runs: [], ...change }), NOW);
      expect(result).toMatchObject({ kind: 'failed', stop: { reason: 'DatastoreFull', step: 'open dump' } });
      const { stop } = result as Extract<typeof result, { stop: object }>;
      expect(stop.summary).toBe('The datastore has no room. Damaged: vm/101/2026-11-25T01:00:00Z.');
      expect(stop.detail?.[0]).toContain(words);
      expect(stop.detail).toContain('verify: vm/101 is damaged');
    });

    it('succeeded when what this night has made is proven', () => {
      expect(judgeNight(aNight({ refusal }), NOW).kind).toBe('succeeded');
    });
  });

  it('has the reason of a step that was refused, or lacked space', () => {
    const of = (reason: 'BackupRefused' | 'DatastoreFull') =>
      judgeNight(aNight({ steps: [{ what: 'prune', ok: false, detail: 'no', reason }] }), NOW);
    expect(of('BackupRefused')).toMatchObject({ kind: 'partial', stop: { reason: 'BackupRefused' } });
    expect(of('DatastoreFull')).toMatchObject({ kind: 'partial', stop: { reason: 'DatastoreFull' } });
  });

  it('succeeded though a job said that it failed, when the server has the proof', () => {
    const runs = [{ vmid: 101, kind: 'unknown' } as const];
    expect(judgeNight(aNight({ runs }), NOW).kind).toBe('succeeded');
  });

  it('needs nothing of templates', () => {
    const guests = [aGuest(101), aGuest(102), aGuest(900, { template: true })];
    expect(judgeNight(aNight({ guests }), NOW).kind).toBe('succeeded');
  });

  const rows: Record<string, [Partial<NightFacts>, kind: 'partial' | 'failed', reason: string, detail: string[]]> = {
    'is partial when a guest has nothing new, whatever the job said': [
      holding(aSnapshot(101), lastNight(102)),
      'partial',
      'BackupIncomplete',
      ['guest 102 (guest-102): nothing new'],
    ],
    'is partial when a new backup is not verified yet': [
      holding(aSnapshot(101), aSnapshot(102, { verification: undefined })),
      'partial',
      'BackupIncomplete',
      ['guest 102 (guest-102): not verified'],
    ],
    'is partial when a new backup is damaged, and says so': [
      holding(aSnapshot(101), aSnapshot(102, DAMAGED)),
      'partial',
      'BackupVerifyFailed',
      [
        'guest 102 (guest-102): verification failed',
        expect.stringMatching(/^snapshot vm\/102\/2026-11-26T01:10:00Z: /),
      ],
    ],
    'is partial when only another server vouches for a backup': [
      holding(aSnapshot(101), aSnapshot(102, { verification: { state: 'ok', node: 'central', at: minutes(60) } })),
      'partial',
      'BackupIncomplete',
      ['guest 102 (guest-102): verified by another server'],
    ],
    'is partial when all guests are there but a step is not': [
      { steps: [{ what: 'sync', ok: false, detail: 'WARNINGS: 1' }] },
      'partial',
      'BackupIncomplete',
      ['sync: WARNINGS: 1'],
    ],
    'is partial with what the guest said': [
      {
        ...holding(aSnapshot(101)),
        runs: [{ vmid: 102, kind: 'failed', text: 'VM is locked (backup)', failure: 'lock' }],
      },
      'partial',
      'BackupIncomplete',
      ['guest 102 (guest-102): nothing new: VM is locked (backup)'],
    ],
    'is partial when a guest that the job does not know has nothing': [
      {
        guests: [aGuest(101), aGuest(102), aGuest(103, { kind: 'lxc' })],
        ...holding(aSnapshot(101), aSnapshot(102), aSnapshot(103)),
      },
      'partial',
      'BackupIncomplete',
      ['guest 103 (guest-103): nothing new'],
    ],
    'failed when no guest has a new proven backup': [
      holding(lastNight(101), lastNight(102)),
      'failed',
      'BackupFailed',
      ['guest 101 (guest-101): nothing new', 'guest 102 (guest-102): nothing new'],
    ],
    'failed for want of space': [
      { ...holding(), runs: [{ vmid: 101, kind: 'failed', text: 'ENOSPC', failure: 'space' }] },
      'failed',
      'DatastoreFull',
      ['guest 101 (guest-101): nothing new: ENOSPC', 'guest 102 (guest-102): nothing new'],
    ],
    'failed by its credentials, which is said before anything else': [
      {
        ...holding(aSnapshot(101, DAMAGED)),
        runs: [
          { vmid: 101, kind: 'failed', text: 'ENOSPC', failure: 'space' },
          { vmid: 102, kind: 'failed', text: 'permission check failed', failure: 'credentials' },
        ],
      },
      'failed',
      'BackupRefused',
      [
        'guest 101 (guest-101): verification failed: ENOSPC',
        'guest 102 (guest-102): nothing new: permission check failed',
        expect.stringMatching(/^snapshot vm\/101/),
      ],
    ],
    'is partial when the cluster does not list a guest that store.yaml names': [
      { named: [101, 104] },
      'partial',
      'BackupIncomplete',
      ['guest 104: the cluster does not list it, though store.yaml names it'],
    ],
    'failed when the cluster lists none of the guests that store.yaml names': [
      { guests: [], ...holding(), runs: [], named: [101, 104] },
      'failed',
      'BackupFailed',
      [
        'guest 101: the cluster does not list it, though store.yaml names it',
        'guest 104: the cluster does not list it, though store.yaml names it',
      ],
    ],
    'failed when the cluster lists nobody, and the server has backups of guests': [
      { guests: [], runs: [] },
      'failed',
      'FactsUnreadable',
      ['the cluster lists no guest, and the backup server has backups of guest 101, 102'],
    ],
    'failed when the guests could not be read': [
      { guests: undefined },
      'failed',
      'FactsUnreadable',
      ['nobody has read the guests of the cluster'],
    ],
    'failed when the server could not be read': [
      { local: undefined },
      'failed',
      'FactsUnreadable',
      ['the backup server could not be read'],
    ],
  };
  it.each(Object.entries(rows))('%s', (_words, [change, kind, reason, detail]) => {
    const result = judgeNight(aNight(change), NOW);
    expect(result).toMatchObject({ kind, stop: { reason, step: 'backup', detail } });
  });

  it('tells how many are proven and who is missing', () => {
    const guests = Array.from({ length: 9 }, (_, at) => aGuest(101 + at));
    const steps = [{ what: 'prune', ok: false, detail: 'no' } as const];
    expect(judgeNight(aNight({ guests, steps }), NOW)).toMatchObject({
      stop: {
        summary: '2 of 9 guests backed up and verified; not guest 103, 104, 105, 106, 107 and 2 more; not done: prune.',
      },
    });
  });

  it('is green only when every guest is proven and no step is missing', () => {
    const state = fc.constantFrom('proven', 'unverified', 'damaged', 'unfinished', 'old', 'none');
    fc.assert(
      fc.property(fc.array(state, { minLength: 1, maxLength: 6 }), fc.boolean(), (states, ok) => {
        const snapshots = states.flatMap((word, at) => {
          if (word === 'none') return [];
          if (word === 'old') return [lastNight(101 + at)];
          const change = {
            proven: {},
            unverified: { verification: undefined },
            damaged: DAMAGED,
            unfinished: { size: undefined },
          };
          return [aSnapshot(101 + at, change[word])];
        });
        const guests = states.map((_, at) => aGuest(101 + at));
        const steps = [{ what: 'sync', ok, detail: '' } as const];
        const { kind } = judgeNight(aNight({ guests, steps, runs: [], ...holding(...snapshots) }), NOW);
        const proven = states.filter((word) => word === 'proven').length;
        expect(kind).toBe(proven === states.length && ok ? 'succeeded' : proven === 0 ? 'failed' : 'partial');
      }),
    );
  });
});
