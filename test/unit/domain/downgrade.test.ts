import { describe, expect, it } from 'vitest';
import { decideManifest, decideReady, decideVerified, planNodes } from '#domain/decide-store.js';
import { decideBoot, kernelFor, keptOn, packagesFor, type Pins } from '#domain/downgrade.js';
import type { NodeFacts } from '#domain/facts.js';
import { aStore, KERNEL, NODES, OLD_KERNEL } from '../../support/builders.js';

const OLDER = {
  'pve-manager': '9.1.4',
  openssl: '3.5.4-1~deb13u1',
  'ceph-osd': '19.2.3-pve1',
  librados2: '19.2.3-pve1',
};
const NEWER = {
  'pve-manager': '9.1.5',
  openssl: '3.5.4-1~deb13u2',
  'ceph-osd': '19.2.3-pve2',
  librados2: '19.2.3-pve2',
};
const BACK: Pins = { packages: OLDER, kernel: OLD_KERNEL, back: true };
const node = (installed: Record<string, string>) => ({ name: 'n1', installed, runningKernel: KERNEL });

describe('what a node shall have', () => {
  it('going forward is all that the release pins', () => {
    expect(packagesFor(node(NEWER), { packages: OLDER, kernel: OLD_KERNEL })).toEqual(OLDER);
    expect(keptOn(node(NEWER), { packages: OLDER, kernel: OLD_KERNEL })).toEqual([]);
  });

  it('has no older kernel that never came, since apt would not bring it to a store that missed a release', () => {
    const packages = {
      'proxmox-kernel-6.14': '6.14.11-5',
      'proxmox-kernel-6.14.11-4-pve-signed': '6.14.11-4',
      'proxmox-kernel-6.14.11-5-pve-signed': '6.14.11-5',
    };
    const pins = { packages, kernel: '6.14.11-5-pve' };
    const had = { 'proxmox-kernel-6.14': '6.14.11-3', 'proxmox-kernel-6.14.11-3-pve-signed': '6.14.11-3' };
    expect(Object.keys(packagesFor(node(had), pins))).toEqual([
      'proxmox-kernel-6.14',
      'proxmox-kernel-6.14.11-5-pve-signed',
    ]);
    const simulation = {
      install: [
        { name: 'proxmox-kernel-6.14', version: '6.14.11-5' },
        { name: 'proxmox-kernel-6.14.11-5-pve-signed', version: '6.14.11-5' },
      ],
      remove: [],
    };
    expect(decideManifest({ name: 'n1', installed: had, simulation }, pins)).toEqual({ kind: 'proceed' });
    // The one that is to boot is missed, and one that is there is held to its version.
    expect(decideManifest({ name: 'n1', installed: had, simulation: { install: [], remove: [] } }, pins)).toMatchObject(
      { kind: 'stop', stop: { reason: 'ManifestMismatch' } },
    );
    const broken = { ...had, 'proxmox-kernel-6.14.11-4-pve-signed': '6.14.11-1' };
    expect(packagesFor(node(broken), pins)).toEqual(packages);
  });

  it('going back is all but Ceph, which is said with its versions', () => {
    expect(packagesFor(node(NEWER), BACK)).toEqual({ 'pve-manager': '9.1.4', openssl: '3.5.4-1~deb13u1' });
    expect(kernelFor(node(NEWER), BACK)).toBe(OLD_KERNEL);
    expect(keptOn(node(NEWER), BACK)).toEqual([
      'n1: Ceph does not go back; these stay: ceph-osd 19.2.3-pve2, librados2 19.2.3-pve2.',
    ]);
  });

  it('is said of nothing that is as old as the release', () => {
    expect(keptOn(node({ ...NEWER, 'ceph-osd': '19.2.3-pve1', librados2: '19.2.3-pve1' }), BACK)).toEqual([]);
    expect(keptOn(node({ 'pve-manager': '9.1.5' }), BACK)).toEqual([]);
  });

  it.each([
    'ceph',
    'ceph-mon',
    'ceph-mgr-modules-core',
    'librados2',
    'librbd1',
    'libcephfs2',
    'python3-rbd',
    'radosgw',
    'rbd-nbd',
  ])('never is an older %s', (name) => {
    expect(packagesFor(node({ [name]: '2' }), { ...BACK, packages: { [name]: '1', openssl: '1' } })).toEqual({
      openssl: '1',
    });
  });

  it.each(['libpve-storage-perl', 'pve-manager', 'python3-yaml', 'librrd8'])('can be an older %s', (name) => {
    expect(packagesFor(node({ [name]: '9.2' }), { ...BACK, packages: { [name]: '9.1' } })).toEqual({ [name]: '9.1' });
  });

  it.each([
    ['a security update says so', 'openssl', '3.5.4-1~deb13u1', '3.0.17-1~deb12u2'],
    ['a suffix says so', 'curl', '8.14.1-2+deb13u1', '7.88.1-10+deb12u14'],
    ['a backport says so', 'ifupdown2', '3.3.0~bpo13+1', '3.2.0~bpo12+1'],
    ['base-files says so', 'base-files', '13.8', '12.4'],
    ['Proxmox VE says so', 'pve-manager', '9.0.11', '8.4.14'],
  ])('across a Debian major is what it has: nothing goes back, as %s', (_, name, newer, older) => {
    const pins = { ...BACK, packages: { ...OLDER, [name]: older } };
    const there = node({ ...NEWER, [name]: newer });
    expect(packagesFor(there, pins)).toEqual({});
    expect(kernelFor(there, pins)).toBe(KERNEL);
    expect(keptOn(there, pins)).toEqual([
      `n1: no package and no kernel goes back, only the configuration: ${name} is ${newer}, the release has ${older}, and that is another Debian major.`,
    ]);
  });
});

