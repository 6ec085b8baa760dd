import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import type { LabEntry } from '#client/cli/lab-client.js';
import type { NightReport, NightView } from '#domain/messages/backup.js';
import type { GuestBackupRow } from '#domain/messages/ledger.js';
import type { PbsSnapshot } from '#lab/control/snapshot.js';
import { openLedgerReader } from '#systems/ledger/client.js';
import type { LedgerReader } from '#systems/ledger/types.js';
import { givenPractice, type Practice } from '../support/practice.js';

/**
 * Nights over a practice fleet of six stores, each with a backup server of its own and a central one that they send to.
 * Each test has stores of its own, so that what one breaks is not in the way of the next.
 */
const [CALM, BROKEN, FULL, CRASHED, AWAY, MET] = [1, 2, 3, 4, 5, 6].map((n) => `store-00${n}`) as [
  string,
  string,
  string,
  string,
  string,
  string,
];

let practice: Practice;
let ledger: LedgerReader;
beforeAll(async () => {
  practice = await givenPractice({
    stores: 6,
    ownProcess: [CRASHED],
    edit: (fleet) => {
      // A guest that stays locked is asked for a dozen times.
      fleet['backup'] = { ...(fleet['backup'] as object), deferFor: '1s' };
    },
  });
  ledger = openLedgerReader(practice.service.databaseUrl, { connections: 1 });
});
afterEach(async () => {
  expect(await practice.violations()).toEqual([]);
});
afterAll(async () => {
  await ledger?.close();
  await practice?.stop();
});

const nightOver = async (stores: string[]): Promise<{ report: NightReport; view: NightView }> => {
  const handle = await practice.startNight({ stores });
  const report = (await handle.result()) as NightReport;
  return { report, view: await handle.query<NightView>('night') };
};

const effectsOf = async (store: string, effect: string): Promise<LabEntry[]> =>
  (await practice.effects(store)).filter((entry) => entry.effect === effect);
const guestsOf = async (store: string) => (await practice.snapshot(store)).guests;
const known = async (store: string): Promise<GuestBackupRow[]> => ledger.guestBackups({ store });
const server = async (id: string): Promise<PbsSnapshot> => (await practice.lab.pbs(id)) as PbsSnapshot;
const finished = async (store: string) =>
  (await server(store)).datastores.flatMap(({ snapshots }) => snapshots.filter((one) => one.finished));

/** How often each guest was dumped. */
const dumps = async (store: string): Promise<Record<string, number>> => {
  const counts: Record<string, number> = {};
  for (const { guest } of await effectsOf(store, 'snapshot.create'))
    counts[String(guest)] = (counts[String(guest)] ?? 0) + 1;
  return counts;
};
const once = async (store: string) => Object.fromEntries((await guestsOf(store)).map(({ vmid }) => [String(vmid), 1]));

describe('a calm night', () => {
  it('backs up every guest once, one vzdump to a node, verifies here and there, and says what is proven', async () => {
    const before = new Date();
    const { report } = await nightOver([CALM]);
    expect(report).toMatchObject({ state: 'done', planned: 1, summary: '1 of 1 store backed up and verified.' });

    expect(await dumps(CALM)).toEqual(await once(CALM));
    const nodes = (await effectsOf(CALM, 'backup.start')).map(({ node }) => node);
    expect(nodes.toSorted()).toEqual([...new Set((await guestsOf(CALM)).map(({ node }) => node))].toSorted());
    expect((await guestsOf(CALM)).filter(({ lock }) => lock !== undefined)).toEqual([]);

    const guests = await guestsOf(CALM);
    for (const [id, ns] of [[CALM, ''] as const, ['central', CALM] as const]) {
      const { datastores } = await server(id);
      const held = datastores.flatMap(({ snapshots }) => snapshots.filter((one) => one.ns === ns));
      expect(held.length, id).toBe(guests.length);
      expect(held.map(({ verified, verifiedBy }) => `${verified} by ${verifiedBy}`)).toEqual(
        held.map(() => `ok by pbs-${id}`),
      );
    }
    const rows = await known(CALM);
    expect(rows.map(({ vmid }) => vmid).toSorted()).toEqual(guests.map(({ vmid }) => vmid).toSorted());
    for (const { local, offsite } of rows) {
      for (const copy of [local, offsite])
        expect(Date.parse(copy?.provenAt ?? '')).toBeGreaterThan(before.getTime() - 300_000);
      expect(local).toMatchObject({ encrypted: true });
    }
    expect((await ledger.night(report.night))?.state).toBe('done');
  });

  it('gives the store back: nothing holds it any more', async () => {
    const file = join(practice.dir, 'edge', 'lab', 'workers', CALM, 'operation.json');
    const held = JSON.parse(await readFile(file, 'utf8')) as object;
    expect(held).toMatchObject({ kind: 'dump', open: false, outcome: 'ended', marks: [] });
  });
});

