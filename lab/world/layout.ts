/** What a site has beside its nodes and guests: storages for disks, bridges, pools. One of each kind of site serves all. */
export interface Layout {
  /** Storages for the disks of guests; those for backups come and go. */
  disks: readonly DiskStorage[];
  /** Where the disks of the guests of its own lie. */
  ownDisks: string;
  /** The same on every node. */
  bridges: readonly Bridge[];
  pools: readonly string[];
  /** Which list of commands the worker of the site may run as root. */
  sudoers: 'store' | 'staging';
}

interface DiskStorage {
  storage: string;
  type: 'rbd' | 'lvmthin' | 'dir';
  /** As in its configuration: `images,rootdir`. */
  content: string;
  shared: 0 | 1;
  bytes: number;
}

export interface Bridge {
  iface: string;
  /** Empty: what is on it reaches nobody else. */
  ports: string;
}

const PRODUCTION: Bridge = { iface: 'vmbr0', ports: 'eno1' };

export const STORE_LAYOUT: Layout = {
  disks: [{ storage: 'vm', type: 'rbd', content: 'images,rootdir', shared: 1, bytes: 2 * 10 ** 12 }],
  ownDisks: 'vm',
  bridges: [PRODUCTION],
  pools: [],
  sudoers: 'store',
};

/** Storage, bridge, pool and ids that the staging site keeps for guests under test. */
export const RESTORE = {
  storage: 'restore',
  bridge: 'vmbr-lab',
  pool: 'restore-test',
  vmids: { from: 90_000, to: 99_999 },
} as const;

export const STAGING_LAYOUT: Layout = {
  disks: [
    { storage: 'local', type: 'dir', content: 'iso,vztmpl,backup', shared: 0, bytes: 10 ** 11 },
    { storage: 'local-lvm', type: 'lvmthin', content: 'images,rootdir', shared: 0, bytes: 10 ** 12 },
    { storage: RESTORE.storage, type: 'lvmthin', content: 'images,rootdir', shared: 0, bytes: 2 * 10 ** 12 },
  ],
  ownDisks: 'local-lvm',
  bridges: [PRODUCTION, { iface: RESTORE.bridge, ports: '' }],
  pools: [RESTORE.pool],
  sudoers: 'staging',
};
