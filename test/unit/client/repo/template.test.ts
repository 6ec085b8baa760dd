import { describe, expect, it } from 'vitest';
import { planStages } from '#domain/plan.js';
import { checkRepo } from '#domain/repo-check.js';
import { renderRepo, type RepoOptions } from '#client/repo/template.js';
import { repoFiles } from '../../../support/repo-files.js';

const checked = (options: RepoOptions) => checkRepo(repoFiles(renderRepo(options)));

/** Stage sizes of the plan, by name. */
function sizes(options: RepoOptions): Record<string, number> {
  const { fleet, stores, problems } = checked(options);
  expect(problems).toEqual([]);
  if (!fleet) throw new Error('no fleet');
  const { stages } = planStages({ fleet, stores, today: '2026-11-23' });
  return Object.fromEntries(stages.map((stage) => [stage.name, stage.stores.length]));
}

describe('a rendered repo', () => {
  it.each<[number, Record<string, number>]>([
    [500, { canary: 5, 'wave-1': 50, 'wave-2': 200, 'wave-3': 245 }],
    [300, { canary: 5, 'wave-1': 50, 'wave-2': 200, 'wave-3': 45 }],
    [60, { canary: 5, 'wave-1': 10, 'wave-2': 20, 'wave-3': 25 }],
    [36, { canary: 5, 'wave-1': 10, 'wave-2': 20, 'wave-3': 1 }],
    [8, { canary: 1, 'wave-1': 1, 'wave-2': 3, 'wave-3': 3 }],
    [3, { canary: 1, 'wave-1': 1, 'wave-2': 1 }],
    [2, { canary: 1, 'wave-1': 1 }],
    [1, { canary: 1 }],
  ])('of %d stores has the stages %o', (stores, expected) => {
    expect(sizes({ stores })).toEqual(expected);
  });

  it('passes its own check at every size up to 40, real, practice and compressed', () => {
    for (let stores = 1; stores <= 40; stores += 1) {
      for (const options of [{ stores }, { stores, lab: true, compressed: true }]) {
        const total = Object.values(sizes(options)).reduce((sum, count) => sum + count, 0);
        expect(total).toBe(stores);
      }
    }
  }, 60_000);

  it('has as many guests a store as it is asked for, those that it names among them', () => {
    const guests = (options: RepoOptions) =>
      checked(options).stores.map((store) => store.guests.map(({ vmid, name }) => `${vmid} ${name}`));
    const named = ['101 pos', '102 inventory', '103 cache'];
    expect(guests({ stores: 2 })).toEqual([named, named]);
    expect(checked({ stores: 1, guests: 5 }).problems).toEqual([]);
    expect(guests({ stores: 1, guests: 5 })).toEqual([[...named, '104 extra-1', '105 extra-2']]);
  });

  it('is the same for the same options', () => {
    expect(renderRepo({ stores: 12, lab: true })).toEqual(renderRepo({ stores: 12, lab: true }));
  });

  it('spreads the pilots over the fleet', () => {
    const { stores } = checked({ stores: 500 });
    expect(stores.filter(({ tags }) => tags.includes('pilot')).map(({ id }) => id)).toEqual([
      'store-051',
      'store-151',
      'store-251',
      'store-351',
      'store-451',
    ]);
  });

  it('gives every practice store a /24 of loopback of its own', () => {
    const { stores } = checked({ stores: 401, lab: true });
    const at = (index: number) =>
      stores[index]?.nodes.map(({ address, apiPort, sshPort }) => [address, apiPort, sshPort]);
    expect(at(0)).toEqual([
      ['127.10.0.1', 8006, 2222],
      ['127.10.0.2', 8006, 2222],
      ['127.10.0.3', 8006, 2222],
    ]);
    expect([at(199)?.[0]?.[0], at(200)?.[0]?.[0], at(400)?.[0]?.[0]]).toEqual([
      '127.10.199.1',
      '127.11.0.1',
      '127.12.0.1',
    ]);
    expect(stores[200]?.guests[2]).toMatchObject({ vmid: 103, kind: 'lxc', health: 'http://127.11.0.103:8080/health' });
    const addresses = stores.flatMap(({ nodes }) => nodes.map(({ address }) => address));
    expect(new Set(addresses).size).toBe(1_203);
  });

  it('gives real stores placeholder addresses and the usual ports', () => {
    const { stores } = checked({ stores: 2 });
    expect(stores[1]?.nodes[0]).toEqual({ name: 'n1', address: '10.20.1.11', apiPort: 8006, sshPort: 22 });
  });

  it('compresses the calendar for practice only', () => {
    const wave = (options: RepoOptions) => checked(options).fleet?.stages[1];
    expect(wave({ stores: 60, compressed: true })).toMatchObject({
      soak: 1_000,
      limits: { maxConcurrency: 10, offlineAfter: 8_000, cutOffAfter: 60_000, deferFor: 3_000, storeTimeout: 300_000 },
    });
    expect(wave({ stores: 60, compressed: true })?.window).toBeUndefined();
    expect(wave({ stores: 500, compressed: true })?.limits.maxConcurrency).toBe(50);
    expect(wave({ stores: 60 })).toMatchObject({ soak: 64_800_000, window: { start: '10:00', end: '16:00' } });
  });

  it('backs up every store, tills more strictly tested than the rest, and asks no train for backups yet', () => {
    const { fleet, stores } = checked({ stores: 8 });
    expect(fleet?.backup).toMatchObject({
      window: { start: '22:00', end: '05:00' },
      defaultTier: 'normal',
      tiers: { till: { restoreWeeks: 4 }, normal: { restoreWeeks: 13 } },
      keep: { last: 3, daily: 7, weekly: 4 },
      offsite: { keep: { last: 3, daily: 14, weekly: 8 } },
      collectOn: 'sun',
      storeTimeout: 14_400_000,
    });
    expect(fleet?.recoverability).toBeUndefined();
    expect(stores.filter(({ backup }) => backup === undefined)).toEqual([]);
    expect(stores[0]?.guests.map(({ role, tier, probes }) => [role, tier, probes?.[0]?.command])).toEqual([
      ['pos', 'till', ['/usr/local/bin/pos-selftest']],
      ['inventory', undefined, ['/usr/local/bin/inventory-selftest']],
      ['cache', undefined, ['/usr/local/bin/cache-selftest']],
    ]);
  });

  it('keeps the night at night in practice, and waits there no longer than a train does', () => {
    const { fleet } = checked({ stores: 60, compressed: true });
    const { storeTimeout, offlineAfter, cutOffAfter, deferFor } = fleet?.stages[1]?.limits ?? {};
    expect(fleet?.backup).toMatchObject({
      window: { start: '22:00', end: '05:00' },
      storeTimeout,
      offlineAfter,
      cutOffAfter,
      deferFor,
    });
  });

  it.each([0, -1, 1.5, 10_001, Number.NaN])('refuses %d stores', (stores) => {
    expect(() => renderRepo({ stores })).toThrow(RangeError);
  });

  it.each(['North', 'x: y', '-x', '../x', '42'])('refuses the fleet name %j', (fleet) => {
    expect(() => renderRepo({ stores: 3, fleet })).toThrow(RangeError);
  });

  it('refuses a zone that does not exist', () => {
    expect(() => renderRepo({ stores: 3, timeZone: 'Mars/Base' })).toThrow(/is not a time zone/);
  });
});