describe('a night in which something is wrong', () => {
  it('is partial, and names the guest, when one guest is locked by somebody else', async () => {
    const [locked] = await guestsOf(BROKEN);
    await practice.lab.addFault({ kind: 'guest-locked', store: BROKEN, params: { vmid: locked?.vmid }, id: 'locked' });
    const { view } = await nightOver([BROKEN]);
    expect(view.notSucceeded).toMatchObject([{ store: BROKEN, outcome: 'failed', reason: 'BackupIncomplete' }]);
    expect(JSON.stringify(view.notSucceeded[0]?.stop)).toContain(String(locked?.vmid));
    const rows = await known(BROKEN);
    const provenOf = (vmid: number | undefined) => rows.find((row) => row.vmid === vmid)?.local?.provenAt;
    expect(provenOf(locked?.vmid)).toBeUndefined();
    expect(rows.filter(({ local }) => local?.provenAt !== undefined).length).toBe(rows.length - 1);
    await practice.lab.removeFault('locked');
  });

  it('is partial as long as a disk of a guest is left out, until that is mended or store.yaml means it', async () => {
    const [guest] = await guestsOf(BROKEN);
    const vmid = guest?.vmid ?? 0;
    const [disk, params] = [guest?.kind === 'lxc' ? 'mp0' : 'scsi1', { vmid }];
    const outcomes = async () => (await nightOver([BROKEN])).view.notSucceeded;
    const rowOf = async () => (await known(BROKEN)).find((row) => row.vmid === vmid);
    await practice.lab.addFault({ kind: 'disk-left-out', store: BROKEN, params, id: 'further' });
    const [ended] = await outcomes();
    expect(ended).toMatchObject({ store: BROKEN, outcome: 'failed', reason: 'BackupIncomplete' });
    expect(ended?.stop?.summary).toContain(`disks left out of guest ${vmid} (${disk})`);
    const lacking = { provenAt: undefined, unprovenWhy: 'disks left out' };
    expect(await rowOf()).toMatchObject({ leftOut: { disks: [disk] }, local: lacking, offsite: lacking });
    // Times of snapshots are whole seconds: what is dumped in the second in which it was found out is in doubt as well.
    const nextSecond = async () => {
      const found = Date.parse((await rowOf())?.leftOut?.at ?? '');
      await practice.past(new Date(found + 1_000).toISOString());
    };

    const file = join(practice.repo, 'clusters', BROKEN, 'store.yaml');
    const before = await readFile(file, 'utf8');
    const meant = async (text: string) => {
      await writeFile(file, text);
      await practice.editFleet((fleet) => {
        fleet['alarms'] = { ...(fleet['alarms'] as object) };
      });
    };
    await meant(before.replace(`vmid: ${vmid}\n`, `vmid: ${vmid}\n    withoutDisks: [${disk}]\n`));
    await nextSecond();
    expect(await outcomes()).toEqual([]);
    expect((await rowOf())?.local?.provenAt).toBeDefined();
    await meant(before);
    expect(await outcomes()).toMatchObject([{ reason: 'BackupIncomplete' }]);
    await practice.lab.removeFault('further');
    await nextSecond();
    expect(await outcomes()).toEqual([]);
    expect((await rowOf())?.offsite?.provenAt).toBeDefined();
  });

  it('is refused before anything is dumped when the datastore is full', async () => {
    await practice.lab.addFault({ kind: 'datastore-full', store: FULL, id: 'full' });
    const { view } = await nightOver([FULL]);
    expect(view.notSucceeded).toMatchObject([{ store: FULL, outcome: 'failed', reason: 'DatastoreFull' }]);
    expect(await effectsOf(FULL, 'backup.start')).toEqual([]);
    await practice.lab.removeFault('full');
  });
});