describe('the boot loader', () => {
  const knows = (bootableKernels: string[], pinnedKernel?: string) => ({ bootableKernels, pinnedKernel });
  it.each([
    ['is left alone when the newest kernel is wanted', knows([OLD_KERNEL, KERNEL]), KERNEL, undefined, 'none'],
    ['is pinned when an older kernel is wanted', knows([OLD_KERNEL, KERNEL]), OLD_KERNEL, undefined, 'pin'],
    ['is left alone when it is pinned already', knows([OLD_KERNEL, KERNEL], OLD_KERNEL), OLD_KERNEL, undefined, 'none'],
    [
      'is unpinned when the newest is wanted again',
      knows([OLD_KERNEL, KERNEL], OLD_KERNEL),
      KERNEL,
      OLD_KERNEL,
      'unpin',
    ],
    [
      'is pinned anew when another older one is wanted',
      knows(['6.14.5-1-pve', OLD_KERNEL, KERNEL], '6.14.5-1-pve'),
      OLD_KERNEL,
      '6.14.5-1-pve',
      'pin',
    ],
    ['keeps the pin of someone else', knows([OLD_KERNEL, KERNEL], KERNEL), KERNEL, undefined, 'none'],
    ['takes 6.14.11 for newer than 6.14.8', knows(['6.14.11-4-pve', '6.14.8-2-pve']), '6.14.8-2-pve', undefined, 'pin'],
  ] as const)('%s', (_, facts, kernel, ours, change) => expect(decideBoot(facts, kernel, ours)).toBe(change));
});

describe('a store that goes back', () => {
  const upgraded = { installed: NEWER, runningKernel: KERNEL, bootableKernels: [OLD_KERNEL, KERNEL] };
  const facts = (change: Partial<NodeFacts> = {}) =>
    NODES.reduce((store, name) => store.withNode(name, { ...upgraded, ...change }), aStore()).facts();
  const context = { ...BACK, expectedNodes: NODES, ours: { maintenance: [], noout: [] }, work: NODES };

  it('changes packages and reboots where the other kernel runs', () => {
    expect(planNodes(facts(), context)).toContainEqual({ node: 'n2', packages: true, reboot: true, out: false });
  });

  it('does not reboot a node that never ran the newer kernel', () => {
    expect(planNodes(facts({ runningKernel: OLD_KERNEL }), context)).toContainEqual({
      node: 'n2',
      packages: true,
      reboot: false,
      out: false,
    });
  });

  it('touches no node for Ceph alone', () => {
    const there = { installed: { ...OLDER, 'ceph-osd': '19.2.3-pve2' }, runningKernel: OLD_KERNEL };
    expect(planNodes(facts(there), context).every(({ packages, reboot }) => !packages && !reboot)).toBe(true);
    expect(decideVerified(facts(there), context)).toEqual({ kind: 'proceed' });
  });

  it('is not verified while a package is newer', () => {
    const there = { installed: { ...OLDER, openssl: NEWER.openssl }, runningKernel: OLD_KERNEL };
    expect(decideVerified(facts(there), context)).toMatchObject({
      kind: 'stop',
      stop: { reason: 'InventoryMismatch' },
    });
  });

  it('has nothing to do on its nodes across a Debian major, and is well like that', () => {
    const across = { ...context, packages: { ...OLDER, 'pve-manager': '8.4.14' } };
    expect(planNodes(facts(), across).every(({ packages, reboot }) => !packages && !reboot)).toBe(true);
    expect(decideVerified(facts(), across)).toEqual({ kind: 'proceed' });
  });

  const [n1] = facts().nodes as [NodeFacts];
  const exact = [
    { name: 'openssl', version: '3.5.4-1~deb13u1' },
    { name: 'pve-manager', version: '9.1.4' },
  ];
  it('does what apt would do when that is exactly what was decided', () => {
    expect(decideManifest({ ...n1, simulation: { install: exact, remove: [] } }, context)).toEqual({ kind: 'proceed' });
  });

  it.each([
    ['take Ceph back with it', [...exact, { name: 'ceph-osd', version: '19.2.3-pve1' }], []],
    ['leave a package out', exact.slice(1), []],
    ['remove one', exact, ['proxmox-ve']],
    ['take another version', [exact[0]!, { name: 'pve-manager', version: '9.1.3' }], []],
  ])('does nothing when apt would %s', (_, install, remove) => {
    expect(decideManifest({ ...n1, simulation: { install, remove } }, context)).toMatchObject({
      kind: 'stop',
      stop: { reason: 'ManifestMismatch' },
    });
  });

  it('is not ready while someone else has pinned a kernel; our own pin is no hindrance', () => {
    const pinned = facts({ pinnedKernel: '6.8.12-1-pve' });
    expect(decideReady(pinned, context)).toMatchObject({
      kind: 'stop',
      stop: { reason: 'WrongKernel', summary: 'n1: someone else has pinned kernel 6.8.12-1-pve (and 2 more)' },
    });
    const pins = Object.fromEntries(NODES.map((name) => [name, '6.8.12-1-pve']));
    expect(decideReady(pinned, { ...context, ours: { ...context.ours, pins } })).toEqual({ kind: 'proceed' });
  });
});
