import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { checkJournal, type CheckReport } from '#lab/check/check.js';
import { watchPermits } from '#lab/check/permits.js';
import { gatherEvidence, type EvidenceSources } from '#lab/check/evidence.js';
import { RESTORE_RULES } from '#lab/check/restore-rules.js';
import { RULES } from '#lab/check/rules.js';
import { snapshotOf, type StoreSnapshot } from '#lab/control/snapshot.js';
import { runCommandLine } from '#lab/ssh/shell.js';
import { NEXT_SNAPSHOT, WEEKLY_SNAPSHOT } from '#lab/world/mirror.js';
import type { NodeSim } from '#lab/world/node-sim.js';
import type { StoreSim } from '#lab/world/store-sim.js';
import type { World } from '#lab/world/world.js';
import { aPromotedRelease, GOOD_VCL, type PermitChanges, type ReleaseChanges } from './a-release.js';
import { aWorld, until, type TestWorld } from './lab-support.js';

const UNIT = 'edge-governor-upgrade-0123456789ab';
const SOURCES = '/etc/apt/sources.list.d/edge-governor.list';
const VCL_FILE = '/etc/edge-governor/releases/abc/varnish-vcl.vcl';
const OTHER = `sha256:${'0'.repeat(64)}`;
const NO_PERMITS: { title: string; permit?: PermitChanges }[] = [
  { title: 'packages go back without a permit' },
  { title: 'the permit names another store', permit: { stores: ['store-002'] } },
  { title: 'the permit is of another fleet', permit: { fleet: 'other' } },
  { title: 'the permit had expired', permit: { expires: '2026-01-02T00:00:00Z' } },
  { title: 'the permit leads to another release', permit: { to: OTHER } },
  { title: 'the permit comes from a release that the store never had', permit: { from: OTHER } },
  { title: 'the permit is signed by a foreign key', permit: { foreignKey: true } },
  { title: 'the permit was changed after it was signed', permit: { tampered: true } },
];
const ACTOR = { user: 'edge-governor@pve!worker', by: 'edge-governor@pve!worker' };