describe('a night over a slow uplink', () => {
  const slow = { kind: 'wan-slow', store: FULL, step: 'datastore.sync', params: { factor: 4 } };
  const entries = async (): Promise<LabEntry[]> =>
    (await practice.lab.journal(0)).filter(({ store }) => store === FULL);
  const lastSeq = async (): Promise<number> => (await entries()).at(-1)?.seq ?? 0;
  const since = async (begun: number, effect: string): Promise<LabEntry[]> =>
    (await entries()).filter((entry) => entry.seq > begun && entry.effect === effect);
  const slowed = async (begun: number): Promise<unknown[]> =>
    (await since(begun, 'fault.active')).map(({ detail }) => detail?.['kind']);
  const dumpedSince = async (begun: number) =>
    (await since(begun, 'snapshot.create')).map(({ guest }) => guest).toSorted();
  const copiedSince = async (begun: number): Promise<number> =>
    (await since(begun, 'datastore.sync')).reduce((sum, { detail }) => sum + Number(detail?.['snapshots']), 0);
  const vmids = async () => (await guestsOf(FULL)).map(({ vmid }) => vmid).toSorted();
  const isProvenSince = (copy: { provenAt?: string | undefined } | undefined, from: Date): boolean =>
    Date.parse(copy?.provenAt ?? '') >= Math.floor(from.getTime() / 1_000) * 1_000;
  const provenSince = async (from: Date) =>
    (await known(FULL)).map(({ local, offsite }) => [isProvenSince(local, from), isProvenSince(offsite, from)]);

  it('takes its time, and sends everything once', async () => {
    const from = new Date();
    const begun = await lastSeq();
    await practice.lab.addFault({ ...slow, id: 'slow' });
    const { report } = await nightOver([FULL]);
    await practice.lab.removeFault('slow');
    expect(report).toMatchObject({ state: 'done', tally: { succeeded: 1 } });
    expect(await slowed(begun)).toEqual(['wan-slow']);
    expect(await dumpedSince(begun)).toEqual(await vmids());
    expect(await copiedSince(begun)).toBe((await vmids()).length);
    expect(await provenSince(from)).toEqual((await vmids()).map(() => [true, true]));
  });

  it('is not called proven in the second place when it does not get through, and is here all the same', async () => {
    const from = new Date();
    const begun = await lastSeq();
    await practice.lab.addFault({ ...slow, id: 'slow' });
    const handle = await practice.startNight({ stores: [FULL] });
    await practice.seen(
      'a transfer that is slow',
      (entry) => entry.seq > begun && entry.store === FULL && entry.detail?.['kind'] === 'wan-slow',
    );
    await practice.lab.addFault({ kind: 'pbs-down', store: 'central', id: 'gone' });
    const report = (await handle.result()) as NightReport;
    const { notSucceeded } = await handle.query<NightView>('night');
    await practice.lab.removeFault('gone');
    await practice.lab.removeFault('slow');
    expect(report).toMatchObject({ state: 'done', tally: { failed: 1 } });
    expect(notSucceeded).toMatchObject([{ store: FULL, outcome: 'failed', reason: 'BackupIncomplete' }]);
    expect(await dumpedSince(begun)).toEqual(await vmids());
    expect(await provenSince(from)).toEqual((await vmids()).map(() => [true, false]));
  });

  it('has the next night send what did not get through, once, and both proven there', async () => {
    const from = new Date();
    const begun = await lastSeq();
    const { report } = await nightOver([FULL]);
    expect(report).toMatchObject({ state: 'done', tally: { succeeded: 1 } });
    expect(await provenSince(from)).toEqual((await vmids()).map(() => [true, true]));
    expect(await dumpedSince(begun)).toEqual(await vmids());
    expect(await copiedSince(0)).toBe((await dumpedSince(0)).length);
  });
});

describe('a night that is disturbed', () => {
  it('dumps every guest once although the store worker and then the control worker are killed meanwhile', async () => {
    const handle = await practice.startNight({ stores: [CRASHED] });
    await practice.seen('a dump of the store', (entry) => entry.store === CRASHED && entry.effect === 'backup.start');
    practice.service.kill(`store:${CRASHED}`, 'SIGKILL');
    practice.service.kill('control', 'SIGKILL');
    expect((await handle.result()) as NightReport).toMatchObject({ state: 'done', tally: { succeeded: 1 } });
    expect(await dumps(CRASHED)).toEqual(await once(CRASHED));
  });

  it('goes on at the store while its link is cut, and is told when it is back', async () => {
    const handle = await practice.startNight({ stores: [AWAY] });
    await practice.seen('a dump of the store', (entry) => entry.store === AWAY && entry.effect === 'backup.start');
    await practice.lab.setWan(AWAY, false);
    await practice.seen('the dumps to end', (entry) => entry.store === AWAY && entry.effect === 'backup.done');
    await practice.comesBack(AWAY);
    expect((await handle.result()) as NightReport).toMatchObject({ state: 'done', tally: { succeeded: 1 } });
    expect(await dumps(AWAY)).toEqual(await once(AWAY));
    expect(await finished(AWAY)).toHaveLength((await guestsOf(AWAY)).length);
  });
});

describe('a train that meets the night', () => {
  it('waits for the dump, is not made to wait again, and no guest is moved while it is dumped', async () => {
    await practice.lab.addFault({ kind: 'backup-slow', store: MET, params: { factor: 100 }, id: 'slow' });
    const night = await practice.startNight({ stores: [MET] });
    await practice.seen('a dump of the store', (entry) => entry.store === MET && entry.effect === 'backup.start');
    const train = await practice.startTrain();
    const report = await practice.ride(train);
    expect(report).toMatchObject({ state: 'done', tally: { succeeded: 6 } });
    await expect(night.result()).resolves.toMatchObject({ state: 'done', tally: { succeeded: 1 } });

    const entries = await practice.effects(MET);
    const places = (effect: string) => entries.flatMap((entry, at) => (entry.effect === effect ? [at] : []));
    const firstDrain = Math.min(...places('ha.maintenance.enable'));
    const lastDump = Math.max(...places('backup.done'));
    expect(places('backup.start').length).toBe(places('backup.done').length);
    expect(lastDump).toBeLessThan(firstDrain);
    await practice.lab.removeFault('slow');
  });
});
