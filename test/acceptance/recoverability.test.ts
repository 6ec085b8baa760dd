import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { stringify } from 'yaml';
import type { LabEntry } from '#client/cli/lab-client.js';
import type { NightReport, NightView } from '#domain/messages/backup.js';
import type { RestoreReport } from '#domain/messages/restore.js';
import type { TrainReport, TrainView } from '#domain/messages/train.js';
import { OVERRIDES_FILE } from '#domain/overrides.js';
import type { RecoverabilityOverride } from '#domain/recoverability.js';
import { openLedgerReader } from '#systems/ledger/client.js';
import type { LedgerReader } from '#systems/ledger/types.js';
import { countByNode, givenPractice, type Practice } from '../support/practice.js';

/**
 * Whom a train takes, by what a night and restore tests really left before it: one store had no space for its backups,
 * one was offline, and one has a guest that is the only one of its class, and whose copy has rotted. Judged by the
 * practice fleet's journal.
 */
const ONCE = { n1: 1, n2: 1, n3: 1 };
const RARE = { vmid: 103, class: 'other cache' };

let practice: Practice;
let ledger: LedgerReader;
let canary: string;
let well: string;
let full: string;
let away: string;
let rare: string;
beforeAll(async () => {
  practice = await givenPractice({
    stores: 5,
    edit: (fleet) => {
      fleet['recoverability'] = { backupYoungerThan: '2d', restoreYoungerThan: '91d' };
      for (const stage of fleet.stages) stage.approval = { required: false };
    },
  });
  ledger = openLedgerReader(practice.service.databaseUrl, { connections: 1 });
  const stages = await practice.stages();
  [canary] = stages['canary'] as [string];
  [well, full, away, rare] = stages['rest'] as [string, string, string, string];
  const file = join(practice.repo, 'clusters', rare, 'store.yaml');
  await writeFile(file, (await readFile(file, 'utf8')).replace('role: cache', 'role: other'));
  await commit();
});
afterEach(async () => {
  expect(await practice.violations()).toEqual([]);
});
afterAll(async () => {
  await ledger?.close();
  await practice?.stop();
});

/** With what was written into the working tree. */
const commit = () =>
  practice.editFleet((fleet) => {
    fleet['alarms'] = { ...(fleet['alarms'] as object) };
  });

async function nightOver(stores?: string[]): Promise<NightView> {
  const handle = await practice.startNight(stores ? { stores } : {});
  expect((await handle.result()) as NightReport).toMatchObject({ state: 'done' });
  return handle.query<NightView>('night');
}

async function restoresOf(stores: string[]): Promise<RestoreReport> {
  const handle = await practice.startRestores({ stores });
  return (await handle.result()) as RestoreReport;
}

interface Ride {
  report: TrainReport;
  view: TrainView;
  /** How each store ended, by the ledger. */
  ended: Record<string, string>;
  /** Of a store, since the train began. */
  effects(store: string): Promise<LabEntry[]>;
}
async function rideOfAll(): Promise<Ride> {
  const begun = (await practice.lab.journal(0)).at(-1)?.seq ?? 0;
  const handle = await practice.startTrain();
  const report = await practice.ride(handle);
  const rows = await ledger.results(report.train);
  return {
    report,
    view: await handle.query<TrainView>('train'),
    ended: Object.fromEntries(
      rows.map(({ store, outcome, reason }) => [store, reason === undefined ? outcome : `${outcome} ${reason}`]),
    ),
    effects: async (store) => (await practice.effects(store)).filter(({ seq }) => seq > begun),
  };
}
const reasonsOf = ({ view }: Ride) =>
  Object.fromEntries(view.notSucceeded.map(({ store, outcome, reason }) => [store, `${outcome} ${reason}`]));

const minutes = (count: number): string => new Date(Date.now() + count * 60_000).toISOString();
const agreed = (override: Pick<RecoverabilityOverride, 'reason' | 'stores' | 'why'> & { expires?: string }) => ({
  ...{ by: 'anna', approvedBy: 'bert', at: minutes(-30), expires: minutes(60) },
  ...override,
});
async function overriding(...overrides: ReturnType<typeof agreed>[]): Promise<void> {
  await writeFile(join(practice.repo, OVERRIDES_FILE), stringify({ schema: 'edge.overrides/v1', overrides }));
  await commit();
}

