import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { clientKey, startSshServers, type SshServers } from '#lab/ssh/server.js';
import { NEXT_SNAPSHOT, WEEKLY_SNAPSHOT } from '#lab/world/mirror.js';
import type { NodeSim } from '#lab/world/node-sim.js';
import type { World } from '#lab/world/world.js';
import { aWorld, until, type TestWorld } from '../../unit/lab/lab-support.js';
import { Shell } from './ssh-shell.js';

const UNIT = 'edge-governor-upgrade-0123456789ab';
const UPGRADE = `sudo -n systemd-run --unit=${UNIT} --remain-after-exit --setenv=DEBIAN_FRONTEND=noninteractive -- apt-get -y -o Dpkg::Options::=--force-confold -o DPkg::Lock::Timeout=300 dist-upgrade`;

describe('SSH of a practice node', () => {
  let test: TestWorld;
  let world: World;
  let servers: SshServers;
  let n1: NodeSim;
  let shell: Shell;

  beforeEach(async () => {
    test = aWorld({ speed: 1_500 });
    world = test.world;
    n1 = world.store('store-001').node('n1');
    servers = await startSshServers(world);
    shell = await new Shell().connect(n1);
  });
  afterEach(async () => {
    shell.end();
    await servers.close();
    test.close();
  });

  const json = async <T>(command: string): Promise<T> => JSON.parse((await shell.run(command)).stdout) as T;
  const effects = (name: string) => world.journal.entries.filter(({ effect }) => effect === name);

  it('shows the pinned host key, refuses root, passwords and other keys, and journals that', async () => {
    const other = clientKey({ ...n1.store, id: 'store-999' } as typeof n1.store);
    await expect(new Shell().connect(n1, { username: 'root' })).rejects.toThrow('authentication');
    await expect(new Shell().connect(n1, { privateKey: other.privateKey })).rejects.toThrow('authentication');
    await expect(new Shell().connect(n1, { hostVerifier: () => false })).rejects.toThrow();
    expect(effects('login.refused').length).toBeGreaterThanOrEqual(2);
  });

  it('answers the reads of a healthy node', async () => {
    expect(await shell.run('cat /proc/sys/kernel/random/boot_id')).toEqual({
      code: 0,
      stdout: `${n1.bootId}\n`,
      stderr: '',
    });
    expect((await shell.run('uname -r')).stdout).toBe('6.14.11-3-pve\n');
    expect((await shell.run('df -P -B1 /')).stdout.split('\n')[1]).toMatch(
      /^\/dev\/mapper\/pve-root \d+ \d+ \d+ +\d+% \/$/,
    );
    expect(Number((await shell.run('date +%s')).stdout)).toBeCloseTo(Date.now() / 1_000, -2);
    expect(await shell.run('dpkg --audit')).toEqual({ code: 0, stdout: '', stderr: '' });
    expect((await shell.run('systemctl is-system-running')).stdout).toBe('running\n');
    expect((await shell.run('sudo -n proxmox-boot-tool kernel list')).stdout).toContain('\n6.14.11-3-pve\n');
    const query = await shell.run("dpkg-query -W -f='${Package} ${Version} ${db:Status-Abbrev}\\n' openssl nonsense");
    expect(query).toEqual({
      code: 1,
      stdout: 'openssl 3.5.4-1~deb13u1 ii \n',
      stderr: 'dpkg-query: no packages found matching nonsense\n',
    });
  });

  it('runs root commands of the list only, and journals what it refuses', async () => {
    expect(await shell.run('sudo -n cat /etc/shadow')).toEqual({
      code: 1,
      stdout: '',
      stderr: 'sudo: a password is required\n',
    });
    expect((await shell.run('sudo -n ceph osd out 1')).code).toBe(1);
    expect((await shell.run('sudo -n systemctl stop corosync')).code).toBe(1);
    expect((await shell.run('sudo -n systemd-run --unit=edge-governor-upgrade-00 -- sh -c id')).code).toBe(1);
    expect(await shell.run('frobnicate')).toEqual({
      code: 127,
      stdout: '',
      stderr: 'bash: line 1: frobnicate: command not found\n',
    });
    expect((await shell.run('uname -r; id')).code).toBe(2);
    expect((await shell.run('ceph status -f json')).code).toBe(1);
    expect((await shell.run('apt-get -y dist-upgrade')).code).toBe(100);
    expect(effects('command.refused').length).toBe(8);
  });

  it('upgrades a node through a transient unit that stays until it is taken away', async () => {
    const list = `deb http://mirror.example/${WEEKLY_SNAPSHOT} trixie main\n`;
    const target = '/etc/apt/sources.list.d/edge-governor.list';
    expect((await shell.run(`sudo -n install -D -m 0644 /dev/stdin ${target}`, list)).code).toBe(0);
    expect((await shell.run(`cat ${target}`)).stdout).toBe(list);
    expect((await shell.run('sudo -n apt-get update')).code).toBe(0);
    const simulation = (await shell.run('apt-get -s dist-upgrade')).stdout;
    expect(simulation).toMatch(/^Inst pve-manager \[9\.1\.4\] \(9\.1\.5 Proxmox.* \[amd64\]\)$/m);
    expect(simulation).toMatch(/^Inst proxmox-kernel-6\.14\.11-4-pve-signed \(6\.14\.11-4 /m);
    expect((await shell.run('sudo -n apt-get -y --download-only dist-upgrade')).stdout).toContain('Download complete');
    expect((await shell.run(UPGRADE)).stderr).toContain(`Running as unit: ${UNIT}.service`);
    expect((await shell.run(UPGRADE)).stderr).toContain('already loaded');
    expect((await shell.run(`systemctl show ${UNIT} -p ActiveState -p SubState`)).stdout).toBe(
      'ActiveState=active\nSubState=running\n',
    );
    await until('the unit ended', () => effects('unit.end').length === 1);
    expect((await shell.run(`systemctl show ${UNIT} -p ActiveState,SubState,Result,ExecMainStatus`)).stdout).toBe(
      'ActiveState=active\nSubState=exited\nResult=success\nExecMainStatus=0\n',
    );
    expect((await shell.run(`sudo -n journalctl -u ${UNIT} -n 3 --no-pager -o cat`)).stdout).toContain(
      'Setting up systemd (',
    );
    expect(
      await json(`systemctl list-units 'edge-governor-upgrade-*' --all --no-legend --plain --output=json`),
    ).toMatchObject([{ unit: `${UNIT}.service`, active: 'active', sub: 'exited' }]);
    expect((await shell.run(`sudo -n systemctl stop ${UNIT}`)).code).toBe(0);
    expect((await shell.run(`systemctl show ${UNIT} -p LoadState`)).stdout).toBe('LoadState=not-found\n');
  });

  it('keeps a failed unit and its log, and a dirty dpkg', async () => {
    world.faults.add({ store: 'store-001', node: 'n1', kind: 'apt-fail', times: 1 });
    n1.packages.lists = [WEEKLY_SNAPSHOT];
    await shell.run(UPGRADE);
    await until('the unit ended', () => effects('unit.end').length === 1);
    expect((await shell.run(`systemctl show ${UNIT} -p ActiveState -p Result -p ExecMainStatus`)).stdout).toBe(
      'ActiveState=failed\nResult=exit-code\nExecMainStatus=100\n',
    );
    expect(await shell.run('systemctl is-system-running')).toMatchObject({ code: 1, stdout: 'degraded\n' });
    expect((await shell.run(`journalctl -u ${UNIT} -n 50 --no-pager -o cat`)).stdout).toContain(
      'returned an error code',
    );
    expect((await shell.run('dpkg --audit')).stdout).toContain('only half configured');
    expect((await shell.run('sudo -n apt-get check')).code).toBe(100);
    expect((await shell.run('sudo -n dpkg --configure -a')).code).toBe(0);
    expect((await shell.run(`sudo -n systemctl reset-failed ${UNIT}`)).code).toBe(0);
    expect((await shell.run('systemctl is-system-running')).code).toBe(0);
  });

  describe('on the way back', () => {
    const snapshot = async (id: string) => {
      const target = '/etc/apt/sources.list.d/edge-governor.list';
      await shell.run(
        `sudo -n install -D -m 0644 /dev/stdin ${target}`,
        `deb http://mirror.example/${id} trixie main\n`,
      );
      expect((await shell.run('sudo -n apt-get update')).code).toBe(0);
    };
    const versionOf = async (name: string) => (await shell.run(`dpkg-query -W -f='\${Version}' ${name}`)).stdout;
    const OLDER = 'pve-manager=9.1.5 proxmox-kernel-6.14=6.14.11-4';
    const reboot = async () => {
      const before = n1.bootId;
      await shell.run('sudo -n systemctl reboot');
      await until('n1 is back', () => n1.up && n1.bootId !== before);
      shell = await new Shell().connect(n1);
    };

    beforeEach(async () => {
      await snapshot(WEEKLY_SNAPSHOT);
      expect((await shell.run('sudo -n apt-get -y dist-upgrade')).code).toBe(0);
      await snapshot(NEXT_SNAPSHOT);
      expect((await shell.run('sudo -n apt-get -y dist-upgrade')).code).toBe(0);
      await snapshot(WEEKLY_SNAPSHOT);
    });

    it('installs older packages only when told that it may', async () => {
      expect((await shell.run('sudo -n apt-get -s dist-upgrade')).stdout).not.toContain('Inst ');
      const simulated = await shell.run(`sudo -n apt-get -s install ${OLDER}`);
      expect(simulated.code).toBe(0);
      expect(simulated.stdout).toMatch(/^Inst pve-manager \[9\.1\.6\] \(9\.1\.5 Proxmox.* \[amd64\]\)$/m);
      expect(simulated.stdout).toContain(
        'The following packages will be DOWNGRADED:\n  pve-manager proxmox-kernel-6.14\n' +
          '0 upgraded, 0 newly installed, 2 downgraded, 0 to remove and 0 not upgraded.\n',
      );
      for (const options of ['-y', '-y --download-only']) {
        expect(await shell.run(`sudo -n apt-get ${options} install ${OLDER}`)).toMatchObject({
          code: 100,
          stderr: 'E: Packages were downgraded and -y was used without --allow-downgrades.\n',
        });
      }
      expect(await shell.run('sudo -n apt-get -y --allow-downgrades install pve-manager=9.1.6')).toMatchObject({
        code: 100,
        stderr: "E: Version '9.1.6' for 'pve-manager' was not found\n",
      });
      expect((await shell.run('sudo -n apt-get -y --allow-downgrades install nonsense=1')).stderr).toBe(
        'E: Unable to locate package nonsense\n',
      );
      const fetched = await shell.run(`sudo -n apt-get -y --allow-downgrades --download-only install ${OLDER}`);
      expect(fetched.stdout).toContain('Download complete');
      expect([...n1.packages.downloaded]).toEqual(OLDER.split(' '));
      const unit = `systemd-run --unit=${UNIT} --remain-after-exit -- apt-get -y --allow-downgrades install ${OLDER}`;
      expect((await shell.run(`sudo -n ${unit}`)).code).toBe(0);
      await until('the unit ended', () => effects('unit.end').length === 1);
      expect([await versionOf('pve-manager'), await versionOf('pve-container')]).toEqual(['9.1.5', '6.0.19']);
      expect(effects('packages.install').at(-1)).toMatchObject({
        before: { 'pve-manager': '9.1.6' },
        after: { 'pve-manager': '9.1.5' },
      });
    });

    it('boots a pinned kernel once the boot partitions were written, and the newest again after that', async () => {
      const kernels = async () => (await shell.run('sudo -n proxmox-boot-tool kernel list')).stdout;
      expect((await shell.run('sudo -n proxmox-boot-tool kernel pin 6.14.11-9-pve')).code).toBe(1);
      expect((await shell.run('sudo -n proxmox-boot-tool kernel pin 6.14.11-4-pve')).code).toBe(0);
      expect(await kernels()).toContain('\nPinned kernel:\n6.14.11-4-pve\n');
      await reboot();
      expect(n1.kernel).toBe('6.14.11-5-pve');
      expect((await shell.run('sudo -n proxmox-boot-tool refresh')).code).toBe(0);
      await reboot();
      expect((await shell.run('uname -r')).stdout).toBe('6.14.11-4-pve\n');
      await shell.run('sudo -n proxmox-boot-tool kernel pin 6.14.11-3-pve --next-boot');
      expect(await kernels()).toContain('\nKernel pinned on next-boot:\n6.14.11-3-pve\n');
      await shell.run('sudo -n proxmox-boot-tool refresh');
      await reboot();
      expect(n1.kernel).toBe('6.14.11-3-pve');
      await reboot();
      expect(n1.kernel).toBe('6.14.11-4-pve');
      expect((await shell.run('sudo -n proxmox-boot-tool kernel unpin')).code).toBe(0);
      await shell.run('sudo -n proxmox-boot-tool refresh');
      await reboot();
      expect(n1.kernel).toBe('6.14.11-5-pve');
      expect(effects('boot.pin')).toMatchObject([
        { before: {}, after: { pinned: '6.14.11-4-pve' } },
        { after: { pinned: '6.14.11-4-pve', next: '6.14.11-3-pve' } },
      ]);
      expect(effects('boot.unpin')).toMatchObject([{ before: { pinned: '6.14.11-4-pve' }, after: {} }]);
      expect(effects('boot.refresh')).toHaveLength(3);
    });

    it('leaves a host without Ceph when its daemons are older than their data', async () => {
      await reboot();
      await until('Ceph runs on n1', () => n1.store.ceph.allClean() && n1.store.ceph.health().size === 0);
      const older = ['ceph-mon', 'ceph-mgr', 'ceph-osd', 'ceph-common'].map((name) => `${name}=19.2.3-pve2`).join(' ');
      expect((await shell.run(`sudo -n apt-get -y --allow-downgrades install ${older}`)).code).toBe(0);
      expect(n1.store.ceph.health().size).toBe(0);
      await reboot();
      await until('the daemons were started', () => effects('ceph.daemons.refused').length === 1);
      expect(effects('ceph.daemons.refused')).toMatchObject([
        { node: 'n1', detail: { version: '19.2.3-pve2', data: '19.2.4-pve1' } },
      ]);
      const health = await json<{ checks: Record<string, unknown> }>('sudo -n ceph health detail -f json');
      expect(Object.keys(health.checks)).toEqual(['MON_DOWN', 'OSD_DOWN', 'OSD_HOST_DOWN', 'PG_DEGRADED']);
      await snapshot(NEXT_SNAPSHOT);
      expect((await shell.run('sudo -n apt-get -y dist-upgrade')).code).toBe(0);
      await reboot();
      await until('all is well', () => n1.store.ceph.allClean() && n1.store.ceph.health().size === 0);
    });
  });

  it('shows Ceph in the shape of the real one, healthy and with a host away', async () => {
    type Status = {
      health: {
        status: string;
        checks: Record<string, { severity: string; summary: { message: string; count: number } }>;
      };
      osdmap: Record<string, number>;
      pgmap: Record<string, unknown>;
      mgrmap: { available: boolean; num_standbys: number };
    };
    const healthy = await json<Status>('sudo -n ceph status -f json');
    expect(Object.keys(healthy)).toEqual([
      'fsid',
      'health',
      'election_epoch',
      'quorum',
      'quorum_names',
      'quorum_age',
      'monmap',
      'osdmap',
      'pgmap',
      'fsmap',
      'mgrmap',
      'servicemap',
      'progress_events',
    ]);
    expect(healthy).toMatchObject({
      health: { status: 'HEALTH_OK', checks: {} },
      osdmap: { num_osds: 6, num_up_osds: 6 },
      mgrmap: { available: true, num_standbys: 2 },
    });
    expect(healthy.pgmap).toMatchObject({ pgs_by_state: [{ state_name: 'active+clean', count: 129 }], num_pgs: 129 });
    expect(healthy.pgmap).not.toHaveProperty('degraded_objects');

    expect((await shell.run('sudo -n ceph osd set-group noout n2')).code).toBe(0);
    expect(await json('sudo -n ceph osd dump -f json')).toMatchObject({ crush_node_flags: { n2: ['noout'] } });
    expect(await json('sudo -n ceph health detail --format json')).toMatchObject({
      status: 'HEALTH_WARN',
      checks: {
        OSD_FLAGS: {
          severity: 'HEALTH_WARN',
          summary: {
            message: '1 OSDs or CRUSH {nodes, device-classes} have {NOUP,NODOWN,NOIN,NOOUT} flags set',
            count: 1,
          },
          detail: [{ message: 'host n2 has flags noout' }],
          muted: false,
        },
      },
    });

    world.store('store-001').node('n2').powerOff('test');
    await until('the monitors see it', () => world.store('store-001').ceph.health().has('OSD_HOST_DOWN'));
    const away = await json<Status>('sudo -n ceph status -f json');
    expect(Object.keys(away.health.checks)).toEqual([
      'MON_DOWN',
      'OSD_DOWN',
      'OSD_HOST_DOWN',
      'OSD_FLAGS',
      'PG_DEGRADED',
    ]);
    expect(away.health.checks['OSD_HOST_DOWN']?.summary.message).toBe('1 host (2 osds) down');
    expect(away.pgmap).toMatchObject({ degraded_ratio: expect.closeTo(1 / 3, 3) as number });
    const tree = await json<{ nodes: { name: string; type: string; status?: string }[]; stray: unknown[] }>(
      'sudo -n ceph osd tree -f json',
    );
    expect(tree.nodes.filter(({ status }) => status === 'down').map(({ name }) => name)).toEqual(['osd.2', 'osd.3']);
    const no = await shell.run('sudo -n ceph osd ok-to-stop 0 1 -f json');
    expect(no.code).toBe(16);
    expect(no.stderr).toBe('Error EBUSY: unsafe to stop osd(s) at this time (129 PGs are or would become offline)\n');
    expect(JSON.parse(no.stdout)).toMatchObject({ ok_to_stop: false, osds: [0, 1], num_not_ok_pgs: 129 });
    expect(await shell.run('sudo -n ceph mon ok-to-stop n9 -f json')).toEqual({
      code: 0,
      stdout: '\n',
      stderr: 'quorum should be preserved (n1,n3) after stopping [n9]\n',
    });
    const mon = await shell.run('sudo -n ceph mon ok-to-stop n1 -f json');
    expect(mon).toEqual({
      code: 16,
      stdout: '\n',
      stderr: 'Error EBUSY: not enough monitors would be available (n3) after stopping mons [n1]\n',
    });
  });

  it('runs commands in a guest on its own node only, and journals the config that it gets', async () => {
    const at = async (name: string) => new Shell().connect(world.store('store-001').node(name));
    expect(await shell.run('sudo -n pct exec 103 -- cat /etc/varnish/default.vcl')).toEqual({
      code: 2,
      stdout: '',
      stderr: "Configuration file 'nodes/n1/lxc/103.conf' does not exist\n",
    });
    const n3 = await at('n3');
    const vcl = 'vcl 4.1;\nbackend default { .host = "127.0.0.1"; }\n';
    const file = '/etc/varnish/releases/abc/varnish-vcl.vcl';
    expect((await n3.run(`sudo -n pct exec 103 -- install -D -m 0644 /dev/stdin ${file}`, vcl)).code).toBe(0);
    expect((await n3.run(`sudo -n pct exec 103 -- varnishd -C -f ${file}`)).code).toBe(0);
    expect((await n3.run(`sudo -n pct exec 103 -- ln -sfn ${file} /etc/varnish/default.vcl`)).code).toBe(0);
    expect((await n3.run('sudo -n pct exec 103 -- readlink /etc/varnish/default.vcl')).stdout).toBe(`${file}\n`);
    expect((await n3.run('sudo -n pct exec 103 -- systemctl reload varnish')).code).toBe(0);
    const [written] = effects('guest.config.write');
    expect(effects('guest.config.switch')).toMatchObject([{ guest: 103, after: written?.after }]);
    expect(effects('guest.config.reload')).toMatchObject([{ guest: 103, after: written?.after }]);
    await n3.run(`sudo -n pct exec 103 -- install -D -m 0644 /dev/stdin ${file}`, 'not vcl at all');
    expect((await n3.run(`sudo -n pct exec 103 -- varnishd -C -f ${file}`)).code).toBe(2);
    expect((await n3.run('sudo -n pct exec 103 -- systemctl reload varnish')).code).toBe(1);
    n3.end();
  });

  it('answers for a VM as the guest agent does, with the exit code inside', async () => {
    const write = await shell.run(
      'sudo -n qm guest exec 101 --pass-stdin 1 -- install -D -m 0644 /dev/stdin /etc/pos.conf',
      'a: 1\n',
    );
    expect(JSON.parse(write.stdout)).toEqual({ exitcode: 0, exited: 1 });
    const read = await json('sudo -n qm guest exec 101 -- cat /etc/pos.conf');
    expect(read).toEqual({ exitcode: 0, exited: 1, 'out-data': 'a: 1\n' });
    expect(await json('sudo -n qm guest exec 101 -- cat /nope')).toMatchObject({
      exitcode: 1,
      exited: 1,
      'err-data': expect.any(String) as string,
    });
  });

  it('drains and fills a node on command, and tells so', async () => {
    expect((await shell.run('sudo -n ha-manager crm-command node-maintenance enable n1')).code).toBe(0);
    await until('n1 is empty of HA guests', () => n1.store.guestsOn('n1').length === 0);
    expect((await shell.run('sudo -n ha-manager status')).stdout).toMatch(/^lrm n1 \(maintenance mode, .*\)$/m);
    expect((await shell.run('sudo -n ha-manager crm-command node-maintenance disable n1')).code).toBe(0);
    await until('the guest is home', () => n1.store.guestsOn('n1').length === 1);
  });

  it('reboots: the port closes, and opens with a new boot id', async () => {
    const before = n1.bootId;
    expect((await shell.run('sudo -n systemctl reboot')).code).toBe(0);
    await until('the node is away', () => !n1.up);
    await expect(new Shell().connect(n1)).rejects.toThrow('ECONNREFUSED');
    await until('it is back', () => n1.up);
    const again = await new Shell().connect(n1);
    expect((await again.run('cat /proc/sys/kernel/random/boot_id')).stdout.trim()).not.toBe(before);
    again.end();
  });

  it('loses the answer, not the effect', async () => {
    world.faults.add({ store: 'store-001', kind: 'lost-answer', step: 'ceph.noout.set', times: 1 });
    expect((await shell.run('sudo -n ceph osd set-group noout n1')).code).toBeNull();
    expect(effects('ceph.noout.set')).toHaveLength(1);
    expect(effects('fault.active')).toMatchObject([{ detail: { kind: 'lost-answer', step: 'ceph.noout.set' } }]);
  });

  it('serves many connections to one node at the same time', async () => {
    const shells = await Promise.all(Array.from({ length: 8 }, () => new Shell().connect(n1)));
    const answers = await Promise.all(shells.map((each, i) => each.run(`echo ${i}`)));
    expect(answers.map(({ stdout }) => stdout)).toEqual(shells.map((_, i) => `${i}\n`));
    for (const each of shells) each.end();
  });
});