describe('the check of the journal', () => {
  let test: TestWorld;
  let world: World;
  let store: StoreSim;
  let n1: NodeSim;
  let n2: NodeSim;
  let atStart: StoreSnapshot[];
  let sources: EvidenceSources;

  beforeEach(() => {
    test = aWorld();
    world = test.world;
    store = world.store('store-001');
    n1 = store.node('n1');
    n2 = store.node('n2');
    atStart = [snapshotOf(store)];
    sources = aPromotedRelease(world.stateDir);
  });
  afterEach(() => test.close());

  const release = (changes: ReleaseChanges) => (sources = aPromotedRelease(world.stateDir, changes));

  const sh = async (node: NodeSim, line: string, stdin = ''): Promise<string> => {
    const answer = await runCommandLine({ node, by: 'edge-governor', line, stdin: () => Promise.resolve(stdin) });
    if (answer.kind === 'lost') throw new Error('the answer was lost');
    return answer.result.stdout;
  };
  const root = (node: NodeSim, line: string, stdin?: string) => sh(node, `sudo -n ${line}`, stdin);
  const check = async (): Promise<CheckReport> =>
    checkJournal(world.journal.entries, {
      atStart,
      now: [snapshotOf(store)],
      evidence: await gatherEvidence(world, sources),
    });
  const broken = async (): Promise<string[]> =>
    (await check()).rules.filter(({ violations }) => violations.length > 0).map(({ id }) => id);

  const enter = async (node: NodeSim) => {
    await root(node, `ha-manager crm-command node-maintenance enable ${node.name}`);
    for (const guest of store.guestsOn(node.name).filter(({ ha }) => !ha))
      store.migrate(guest.vmid, node === n1 ? 'n2' : 'n1', ACTOR);
    await until(
      'the node is empty',
      () => store.guestsOn(node.name).length === 0 && store.ha.nodeStatus()[node.name] === 'maintenance',
    );
    await root(node, `ceph osd set-group noout ${node.name}`);
  };
  const leave = async (node: NodeSim) => {
    await root(node, `ceph osd unset-group noout ${node.name}`);
    await root(node, `ha-manager crm-command node-maintenance disable ${node.name}`);
    await until('HA is at rest', () =>
      store.ha.managed.every((guest) => guest.node === guest.homeNode && guest.lock === undefined),
    );
  };
  const stage = async (node: NodeSim, snapshot = WEEKLY_SNAPSHOT) => {
    await root(node, `install -D -m 0644 /dev/stdin ${SOURCES}`, `deb http://mirror.example/${snapshot} trixie main\n`);
    await root(node, 'apt-get update');
  };
  const upgrade = async (node: NodeSim, what = 'dist-upgrade') => {
    await root(node, `systemd-run --unit=${UNIT} --remain-after-exit -- apt-get -y ${what}`);
    await until('the unit ended', () => node.units.all.get(`${UNIT}.service`)?.state !== 'running');
    await root(node, `systemctl stop ${UNIT}`);
  };
  const reboot = async (node: NodeSim) => {
    const before = node.bootId;
    await root(node, 'systemctl reboot');
    await until(
      'it is back and clean',
      () => node.up && node.bootId !== before && store.ceph.osds.every(({ up }) => up) && store.ceph.allClean(),
    );
  };
  const patch = async (node: NodeSim, snapshot = WEEKLY_SNAPSHOT) => {
    await stage(node, snapshot);
    await enter(node);
    await upgrade(node);
    await reboot(node);
    await leave(node);
  };
  /** Upgraded two weeks in a row, then back to the packages of the first; Ceph stays as it is. */
  const goBack = async (node: NodeSim) => {
    await patch(node);
    await patch(node, NEXT_SNAPSHOT);
    await stage(node);
    await enter(node);
    const older = [...(world.mirror.get(WEEKLY_SNAPSHOT) ?? [])].filter(
      ([name, version]) => node.packages.installed.get(name) !== version && !name.startsWith('ceph'),
    );
    const words = older.map(([name, version]) => `${name}=${version}`).join(' ');
    await upgrade(node, `--allow-downgrades install ${words}`);
    await root(node, 'proxmox-boot-tool kernel pin 6.14.11-4-pve');
    await root(node, 'proxmox-boot-tool refresh');
    await reboot(node);
    await leave(node);
  };
  const configure = async (text: string, file = VCL_FILE) => {
    const holder = store.node(store.guests.get(103)?.node ?? '');
    await root(holder, `pct exec 103 -- install -D -m 0644 /dev/stdin ${file}`, text);
    await root(holder, `pct exec 103 -- ln -sfn ${file} /etc/varnish/default.vcl`);
    await root(holder, 'pct exec 103 -- systemctl reload varnish');
  };

  it('holds all rules over a calm patch of the whole store', async () => {
    for (const node of store.nodes.values()) await patch(node);
    await configure(GOOD_VCL);
    const report = await check();
    expect(report.rules.flatMap(({ violations }) => violations)).toEqual([]);
    expect(report.effects).toBeGreaterThan(40);
  });

  it('holds when a store goes back to an older release with a permit', async () => {
    release({ next: true, permit: {} });
    await goBack(n1);
    expect(n1.kernel).toBe('6.14.11-4-pve');
    expect(n1.packages.installed.get('pve-manager')).toBe('9.1.5');
    expect(n1.packages.installed.get('ceph-osd')).toBe('19.2.4-pve1');
    expect((await check()).rules.flatMap(({ violations }) => violations)).toEqual([]);
  });

  it('remembers the permit that a store was shown when its desired record has moved on', async () => {
    release({ next: true, permit: {} });
    const { registry } = sources;
    const permits = watchPermits(world, registry);
    await goBack(n1);
    sources = { ...sources, registry: { ...registry, pointer: () => Promise.resolve(undefined) } };
    expect(await broken()).toEqual(['packages-of-a-release']);
    sources = { ...sources, permits };
    expect(await broken()).toEqual([]);
    sources = { ...sources, permits: watchPermits(world, registry) };
    expect(await broken()).toEqual([]);
  });

  it('holds when a node stays down by a fault, since its marks must stay', async () => {
    world.faults.add({ store: 'store-001', node: 'n1', kind: 'node-stays-down' });
    await stage(n1);
    await enter(n1);
    await upgrade(n1);
    await root(n1, 'systemctl reboot');
    await until('the fault bit', () => world.journal.entries.some(({ effect }) => effect === 'fault.active'));
    expect(await broken()).toEqual([]);
  });

  it('holds when a failed upgrade leaves its node out of service', async () => {
    world.faults.add({ store: 'store-001', node: 'n1', kind: 'apt-fail' });
    await stage(n1);
    await enter(n1);
    await upgrade(n1);
    expect(n1.units.failed).toHaveLength(1);
    expect(await broken()).toEqual([]);
  });

  it('holds when a config is taken back to the last good one', async () => {
    await configure(GOOD_VCL);
    await configure('', '/etc/edge-governor/releases/factory/other.vcl').catch(() => undefined);
    expect(await broken()).toEqual(['config-of-a-release']);
    const seq = world.journal.entries.length;
    await root(store.node('n3'), `pct exec 103 -- ln -sfn ${VCL_FILE} /etc/varnish/default.vcl`);
    const after = (await check()).rules.find(({ id }) => id === 'config-of-a-release');
    expect(after?.violations.filter((violation) => (violation.seq ?? 0) > seq)).toEqual([]);
  });

  const VIOLATIONS: Record<string, { title: string; drive: () => Promise<void> }[]> = {
    'one-node-at-a-time': [
      {
        title: 'a second node goes into maintenance',
        drive: async () => {
          await root(n1, 'ha-manager crm-command node-maintenance enable n1');
          await root(n1, 'ha-manager crm-command node-maintenance enable n2');
        },
      },
      {
        title: 'a second node is upgraded while the first is down',
        drive: async () => {
          await stage(n2);
          await enter(n1);
          n1.powerOff('lab');
          await upgrade(n2);
        },
      },
    ],
    'empty-before-reboot': [
      { title: 'a node is rebooted as it is', drive: async () => void (await root(n1, 'systemctl reboot')) },
    ],
    'maintenance-first': [
      { title: 'a node is rebooted in service', drive: async () => void (await root(n1, 'systemctl reboot')) },
      {
        title: 'packages change in service',
        drive: async () => {
          await stage(n1);
          await upgrade(n1);
        },
      },
    ],
    'noout-before-reboot': [
      {
        title: 'a node is rebooted in maintenance without noout',
        drive: async () => {
          await enter(n1);
          await root(n1, 'ceph osd unset-group noout n1');
          await root(n1, 'systemctl reboot');
        },
      },
    ],
    'clean-before-reboot': [
      {
        title: 'a node is rebooted while placement groups are degraded',
        drive: async () => {
          world.faults.add({ store: 'store-001', kind: 'osd-down', params: { osd: 5 } });
          await enter(n1);
          await root(n1, 'systemctl reboot');
        },
      },
    ],
    'nothing-twice': [
      {
        title: 'a node is asked to reboot twice',
        drive: async () => {
          await enter(n1);
          await Promise.all([root(n1, 'systemctl reboot'), root(n1, 'systemctl reboot')]);
        },
      },
      {
        title: 'a node is rebooted again with nothing new',
        drive: async () => {
          await enter(n1);
          await reboot(n1);
          await reboot(n1);
        },
      },
      {
        title: 'the same packages are installed again after a downgrade',
        drive: async () => {
          await stage(n1);
          await enter(n1);
          await upgrade(n1);
          n1.packages.installed.set('openssl', '3.5.4-1~deb13u1');
          await upgrade(n1);
        },
      },
    ],
    'packages-of-a-release': [
      {
        title: 'another snapshot is installed',
        drive: async () => {
          await stage(n1, NEXT_SNAPSHOT);
          await enter(n1);
          await upgrade(n1);
        },
      },
      {
        title: 'the release was never promoted',
        drive: async () => {
          release({ promoted: false });
          await patch(n1);
        },
      },
      {
        title: 'the release was promoted for another store',
        drive: async () => {
          release({ stores: ['store-002'] });
          await patch(n1);
        },
      },
      {
        title: 'the release is signed by a foreign key',
        drive: async () => {
          release({ foreignKey: true });
          await patch(n1);
        },
      },
      {
        title: 'the release is signed by another key in the name of the pinned one',
        drive: async () => {
          release({ forged: true });
          await patch(n1);
        },
      },
      {
        title: 'the release was changed after it was signed',
        drive: async () => {
          release({ tampered: true });
          await patch(n1);
        },
      },
      {
        title: 'the release had expired',
        drive: async () => {
          release({ expires: '2026-01-02T00:00:00Z' });
          await patch(n1);
        },
      },
      {
        title: 'the release pins more than what was installed',
        drive: async () => {
          release({ packages: { openssl: '3.5.4-1~deb13u2', zfs: '2.3.4' } });
          await patch(n1);
        },
      },
      ...NO_PERMITS.map(({ title, permit }) => ({
        title,
        drive: async () => {
          release({ next: true, ...(permit === undefined ? {} : { permit }) });
          await goBack(n1);
        },
      })),
      {
        title: 'the evidence cannot be read',
        drive: async () => {
          sources = { ...sources, releaseKeys: '/nonexistent' };
          await patch(n1);
        },
      },
    ],
    'ceph-never-back': [
      {
        title: 'Ceph packages go back with the others',
        drive: async () => {
          release({ next: true, permit: {} });
          await patch(n1, NEXT_SNAPSHOT);
          await stage(n1);
          await enter(n1);
          await upgrade(n1, '--allow-downgrades install ceph-osd=19.2.3-pve2');
        },
      },
    ],
    'config-of-a-release': [
      {
        title: 'a config of no release becomes active',
        drive: () => configure('vcl 4.1;\nbackend other { .host = "::1"; }\n'),
      },
      {
        title: 'a release of another store becomes active',
        drive: async () => {
          release({ stores: ['store-002'] });
          await configure(GOOD_VCL);
        },
      },
    ],
    'config-once': [
      {
        title: 'the link is written again',
        drive: async () => {
          await configure(GOOD_VCL);
          await configure(GOOD_VCL);
        },
      },
    ],
    'host-noout-only': [
      {
        title: 'a flag of the whole cluster is set',
        drive: () => {
          store.ceph.setFlag('norebalance', 'edge-governor');
          return Promise.resolve();
        },
      },
    ],
    'quorum-kept': [
      {
        title: 'two nodes reboot at the same time',
        drive: async () => {
          await Promise.all([root(n1, 'systemctl reboot'), root(n2, 'systemctl reboot')]);
          await until('both are down', () => !n1.up && !n2.up);
        },
      },
    ],
    'down-and-up-again': [
      {
        title: 'a node is shut down for good',
        drive: async () => {
          n1.shutdown('edge-governor');
          await until('it is down', () => !n1.up);
        },
      },
    ],
    'guests-survive-reboots': [
      {
        title: 'guests go down with their node',
        drive: async () => {
          await root(n1, 'systemctl reboot');
          await until('it is down', () => !n1.up);
        },
      },
    ],
    'no-guest-lost': [
      {
        title: 'a guest is stopped and never started',
        drive: async () => {
          store.shutdown(103, ACTOR);
          await until('it stopped', () => store.guests.get(103)?.status === 'stopped');
        },
      },
    ],
    'nothing-left-set': [
      { title: 'noout stays', drive: async () => void (await root(n1, 'ceph osd set-group noout n1')) },
      {
        title: 'maintenance stays',
        drive: async () => void (await root(n1, 'ha-manager crm-command node-maintenance enable n1')),
      },
      {
        title: 'a unit stays',
        drive: async () => {
          await root(n1, `systemd-run --unit=${UNIT} --remain-after-exit -- apt-get -y dist-upgrade`);
          await until('it ended', () => n1.units.all.get(`${UNIT}.service`)?.state === 'exited');
        },
      },
    ],
    'no-refused-command': [
      { title: 'a command is not in sudoers', drive: async () => void (await root(n1, 'cat /etc/shadow')) },
      { title: 'a command does not exist', drive: async () => void (await sh(n1, 'frobnicate')) },
    ],
  };

  for (const [rule, cases] of Object.entries(VIOLATIONS)) {
    for (const { title, drive } of cases) {
      it(`finds ${rule} broken when ${title}`, async () => {
        await drive();
        const found = await check();
        const violations = found.rules.find(({ id }) => id === rule)?.violations ?? [];
        expect(violations.length).toBeGreaterThan(0);
        expect(violations[0]).toMatchObject({ store: 'store-001', summary: expect.any(String) as string });
      });
    }
  }

  it('shows every rule to fail, but for those of restores, which need a staging site', () => {
    const rules = RULES.filter((rule) => !RESTORE_RULES.includes(rule));
    expect(Object.keys(VIOLATIONS).sort()).toEqual(rules.map(({ id }) => id).sort());
  });

  it('does not blame anybody for what a fault did', async () => {
    world.faults.add({ id: 'crash', store: 'store-001', node: 'n3', kind: 'node-crash' });
    await until('the guests that HA keeps run again', () =>
      store.ha.managed.every(({ status }) => status === 'running'),
    );
    world.faults.add({ store: 'store-001', kind: 'foreign-noout', params: { host: 'n1' } });
    expect(await broken()).toEqual([]);
  });
});
