import type { FullRepoOptions } from './template.js';

/**
 * The release that a new repo pins: the week's packages of the practice fleet's mirror. Versions are those of
 * Proxmox VE 9.1 on Debian 13; a real fleet replaces them with the ones of its own mirror snapshot.
 */
const PACKAGES: readonly [name: string, version: string][] = [
  ['proxmox-ve', '9.1.0'],
  ['pve-manager', '9.1.5'],
  ['qemu-server', '9.1.4'],
  ['pve-container', '6.0.18'],
  ['pve-ha-manager', '5.0.9'],
  ['libpve-common-perl', '9.1.2'],
  ['libpve-storage-perl', '9.1.0'],
  ['corosync', '3.1.9-pve2'],
  ['ceph-mon', '19.2.3-pve2'],
  ['ceph-mgr', '19.2.3-pve2'],
  ['ceph-osd', '19.2.3-pve2'],
  ['ceph-common', '19.2.3-pve2'],
  ['openssl', '3.5.4-1~deb13u2'],
  ['openssh-server', '1:10.0p1-7'],
  ['systemd', '257.9-1~deb13u2'],
  ['proxmox-kernel-6.14', '6.14.11-4'],
  ['proxmox-kernel-6.14.11-3-pve-signed', '6.14.11-3'],
  ['proxmox-kernel-6.14.11-4-pve-signed', '6.14.11-4'],
];

const COMPRESSED_BACKUP = `  storeTimeout: 5m
  offlineAfter: 8s
  cutOffAfter: 60s
  deferFor: 3s
  newGuestGrace: 1s
`;

interface StageText {
  name: string;
  comment: string;
  stores: string;
  concurrency: string;
  threshold: string;
}

/** `fleet.yaml`, with the comments that a person who edits it needs. */
export function renderFleet(options: FullRepoOptions): string {
  const { fleet, timeZone, compressed } = options;
  return `# The weekly train of this fleet. Durations: 90s, 15m, 24h, 6d. Check your edits with: edge fleet check --repo .
fleet: ${fleet}
timeZone: ${timeZone}

train:
  build: { day: mon, at: '02:00' }
  # A train that an outage kept from starting still starts within this time.
  catchUp: 6h
  # What is not done by then is reported as missed and waits for the next train.
  deadline: ${compressed ? '2h' : '6d'}
  # When the first stage breaks its error threshold or fails its health gate: hold, until people answer, or
  # rollback: the stores that took the release go back to their last good one, without asking anybody. Once a later
  # stage has begun the train holds in any case.
  onCanaryFailure: hold

# Stores are drawn by a hash of their id, so each stage is a mix of the fleet. The last stage takes the rest.
stages:
${stagesFor(options)
  .map((stage) => renderStage(stage, options))
  .join('\n')}
# Every day all stores are looked at for what a run that died has left there. What is ours is taken back, the rest reported.
# To stop it, pause its schedule.
janitor: { at: '05:00', offlineAfter: ${compressed ? '8s' : '60s'} }

# Every night each store with a backup server is backed up, at a moment of its own in the window; then all of it is
# verified, sent to the second place and verified there. How a server is reached is in the file of its worker.
backup:
  window: { start: '22:00', end: '05:00' }
  maxConcurrency: '20%'
  # How old the newest proven backup may be, and within how many weeks each guest is restored for a test.
  tiers:
    till: { rpo: { local: 26h, offsite: 50h }, restoreWeeks: 4 }
    normal: { rpo: { local: 26h, offsite: 50h }, restoreWeeks: 13 }
  defaultTier: normal
  keep: { last: 3, daily: 7, weekly: 4 }
  offsite:
    keep: { last: 3, daily: 14, weekly: 8 }
  # Every new backup has to be encrypted; not set, only those of guests of which an earlier one is.
  # encrypted: true
  # The night in which the space of what was pruned comes back.
  collectOn: sun
  # When guests that are due are restored from the second place, at the staging site, and asked whether they are well.
  restoreTest: { day: sun, at: '09:00', maxConcurrency: ${compressed ? 4 : 2} }
${compressed ? COMPRESSED_BACKUP : ''}
# The notify command is called when no stage moved and no store ended for so long, though nobody is waited for.
alarms: { noProgressAfter: ${compressed ? '90s' : '2h'} }

# No store is touched on these days, first and last included. With stores: only those.
#  - { from: 2026-12-18, to: 2026-12-27, reason: Christmas trade }
freezes: []

# What the stores shall run. Raise version and sequence with every change; stores refuse a lower sequence.
release:
  version: 2026.48.0
  sequence: 48
  validFor: 90d
  # {snapshot} in the sources is replaced by this id: all nodes see one dated state of the mirror.
  snapshot: 20261116T000000Z
  sources:
    - deb https://mirror.example.net/debian/{snapshot} trixie main
    - deb https://mirror.example.net/pve/{snapshot} trixie pve-enterprise
    - deb https://mirror.example.net/ceph-squid/{snapshot} trixie enterprise
  kernel: 6.14.11-4-pve
  packages:
${PACKAGES.map(([name, version]) => `    - { name: ${name}, version: '${version}' }`).join('\n')}
  images: []
  compat:
    pve: '>=8.2 <10'

scan:
  advisories: policies/advisories.yaml
`;
}

