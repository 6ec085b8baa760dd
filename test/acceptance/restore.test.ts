import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import type { LabEntry } from '#client/cli/lab-client.js';
import type { NightReport } from '#domain/messages/backup.js';
import type { RestoreTestRow } from '#domain/messages/ledger.js';
import type { RestoreInput, RestoreReport } from '#domain/messages/restore.js';
import { trainWorkflowId } from '#domain/naming.js';
import { openLedgerReader } from '#systems/ledger/client.js';
import type { LedgerReader } from '#systems/ledger/types.js';
import { givenPractice, type Practice } from '../support/practice.js';

/**
 * Restore tests at the practice fleet's staging site, from what the stores have sent to the central server. Judged by the
 * journal: no guest of it, no storage, no bridge with a port is touched, and nothing restored is left behind.
 */
const [CALM, ROTTEN, CRASHED] = [1, 2, 3].map((n) => `store-00${n}`) as [string, string, string];

let practice: Practice;
let ledger: LedgerReader;
beforeAll(async () => {
  practice = await givenPractice({
    stores: 3,
    edit: (fleet) => {
      fleet['recoverability'] = { backupYoungerThan: '2d', restoreYoungerThan: '91d' };
    },
  });
  ledger = openLedgerReader(practice.service.databaseUrl, { connections: 1 });
  const night = await practice.startNight();
  expect((await night.result()) as NightReport).toMatchObject({ state: 'done', tally: { succeeded: 3 } });
});
afterEach(async () => {
  expect(await practice.violations()).toEqual([]);
});
afterAll(async () => {
  await ledger?.close();
  await practice?.stop();
});

const runOver = async (input?: Partial<RestoreInput>): Promise<{ report: RestoreReport; rows: RestoreTestRow[] }> => {
  const report = (await (await practice.startRestores(input)).result()) as RestoreReport;
  return { report, rows: await ledger.restoreTests(report.run) };
};
const atSite = async (effect: string): Promise<LabEntry[]> =>
  (await practice.lab.journal(0)).filter((entry) => entry.store === 'staging' && entry.effect === effect);

describe('a train of a fleet that asks whether its stores could be had back', () => {
  it('takes no store as long as no restore has proven it', async () => {
    await practice.startTrain();
    const view = await practice.until('it to stand', ({ hold }) => hold?.reason === 'NotEnoughFacts', {
      approving: true,
    });
    expect(view.notSucceeded).toMatchObject([{ outcome: 'skipped', reason: 'NoRestoreProof' }]);
    const touched = (await practice.lab.journal(0)).filter(({ effect }) =>
      /^(maintenance|package|reboot|noout)/.test(effect),
    );
    expect(touched).toEqual([]);
  });
});

describe('a run of restore tests', () => {
  it('has guests back from the central server, measures how long that took and what was lost, and takes them away', async () => {
    const { report, rows } = await runOver({ stores: [CALM] });
    expect(report).toMatchObject({ state: 'done', planned: 1, tally: { succeeded: 1 } });
    expect(rows.map(({ vmid, result }) => [vmid, result])).toEqual([
      [101, 'pass'],
      [102, 'pass'],
      [103, 'pass'],
    ]);
    for (const row of rows) {
      expect(row.rtoMs).toBeGreaterThanOrEqual((row.restoreMs ?? 0) + (row.bootMs ?? 0));
      expect(row.rpoMs).toBeGreaterThanOrEqual(0);
      expect(row.bytes).toBeGreaterThan(0);
    }
    expect(await atSite('guest.restore')).toHaveLength(3);
    expect((await practice.snapshot('staging')).guests.filter(({ restored }) => restored)).toEqual([]);
    // The stores know nothing of it.
    expect((await practice.effects(CALM)).filter(({ effect }) => effect.startsWith('guest.'))).toEqual([]);
  });

  it('by its schedule takes who is due, those first that were never tried', async () => {
    const { report, rows } = await runOver();
    expect(report.run).toMatch(/^restores-\d{4}-w\d\d$/);
    expect(rows.length).toBeGreaterThan(0);
    expect(rows.map(({ store }) => store)).not.toContain(CALM);
    expect(new Set(rows.map(({ why }) => why))).toEqual(new Set(['never tested']));
  });
});

describe('a copy that has rotted', () => {
  it('is found out by the guest that is restored from it, and named', async () => {
    await practice.lab.addFault({
      kind: 'chunk-corrupt',
      store: 'central',
      params: { vmid: 101, ns: ROTTEN },
      id: 'rot',
    });
    const { report, rows } = await runOver({ stores: [ROTTEN] });
    expect(report).toMatchObject({ state: 'done', tally: { failed: 1 } });
    expect(rows.map(({ vmid, result }) => [vmid, result])).toEqual([
      [101, 'fail'],
      [102, 'pass'],
      [103, 'pass'],
    ]);
    const [results] = await ledger.results(report.run);
    expect(results).toMatchObject({ store: ROTTEN, outcome: 'failed', reason: 'RestoreTestFailed' });
    await practice.lab.removeFault('rot');
  });
});

describe('a run that is disturbed', () => {
  it('restores each guest once although the site’s worker and then the control worker are killed meanwhile', async () => {
    const before = (await atSite('guest.restore')).length;
    await practice.lab.addFault({ kind: 'restore-slow', store: 'staging', params: { factor: 8 }, id: 'slow' });
    const handle = await practice.startRestores({ stores: [CRASHED], vmids: [101, 103] });
    await practice.storeIs('a guest that is being restored', 'staging', ({ guests }) =>
      guests.some(({ vmid, lock }) => vmid >= 90_000 && lock !== undefined),
    );
    practice.service.kill('staging', 'SIGKILL');
    practice.service.kill('control', 'SIGKILL');
    await practice.lab.removeFault('slow');
    const report = (await handle.result()) as RestoreReport;
    expect((await ledger.restoreTests(report.run)).map(({ vmid, result, text }) => [vmid, result, text])).toEqual([
      [101, 'pass', undefined],
      [103, 'pass', undefined],
    ]);
    expect(await atSite('guest.restore')).toHaveLength(before + 2);
    expect((await practice.snapshot('staging')).guests.filter(({ restored }) => restored)).toEqual([]);
  });

  it('that is aborted takes away what it restored', async () => {
    const handle = await practice.startRestores({ stores: [CRASHED] });
    const known = (await atSite('guest.restore')).length;
    await practice.eventually('a guest to be restored', async () =>
      (await atSite('guest.restore')).length > known ? true : undefined,
    );
    await handle.executeUpdate('abort', { args: [{ by: 'test' }] });
    const report = (await handle.result()) as RestoreReport;
    expect(report.state).toBe('aborted');
    expect((await practice.snapshot('staging')).guests.filter(({ restored }) => restored)).toEqual([]);
  });
});

describe('that train', () => {
  it('takes the stores once a guest of each class was had back, but not the one of which a guest could not', async () => {
    await practice.answer('retryFailed');
    const handle = practice.client.workflow.getHandle(trainWorkflowId('practice'));
    const report = await practice.ride(handle);
    expect(report).toMatchObject({ state: 'done', tally: { succeeded: 2, skipped: 1 } });
    const results = await ledger.results(report.train);
    expect(results.findLast(({ store }) => store === ROTTEN)).toMatchObject({
      outcome: 'skipped',
      reason: 'NoRestoreProof',
    });
  });
});
