import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { keyFileOf } from '#lab/world/storage-sim.js';
import { STORAGE } from '../../lab/staging/practice-staging.js';
import { doneOf, failureIn, PracticeRestore } from './practice-restore.js';

let practice: PracticeRestore;
beforeEach(async () => {
  practice = await PracticeRestore.start();
});
afterEach(() => practice.close());

const open = (change?: Parameters<PracticeRestore['worker']>[0]) => practice.worker(change).openCopy(practice.copy);
const close = () => practice.worker().closeCopy(practice.copy);
const added = () => practice.staging.journal('storage.add').length;
const removed = () => practice.staging.journal('storage.remove').length;

describe('the copy of a store', () => {
  it('is opened once, with the key of that store', async () => {
    practice.staging.backUp(101);
    const { copy } = doneOf(await open());
    expect(copy.snapshots).toMatchObject([{ type: 'vm', id: '101', encrypted: true }]);
    expect(doneOf(await open()).copy).toEqual(copy);
    expect([added(), removed()]).toEqual([1, 0]);
    expect(practice.staging.journal('storage.add')).toMatchObject([
      {
        after: { namespace: 'store-001', username: 'edge-staging@pbs!restore', encrypted: true },
        detail: { storage: STORAGE },
      },
    ]);
    doneOf(await close());
    doneOf(await close());
    expect(removed()).toBe(1);
    expect(practice.violations()).toEqual([]);
  });

  it('of a store that never sent anything is empty', async () => {
    const { copy } = doneOf(await practice.worker().openCopy({ ...practice.copy, store: 'store-777' }));
    expect(copy.snapshots).toEqual([]);
  });

  it('that is encrypted cannot be had back without the key, which is no fault of the site', async () => {
    practice.staging.backUp(101);
    const failed = failureIn(await open({ keyOf: () => Promise.resolve(undefined) }));
    expect(failed).toMatchObject({ fault: 'guest', why: expect.stringContaining('no key of that store') as string });
    expect(added()).toBe(0);
  });

  it('that is not encrypted needs no key', async () => {
    Object.assign(practice.staging.lab.store.storages.pbs('pbs').config, { encryptionKey: undefined });
    practice.staging.backUp(101);
    expect(doneOf(await open({ keyOf: () => Promise.resolve(undefined) })).copy.snapshots).toHaveLength(1);
  });

  it('is opened anew when what a dead run left is not as it shall be', async () => {
    const other = { kdf: null, data: Buffer.alloc(32, 7).toString('base64'), fingerprint: 'aa' };
    doneOf(await open({ keyOf: () => Promise.resolve(JSON.stringify(other)) }));
    doneOf(await open());
    expect([added(), removed()]).toEqual([2, 1]);
    const { config } = practice.staging.site.storages.pbs(STORAGE);
    expect(config.encryptionKey).toBe(
      (JSON.parse(keyFileOf(practice.staging.lab.store)) as { fingerprint: string }).fingerprint,
    );
  });

  it('is opened anew when its secret is another by now, which only its use shows', async () => {
    doneOf(await open());
    practice.staging.site.storages.pbs(STORAGE).config.token.secret = 'of-old';
    doneOf(await open());
    expect([added(), removed()]).toEqual([2, 1]);
  });

  it('is not opened over a storage that somebody else gave its name, and that one stays', async () => {
    expect((await practice.staging.addStorage({ namespace: 'store-002' })).status).toBe(200);
    expect(failureIn(await open()).fault).toBe('site');
    expect(failureIn(await close()).fault).toBe('site');
    expect([added(), removed()]).toEqual([1, 0]);
  });

  it.each(['before', 'after'] as const)(
    'is opened and closed although answers are lost %s the effect',
    async (moment) => {
      const again = async (run: () => Promise<{ kind: string }>) => {
        if (moment === 'before') await expect(run()).rejects.toMatchObject({ type: 'OutcomeUnknown' });
        expect(await run()).toMatchObject({ kind: 'done' });
      };
      practice.fault({ kind: 'lost-answer', step: 'storage.add', moment, times: 1 });
      await again(open);
      practice.fault({ kind: 'lost-answer', step: 'storage.remove', moment, times: 1 });
      await again(close);
      expect([added(), removed()]).toEqual([1, 1]);
    },
  );

  it('is closed although the token is refused once', async () => {
    doneOf(await open());
    practice.fault({ kind: 'token-expired', step: 'storage.remove', times: 1 });
    doneOf(await close());
    expect(practice.staging.site.storages.all.size).toBe(0);
    expect(practice.violations()).toEqual([]);
  });

  it('that cannot be closed is told, and the next sweep takes it away, however young it is', async () => {
    doneOf(await open());
    practice.fault({ kind: 'token-expired', step: 'storage.remove', id: 'refused' });
    const timing = { ...practice.deps.timing, remove: 100 };
    expect(failureIn(await practice.worker({ timing }).closeCopy(practice.copy))).toMatchObject({ fault: 'site' });
    expect(practice.staging.site.storages.all.size).toBe(1);
    practice.staging.lab.world.faults.remove('refused');
    const before = new Date(Date.now() - 3_600_000).toISOString();
    const swept = await practice.worker().sweepSite({ protocol: 1, fleet: 'practice', before });
    expect(swept).toEqual({ kind: 'done', removed: [`storage ${STORAGE}`], left: [], busy: [] });
  });

  it('that is opened again after it could not be closed is spared by a sweep', async () => {
    doneOf(await open());
    practice.fault({ kind: 'token-expired', step: 'storage.remove', id: 'refused' });
    const timing = { ...practice.deps.timing, remove: 100 };
    failureIn(await practice.worker({ timing }).closeCopy(practice.copy));
    practice.staging.lab.world.faults.remove('refused');
    doneOf(await open());
    const before = new Date(Date.now() - 3_600_000).toISOString();
    const { removed, busy } = doneOf(await practice.worker().sweepSite({ protocol: 1, fleet: 'practice', before }));
    expect([removed, busy]).toEqual([[], [expect.stringContaining('may be in use') as string]]);
  });
});

