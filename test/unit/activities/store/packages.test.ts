import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { aptCommand, parseSimulation, stagePackages } from '#activities/store/packages.js';
import { decideManifest } from '#domain/decide-store.js';
import type { CommandRunner } from '#systems/ssh/types.js';
import { aManifest, anArtifact, aTask, KERNEL, PACKAGES } from '../../../support/builders.js';
import { aFakeStore, finishUpgrade, goDown } from '../../../support/fake-store.js';

const PINS = { packages: PACKAGES, kernel: KERNEL };

const OUTPUT = `NOTE: This is only a simulation!
      apt-get needs root privileges for real execution.
Reading package lists...
Building dependency tree...
Reading state information...
Calculating upgrade...
The following packages will be REMOVED:
  pve-kernel-helper
The following NEW packages will be installed:
  proxmox-kernel-6.14.11-4-pve-signed
The following packages will be upgraded:
  libcap2 libgcrypt20 openssh-server pve-manager
4 upgraded, 1 newly installed, 1 to remove and 0 not upgraded.
Remv pve-kernel-helper [8.1.1] [proxmox-ve:amd64 ]
Inst libgcrypt20 [1.11.0-7] (1.11.0-7+deb13u1 Debian:13.2/stable, Debian-Security:13/stable-security [amd64]) []
Inst libcap2 [1:2.75-10+b1] (1:2.75-10+b3 Debian:13.2/stable [amd64])
Inst openssh-server [1:10.0p1-7] (1:10.0p1-7+deb13u1 Debian-Security:13/stable-security [amd64])
Inst proxmox-kernel-6.14.11-4-pve-signed (6.14.11-4 Proxmox:13/stable [amd64])
Inst pve-manager [9.0.11] (9.1.2 Proxmox VE Debian Repository:stable [all])
Inst libc6:i386 [2.41-12] (2.41-12+deb13u1 Debian:13.2/stable [i386])
Purg os-prober [1.83]
Conf libgcrypt20 (1.11.0-7+deb13u1 Debian:13.2/stable, Debian-Security:13/stable-security [amd64])
Conf pve-manager (9.1.2 Proxmox VE Debian Repository:stable [all])`.split('\n');

describe('parseSimulation', () => {
  it('reads what apt would install, epochs and all, and what it would remove or purge', () => {
    expect(parseSimulation(OUTPUT)).toEqual({
      install: [
        { name: 'libgcrypt20', version: '1.11.0-7+deb13u1' },
        { name: 'libcap2', version: '1:2.75-10+b3' },
        { name: 'openssh-server', version: '1:10.0p1-7+deb13u1' },
        { name: 'proxmox-kernel-6.14.11-4-pve-signed', version: '6.14.11-4' },
        { name: 'pve-manager', version: '9.1.2' },
        { name: 'libc6:i386', version: '2.41-12+deb13u1' },
      ],
      remove: ['pve-kernel-helper', 'os-prober'],
    });
  });

  it('finds nothing where apt has nothing to do', () => {
    expect(
      parseSimulation(['Reading package lists...', '0 upgraded, 0 newly installed, 0 to remove and 0 not upgraded.']),
    ).toEqual({
      install: [],
      remove: [],
    });
  });

  it('does not read the summary, or a package by the name of Inst, as a line', () => {
    expect(
      parseSimulation(['The following packages will be REMOVED:', '  Inst x (1)', 'Install nothing (1)', 'Remvx y']),
    ).toEqual({
      install: [],
      remove: [],
    });
  });

  it('reads back every package that was written', () => {
    const name = fc.stringMatching(/^[a-z0-9][a-z0-9+.-]{1,20}$/);
    const version = fc.stringMatching(/^(\d:)?[0-9][A-Za-z0-9.+~-]{0,20}$/);
    const upgrade = fc.record({ name, version, old: fc.option(version, { nil: undefined }) });
    fc.assert(
      fc.property(fc.array(upgrade), (upgrades) => {
        const output = upgrades.map(
          (each) =>
            `Inst ${each.name}${each.old === undefined ? '' : ` [${each.old}]`} (${each.version} Debian:13/stable [amd64])`,
        );
        expect(parseSimulation(output).install).toEqual(
          upgrades.map((each) => ({ name: each.name, version: each.version })),
        );
      }),
    );
  });
});