/** How many stores are pilots; they carry the tag `pilot` and are the canary stage. */
export function pilotCount(stores: number): number {
  return stores >= 36 ? 5 : Math.max(1, Math.round(stores / 12));
}

function stagesFor({ stores, pilots, compressed }: FullRepoOptions): StageText[] {
  const big = stores >= 300;
  const [first, second] =
    stores >= 36
      ? [big ? 50 : 10, big ? 200 : 20]
      : [Math.max(1, Math.round(stores / 6)), Math.max(1, Math.round(stores / 3))];
  // Six staffed hours have room for four rounds of a store; the larger stages need width instead of time.
  const widths = compressed ? (big ? ['50', '50', '50'] : ['10', '20', '30']) : ['30%', '30%', '30%'];
  const [one = '', two = '', three = ''] = widths;
  const percent = '{ percent: 5, minSample: 10 }';

  const stages: StageText[] = [
    {
      name: 'canary',
      comment: 'The pilots: the stores with the tag.',
      stores: '{ tag: pilot }',
      concurrency: "'100%'",
      threshold: '{ count: 0 }',
    },
  ];
  let left = stores - pilots;
  for (const [name, size, width] of [
    ['wave-1', first, one],
    ['wave-2', second, two],
  ] as const) {
    if (left <= size) break;
    const threshold = size < 20 ? '{ count: 1 }' : percent;
    stages.push({
      name,
      comment: `${size} of the others.`,
      stores: String(size),
      concurrency: quoted(width),
      threshold,
    });
    left -= size;
  }
  if (left === 0) return stages.map((stage) => ({ ...stage, comment: 'The whole fleet.', stores: 'rest' }));
  const name = `wave-${stages.length}`;
  return [
    ...stages,
    { name, comment: 'All that are left.', stores: 'rest', concurrency: quoted(three), threshold: percent },
  ];
}

const quoted = (width: string): string => (width.endsWith('%') ? `'${width}'` : width);

function renderStage(
  { name, comment, stores, concurrency, threshold }: StageText,
  { compressed }: FullRepoOptions,
): string {
  const calendar = compressed
    ? `    soak: 1s
    approval: { required: true, expires: 10m }
`
    : `    window: { days: [tue, wed, thu, fri], start: '10:00', end: '16:00' }
    # From the end of one day's window to the start of the next.
    soak: 18h
    approval: { required: true, expires: 24h }
`;
  const limits = compressed
    ? `      storeTimeout: 5m
      stageTimeout: 20m
      offlineAfter: 8s
      cutOffAfter: 60s
      deferFor: 3s
`
    : `      storeTimeout: 4h
      stageTimeout: 12h
      offlineAfter: 60s
      cutOffAfter: 30m
      deferFor: 5m
`;
  return `  # ${comment}
  - name: ${name}
    stores: ${stores}
${calendar}    limits:
      maxConcurrency: ${concurrency}
      errorThreshold: ${threshold}
      offlineThreshold: { percent: 20, minSample: 5 }
${limits}`;
}
