/** Packages of one dated snapshot of all repositories: name → version. */
type Snapshot = ReadonlyMap<string, string>;
export type Mirror = ReadonlyMap<string, Snapshot>;

export const INSTALLED_SNAPSHOT = '20261109T000000Z';
export const WEEKLY_SNAPSHOT = '20261116T000000Z';
export const NEXT_SNAPSHOT = '20261123T000000Z';

const base = {
  'proxmox-ve': '9.1.0',
  'pve-manager': '9.1.4',
  'qemu-server': '9.1.3',
  'pve-container': '6.0.18',
  'pve-ha-manager': '5.0.8',
  'libpve-common-perl': '9.1.1',
  'libpve-storage-perl': '9.1.0',
  corosync: '3.1.9-pve2',
  'ceph-mon': '19.2.3-pve2',
  'ceph-mgr': '19.2.3-pve2',
  'ceph-osd': '19.2.3-pve2',
  'ceph-common': '19.2.3-pve2',
  openssl: '3.5.4-1~deb13u1',
  'openssh-server': '1:10.0p1-7',
  systemd: '257.9-1~deb13u1',
  'proxmox-kernel-6.14': '6.14.11-3',
  'proxmox-kernel-6.14.11-3-pve-signed': '6.14.11-3',
} as const;

const weekly = {
  ...base,
  'pve-manager': '9.1.5',
  'qemu-server': '9.1.4',
  'pve-ha-manager': '5.0.9',
  'libpve-common-perl': '9.1.2',
  openssl: '3.5.4-1~deb13u2',
  systemd: '257.9-1~deb13u2',
  'proxmox-kernel-6.14': '6.14.11-4',
  'proxmox-kernel-6.14.11-4-pve-signed': '6.14.11-4',
};

const next = {
  ...weekly,
  'pve-manager': '9.1.6',
  'pve-container': '6.0.19',
  'openssh-server': '1:10.0p1-7+deb13u1',
  'ceph-mon': '19.2.4-pve1',
  'ceph-mgr': '19.2.4-pve1',
  'ceph-osd': '19.2.4-pve1',
  'ceph-common': '19.2.4-pve1',
  'proxmox-kernel-6.14': '6.14.11-5',
  'proxmox-kernel-6.14.11-5-pve-signed': '6.14.11-5',
};

/** The snapshots that every lab knows. All packages of one are wanted: a name that a node lacks is a new dependency, as a new kernel is. */
export const builtinMirror: Mirror = new Map<string, Snapshot>([
  [INSTALLED_SNAPSHOT, new Map(Object.entries(base))],
  [WEEKLY_SNAPSHOT, new Map(Object.entries(weekly))],
  [NEXT_SNAPSHOT, new Map(Object.entries(next))],
]);

/** `6.14.11-4-pve` for `proxmox-kernel-6.14.11-4-pve-signed`, undefined for any other package. */
export function kernelOfPackage(name: string): string | undefined {
  return /^proxmox-kernel-(\d+\.\d+\.\d+-\d+-pve)(?:-signed)?$/.exec(name)?.[1];
}

function part(text: string): { word: string; number: number; rest: string } {
  const word = /^[^0-9]*/.exec(text)?.[0] ?? '';
  const digits = /^[0-9]*/.exec(text.slice(word.length))?.[0] ?? '';
  return { word, number: Number(digits || '0'), rest: text.slice(word.length + digits.length) };
}

function order(character: string | undefined): number {
  if (character === '~') return -1;
  if (character === undefined) return 0;
  const code = character.charCodeAt(0);
  return /[A-Za-z]/.test(character) ? code : code + 256;
}

function compareWords(left: string, right: string): number {
  for (let i = 0; i < Math.max(left.length, right.length); i += 1) {
    const difference = order(left[i]) - order(right[i]);
    if (difference !== 0) return difference;
  }
  return 0;
}

function compareParts(left: string, right: string): number {
  let [a, b] = [left, right];
  while (a !== '' || b !== '') {
    const [x, y] = [part(a), part(b)];
    const difference = compareWords(x.word, y.word) || x.number - y.number;
    if (difference !== 0) return difference;
    [a, b] = [x.rest, y.rest];
  }
  return 0;
}

function split(version: string): { epoch: number; upstream: string; revision: string } {
  const colon = version.indexOf(':');
  const rest = colon < 0 ? version : version.slice(colon + 1);
  const dash = rest.lastIndexOf('-');
  return {
    epoch: colon < 0 ? 0 : Number(version.slice(0, colon)),
    upstream: dash < 0 ? rest : rest.slice(0, dash),
    revision: dash < 0 ? '0' : rest.slice(dash + 1),
  };
}

/** Debian's order of versions: below 0 when `left` is older. Source: deb-version(7). */
export function compareVersions(left: string, right: string): number {
  const [a, b] = [split(left), split(right)];
  return a.epoch - b.epoch || compareParts(a.upstream, b.upstream) || compareParts(a.revision, b.revision);
}