it('the upgrade is a dist-upgrade that keeps the configuration files of people and asks nothing', () => {
  const command = aptCommand(['dist-upgrade']);
  expect(command.at(-1)).toBe('dist-upgrade');
  expect(command).toEqual(
    expect.arrayContaining(['-y', 'Dpkg::Options::=--force-confdef', 'Dpkg::Options::=--force-confold']),
  );
});

describe('stagePackages', () => {
  const opened = { manifest: aManifest(), artifact: anArtifact() };
  const stage = (store = aFakeStore(), nodes = ['n1', 'n2']) =>
    stagePackages(store.deps, { ...aTask(), nodes }, opened);

  it('points apt at the snapshot, downloads, and changes no package', async () => {
    const store = aFakeStore();
    await stage(store);
    expect(store.nodes['n1']?.sources).toBe(
      'deb http://mirror.example/20261116T000000Z/debian trixie main\ndeb http://mirror.example/20261116T000000Z/pve trixie pve\n',
    );
    expect(store.nodes['n3']?.sources).toBeUndefined();
    expect(store.effects.toSorted()).toEqual(['download n1', 'download n2', 'sources n1', 'sources n2']);
    expect(store.nodes['n1']?.installed['pve-manager']).toBe('9.0.11');
  });

  it('waits for lists and downloads as long as for an upgrade, and no longer', async () => {
    const { deps } = aFakeStore({ timing: { upgrade: 4_321 } });
    const limits = new Map<string, number | undefined>();
    const n1 = deps.nodes.get('n1')!;
    const watched: CommandRunner = {
      run(argv, options) {
        limits.set(argv.join(' '), options?.timeoutMs);
        return n1.run(argv, options);
      },
      close: () => n1.close(),
    };
    await stagePackages({ ...deps, nodes: new Map([['n1', watched]]) }, { ...aTask(), nodes: ['n1'] }, opened);
    const slow = [...limits].filter(([line]) => /apt-get update|--download-only/.test(line));
    expect(slow.map(([, limit]) => limit)).toEqual([4_321, 4_321]);
  });

  it('gives facts on which the manifest is decided', async () => {
    const answer = await stage();
    const nodes = answer.kind === 'done' ? answer.nodes : [];
    expect(nodes.map(({ name }) => name)).toEqual(['n1', 'n2']);
    for (const node of nodes) expect(decideManifest(node, PINS)).toEqual({ kind: 'proceed' });
  });

  it('shows what apt would do against the release', async () => {
    const store = aFakeStore();
    Object.assign(store.nodes['n1']!, { offers: { ...PACKAGES, curl: '8.14.1-2' }, wouldRemove: ['proxmox-ve'] });
    const answer = await stage(store, ['n1']);
    const [node] = answer.kind === 'done' ? answer.nodes : [];
    const decision = decideManifest(node!, PINS);
    expect(decision.kind === 'stop' && decision.stop.detail).toEqual([
      'ManifestMismatch: n1: apt would remove proxmox-ve',
      'ManifestMismatch: n1: apt would install curl 8.14.1-2, the release pins nothing of that name',
    ]);
  });

  it('is as quiet the second time, and after the upgrade', async () => {
    const store = aFakeStore();
    await stage(store);
    finishUpgrade(store.nodes['n1']!);
    const answer = await stage(store, ['n1']);
    expect(answer.kind === 'done' && answer.nodes[0]?.simulation).toEqual({ install: [], remove: [] });
  });

  it('throws when a node cannot be reached, or is none of ours', async () => {
    const store = aFakeStore();
    goDown(Object.assign(store.nodes['n1']!, { rebootLooks: 'never' as const }));
    await expect(stage(store)).rejects.toThrow('n1 cannot be reached');
    await expect(stage(aFakeStore(), ['n9'])).rejects.toThrow(/no access to node n9\. Add it to/);
  });
});