describe('a night and restore tests in which something goes wrong', () => {
  it('leave two stores without a proven backup, and one class that nobody has had back', async () => {
    await practice.lab.addFault({ kind: 'datastore-full', store: full, id: 'full' });
    await practice.lab.setWan(away, false);
    const { notSucceeded } = await nightOver();
    await practice.lab.removeFault('full');
    await practice.comesBack(away);
    expect(notSucceeded.map(({ store }) => store).toSorted()).toEqual([full, away].toSorted());
    const proven = (await ledger.guestBackups()).filter(({ local }) => local?.provenAt !== undefined);
    expect([...new Set(proven.map(({ store }) => store))].toSorted()).toEqual([canary, well, rare].toSorted());

    await practice.lab.addFault({
      kind: 'chunk-corrupt',
      store: 'central',
      params: { vmid: RARE.vmid, ns: rare },
      id: 'rot',
    });
    const { run } = await restoresOf([well, rare]);
    await practice.lab.removeFault('rot');
    const tests = await ledger.restoreTests(run);
    const notPassed = tests.filter(({ result }) => result !== 'pass');
    expect(notPassed).toMatchObject([{ store: rare, ...RARE, result: 'fail' }]);
    expect(tests).toHaveLength(6);
  });
});

describe('the train after it', () => {
  it('leaves out exactly those stores, each by its own reason, and does nothing to them', async () => {
    const skipped = [full, away, rare];
    const before = await Promise.all(skipped.map(practice.snapshot));
    const train = await rideOfAll();
    expect(train.report).toMatchObject({ state: 'done', tally: { succeeded: 2, skipped: 3, failed: 0 } });
    const left = {
      [full]: 'skipped NoRecentBackup',
      [away]: 'skipped NoRecentBackup',
      [rare]: 'skipped NoRestoreProof',
    };
    expect(reasonsOf(train)).toEqual(left);
    expect(train.ended).toEqual({ [canary]: 'succeeded', [well]: 'succeeded', ...left });

    for (const store of [canary, well]) expect(countByNode(await train.effects(store), 'node.up')).toEqual(ONCE);
    for (const store of skipped) expect(await train.effects(store), store).toEqual([]);
    expect(await Promise.all(skipped.map(practice.snapshot))).toEqual(before);
  });
});

describe('the train after two people have agreed to take such stores', () => {
  let train: Ride;
  it('takes those that their override names, and not the one whose override has run out', async () => {
    await overriding(
      agreed({ reason: 'NoRecentBackup', stores: [full], why: 'its disks come next week' }),
      agreed({ reason: 'NoRecentBackup', stores: [away], why: 'its link was cut', expires: minutes(-1) }),
      agreed({ reason: 'NoRestoreProof', stores: [rare], why: 'there is but one of them' }),
    );
    train = await rideOfAll();
    expect(reasonsOf(train)).toEqual({ [away]: 'skipped NoRecentBackup' });
    expect(train.ended).toMatchObject({
      [full]: 'succeeded',
      [rare]: 'succeeded',
      [away]: 'skipped NoRecentBackup',
    });
    for (const store of [full, rare]) expect(countByNode(await train.effects(store), 'node.up')).toEqual(ONCE);
    expect(await train.effects(away)).toEqual([]);
  });

  it('has on record who asked, who agreed, why, and for which stores', async () => {
    const rows = await ledger.approvals(train.report.train);
    const uses = rows.filter(({ via }) => via === OVERRIDES_FILE);
    expect(uses.every(({ accepted, by, stage }) => accepted && by === 'bert' && stage === 'rest')).toBe(true);
    expect(uses.map(({ comment }) => comment?.replace(/, until \S+\)/, ')')).toSorted()).toEqual([
      `NoRecentBackup: its disks come next week (anna). Stores: ${full}`,
      `NoRestoreProof: there is but one of them (anna). Stores: ${rare}`,
    ]);
  });
});

describe('the train after a night that went well', () => {
  it('takes the store that was away, by its own backup', async () => {
    expect((await nightOver([away])).notSucceeded).toEqual([]);
    const train = await rideOfAll();
    expect(reasonsOf(train)).toEqual({});
    expect(train.ended[away]).toBe('succeeded');
    expect(countByNode(await train.effects(away), 'node.up')).toEqual(ONCE);
    const uses = (await ledger.approvals(train.report.train)).map(({ comment }) => comment ?? '');
    expect(uses.filter((comment) => comment.includes(away))).toEqual([]);
  });
});