describe('the site refuses, before anything', () => {
  afterEach(() => {
    expect([added(), practice.restores]).toEqual([0, 0]);
  });
  const refusal = async () => {
    const failed = failureIn(await open());
    expect(failed.fault).toBe('site');
    expect(failureIn(await practice.worker().restoreGuest(practice.trial(101))).fault).toBe('site');
    return [failed.why, ...(failed.detail ?? [])].join('\n');
  };

  it('when its bridge has a port', async () => {
    practice.openBridge();
    expect(await refusal()).toContain('stg1: vmbr-lab has the port eno2');
  });

  it('when there is no bridge', async () => {
    Object.assign(practice.staging.site, {
      layout: { ...practice.staging.site.layout, bridges: [{ iface: 'vmbr0', ports: 'eno1' }] },
    });
    expect(await refusal()).toContain('there is no bridge vmbr-lab');
  });

  it('when there is no pool', async () => {
    Object.assign(practice.staging.site, { layout: { ...practice.staging.site.layout, pools: [] } });
    expect(await refusal()).toContain('no pool restore-test');
  });

  it('when its storage is full', async () => {
    practice.fault({ kind: 'restore-storage-full' });
    expect(await refusal()).toMatch(/storage restore has no room/);
  });

  it.each([
    ['/vms', 'VM.PowerMgmt'],
    ['/storage/local-lvm', 'Datastore.AllocateSpace'],
    ['/sdn/zones/localnetwork/vmbr0', 'SDN.Use'],
    ['/', 'Sys.Modify'],
  ])('when its token may touch what is not for tests: on %s %s', async (path, privilege) => {
    practice.staging.grant(path, privilege);
    expect(await refusal()).toContain(`${privilege} on ${path}`);
  });

  it('when its token lacks a right', async () => {
    practice.staging.site.token.privileges['/pool/restore-test'] = ['Pool.Audit', 'VM.Audit'];
    expect(await refusal()).toContain('lacks VM.Allocate on /pool/restore-test');
  });

  it('without quorum', async () => {
    for (const name of ['stg2', 'stg3']) practice.staging.site.node(name).powerOff('test');
    expect(await refusal()).toContain('not quorate');
  });
});

describe('secrets', () => {
  it('are in no answer, no error and no journal', async () => {
    const key = keyFileOf(practice.staging.lab.store);
    const { data } = JSON.parse(key) as { data: string };
    const secrets = [data, practice.deps.copies.password, practice.staging.site.token.secret];
    const told: unknown[] = [];
    const tell = async (run: Promise<unknown>) => void told.push(await run.catch((error: unknown) => texts(error)));
    const task = practice.trial(101);
    practice.staging.chunksOf(practice.volidOf(task)).lose('30');
    await tell(practice.worker().openCopy(practice.copy));
    await tell(practice.worker().restoreGuest(task));
    await tell(practice.worker().removeGuest(task));
    await tell(practice.worker().closeCopy(practice.copy));
    // What a server repeats of the request, and what it says when the secret is the wrong one.
    const copies = { ...practice.deps.copies, password: 'wrong-secret' };
    await tell(practice.worker({ copies }).openCopy(practice.copy));
    await tell(practice.worker({ keyOf: () => Promise.resolve(`${data} is no key`) }).openCopy(practice.copy));
    practice.fault({ kind: 'lost-answer', step: 'storage.add', moment: 'before', times: 1 });
    await tell(practice.worker().openCopy(practice.copy));
    expect(told).toHaveLength(7);
    expect(told.filter((one) => (one as { kind?: string }).kind === 'done')).toHaveLength(3);
    const all = JSON.stringify([told, practice.staging.lab.world.journal.entries, practice.deps.state.trials()]);
    for (const secret of [...secrets, 'wrong-secret']) expect(all).not.toContain(secret);
  });

  /** An error with all that it carries. */
  function texts(error: unknown): string[] {
    if (!(error instanceof Error)) return [String(error)];
    return [error.name, error.message, error.stack ?? '', JSON.stringify(error), ...texts(error.cause ?? '')];
  }
});
