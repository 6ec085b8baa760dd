import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { execFileSync } from 'node:child_process';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { MockActivityEnvironment } from '@temporalio/testing';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { parse, stringify } from 'yaml';
import { createControlActivities, type ControlDeps } from '#activities/control.js';
import { initRepo } from '#client/repo/template.js';
import type { ControlActivities } from '#domain/messages/train.js';
import { restoreWorkflowId } from '#domain/naming.js';
import { openGitRepo } from '#systems/git/repo.js';
import { memoryObjects } from '../../support/memory-objects.js';

/** What the janitor asks of the centre, with a real repo. */

let dir: string;
let fleet: { fleet: string; backup: { offsite?: unknown; tiers: Record<string, { rpo: { offsite?: string } }> } };
let running: Set<string>;
let control: ControlActivities;

beforeEach(async () => {
  dir = join(await mkdtemp(join(tmpdir(), 'edge-janitor-')), 'repo');
  await initRepo(dir, { stores: 3 });
  fleet = parse(await readFile(join(dir, 'fleet.yaml'), 'utf8')) as typeof fleet;
  running = new Set();
  control = createControlActivities({
    repo: openGitRepo({ dir }),
    branch: 'main',
    objects: memoryObjects(),
    // It asks nothing of the ledger.
    ledger: {} as ControlDeps['ledger'],
    isRunning: (id) => Promise.resolve(running.has(id)),
    nightCares: () => Promise.resolve([]),
    inWork: () => Promise.resolve([]),
    tell: () => Promise.resolve(),
    now: () => new Date('2026-12-01T12:00:00Z'),
  });
});
afterEach(() => rm(join(dir, '..'), { recursive: true, force: true }));

const run = <I, O>(activity: (input: I) => Promise<O>, input: I): Promise<O> =>
  new MockActivityEnvironment().run(activity, input);

describe('what the janitor looks at', () => {
  it('is the staging site too where guests are restored, in a look at the whole fleet', async () => {
    const planned = await run(control.planSweep, { fleet: fleet.fleet });
    expect(planned).toMatchObject({ kind: 'planned', staging: { storeTimeout: 4 * 3_600_000 } });
    const [store = ''] = planned.kind === 'planned' ? planned.stores : [];
    expect(await run(control.planSweep, { fleet: fleet.fleet, stores: [store] })).not.toHaveProperty('staging');
  });

  it('is no staging site where nothing is sent to a second place', async () => {
    delete fleet.backup.offsite;
    for (const { rpo } of Object.values(fleet.backup.tiers)) delete rpo.offsite;
    await writeFile(join(dir, 'fleet.yaml'), stringify(fleet));
    execFileSync('git', ['-C', dir, '-c', 'user.name=Ann', '-c', 'user.email=ann@example.org', 'commit', '-qam', 'x']);
    const planned = await run(control.planSweep, { fleet: fleet.fleet });
    expect(planned.kind).toBe('planned');
    expect(planned).not.toHaveProperty('staging');
  });

  it('spares of the staging site what is of stores whose guests are tried now', async () => {
    const stores = Array.from({ length: 120 }, (_, at) => `store-${String(at + 1).padStart(3, '0')}`);
    for (const store of ['store-007', 'store-050', 'store-119']) running.add(restoreWorkflowId(store));
    running.add('store/store-008');
    expect(await run(control.triedNow, { stores })).toEqual(['store-007', 'store-050', 'store-119']);
    expect(await run(control.triedNow, { stores: [] })).toEqual([]);
  });
});
