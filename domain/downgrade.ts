import { compareDebVersions } from './deb-version.js';
import type { NodeFacts } from './facts.js';

/**
 * What a node shall have of a release, when it goes forward to it and when it goes back.
 *
 * Forward it is all that the release pins, but older kernels only where they are. Back it is less, and what is left out
 * is said:
 * - Ceph stays: a monitor or OSD does not start on data that a newer one has written.
 * - Across a Debian major no package goes back, and no kernel: such a node is reinstalled, or goes on as it is.
 * Packages that only the newer release brought stay installed, since nothing that is left depends on them.
 */
export interface Pins {
  /** The version of every package that the release pins. */
  packages: Record<string, string>;
  kernel: string;
  /** The release is older than what the store ran, and a permit lets it go back. */
  back?: boolean | undefined;
}

type Installed = Pick<NodeFacts, 'installed'>;

export function packagesFor(node: Installed, pins: Pins): Record<string, string> {
  const { packages, back } = pins;
  if (back && acrossMajors(node, packages)) return {};
  return Object.fromEntries(
    Object.entries(packages).filter(([name]) => !(back && isCeph(name)) && !isKernelThatNeverCame(name, node, pins)),
  );
}

/**
 * A release pins older kernels for the nodes that still have them. Nothing depends on one, so on a node that missed the
 * release which brought it apt does not install it, and nobody misses it.
 */
const isKernelThatNeverCame = (name: string, { installed }: Installed, { kernel }: Pins): boolean => {
  const ofPackage = KERNEL_PACKAGE.exec(name)?.[1];
  return ofPackage !== undefined && ofPackage !== kernel && installed[name] === undefined;
};
const KERNEL_PACKAGE = /^(?:proxmox|pve)-kernel-(\d+\.\d+\.\d+-\d+-pve)(?:-signed)?$/;

export const kernelFor = (node: Installed & Pick<NodeFacts, 'runningKernel'>, { packages, kernel, back }: Pins) =>
  back && acrossMajors(node, packages) ? node.runningKernel : kernel;

/** What stays newer on a node that goes back, and why, in sentences. */
export function keptOn(node: Installed & Pick<NodeFacts, 'name'>, { packages, back }: Pins): string[] {
  if (!back) return [];
  const across = acrossMajors(node, packages);
  if (across)
    return [
      `${node.name}: no package and no kernel goes back, only the configuration: ${across} is ${node.installed[across]}, the release has ${packages[across]}, and that is another Debian major.`,
    ];
  const kept = differing(node, packages).filter((name) => isCeph(name) && node.installed[name] !== undefined);
  if (kept.length === 0) return [];
  const names = kept.map((name) => `${name} ${node.installed[name]}`).join(', ');
  return [`${node.name}: Ceph does not go back; these stay: ${names}.`];
}

/** Pinned packages that are not installed in the pinned version. */
export const differing = (node: Installed, packages: Record<string, string>): string[] =>
  Object.keys(packages).filter((name) => node.installed[name] !== packages[name]);

/** How the boot loader is brought to start `kernel`. */
export type BootChange = 'none' | 'pin' | 'unpin';

/**
 * A boot loader starts the newest kernel it knows unless one is pinned. Only a pin of our own is taken away; one of
 * someone else's is stopped at long before.
 */
export function decideBoot(
  node: Pick<NodeFacts, 'bootableKernels' | 'pinnedKernel'>,
  kernel: string,
  ourPin: string | undefined,
): BootChange {
  const newest = node.bootableKernels.toSorted(compareDebVersions).at(-1);
  if (newest !== kernel) return node.pinnedKernel === kernel ? 'none' : 'pin';
  return node.pinnedKernel !== undefined && node.pinnedKernel === ourPin ? 'unpin' : 'none';
}

const CEPH =
  /^(ceph|cephadm|radosgw|rbd-|librados|librbd|libradosstriper|librgw|libcephfs|libsqlite3-mod-ceph|python3-(ceph|rados|rbd|rgw))/;

/** The daemons, and the libraries and tools that are built with them and depend on their exact version. */
const isCeph = (name: string): boolean => CEPH.test(name);

/** The package by which it shows that the release is of another Debian major than the node. */
const acrossMajors = ({ installed }: Installed, packages: Record<string, string>): string | undefined =>
  Object.keys(packages).find((name) => {
    const there = majorOf(name, installed[name]);
    const wanted = majorOf(name, packages[name]);
    return there !== undefined && wanted !== undefined && there !== wanted;
  });

/** Packages whose own version begins with the major of Debian, or of Proxmox VE, which has one Debian for each. */
const MAJOR_IN_FRONT = new Set(['base-files', 'proxmox-ve', 'pve-manager']);

function majorOf(name: string, version: string | undefined): string | undefined {
  if (version === undefined) return undefined;
  if (MAJOR_IN_FRONT.has(name)) return /^(\d+)/.exec(version)?.[1];
  return /[+~](?:deb|bpo)(\d+)/.exec(version)?.[1];
}
