/** The disks and mount points of a guest, by their names in its settings, and what vzdump makes of them. */

export interface Disk {
  name: string;
  /** As its settings have it: volume and options. */
  value: string;
}

/** `ownDisks`: the storage that the first disk of a guest lies on which no restore made. */
export function disksOf({ vmid, kind, spec, options, restored, hasDisk }: DiskOwner, ownDisks: string): Disk[] {
  if (!hasDisk) return [];
  const first = `${restored?.storage ?? ownDisks}:vm-${vmid}-disk-0,size=${kind === 'qemu' ? 32 : 8}G`;
  const settings: Record<string, string | null> = { [FIRST[kind]]: first, ...spec.disks };
  for (const [name, value] of Object.entries(options ?? {})) {
    if (DISK.test(name)) settings[name] = value;
  }
  return Object.entries(settings).flatMap(([name, value]) => (value === null ? [] : [{ name, value }]));
}

/** A guest, as far as its disks go. */
interface DiskOwner {
  vmid: number;
  kind: 'qemu' | 'lxc';
  spec: { disks?: Record<string, string> | undefined };
  options: Record<string, string | null> | undefined;
  restored: { storage: string } | undefined;
  hasDisk: boolean;
}

const FIRST = { qemu: 'scsi0', lxc: 'rootfs' } as const;
const DISK = /^((ide|sata|scsi|virtio|efidisk|tpmstate|mp)\d+|rootfs)$/;

/** One that somebody added later. */
export function furtherDisk(
  { kind, vmid }: Pick<DiskOwner, 'kind' | 'vmid'>,
  storage: string,
  backup: boolean,
): Record<string, string> {
  const [name, mount] = kind === 'qemu' ? ['scsi1', ''] : ['mp0', ',mp=/srv/data'];
  return { [name]: `${storage}:vm-${vmid}-disk-1${mount},backup=${Number(backup)},size=8G` };
}

/** Those that a backup of the guest brings back, beside the first one. */
export const savedDisks = (guest: DiskOwner): Disk[] =>
  disksOf(guest, '').filter((disk) => disk.name !== FIRST[guest.kind] && dumped(guest.kind, disk)?.included);

/** The same as a restore makes them. */
export const restoredDisks = (
  { disks = [] }: { disks?: readonly Disk[] | undefined },
  { vmid, storage }: { vmid: number; storage: string },
): Record<string, string> =>
  Object.fromEntries(
    disks.map(({ name, value }, nth) => [
      name,
      [`${storage}:vm-${vmid}-disk-${nth + 1}`, ...value.split(',').slice(1)].join(','),
    ]),
  );

const optionIn = (value: string, key: string): string | undefined =>
  value
    .split(',')
    .find((part) => part.startsWith(`${key}=`))
    ?.slice(key.length + 1);
const isOn = (flag: string | undefined): boolean => flag !== undefined && /^(1|yes|on|true)$/.test(flag);
const volumeIn = (value: string): string => value.split(',')[0] ?? '';

/**
 * Whether a backup has it, and how vzdump tells (`get_backup_volumes`, `mountpoint_backup_enabled`). A drive for CDs is
 * none.
 */
export function dumped(kind: 'qemu' | 'lxc', { name, value }: Disk): { included: boolean; line: string } | undefined {
  const volume = volumeIn(value);
  if (kind === 'lxc') {
    if (name === 'rootfs') return { included: true, line: "INFO: including mount point rootfs ('/') in backup" };
    const mount = `mount point ${name} ('${optionIn(value, 'mp') ?? ''}')`;
    const type = volume.startsWith('/dev/') ? 'device' : volume.startsWith('/') ? 'bind' : 'volume';
    if (type !== 'volume')
      return { included: false, line: `INFO: excluding ${type} ${mount} from backup (not a volume)` };
    return isOn(optionIn(value, 'backup'))
      ? { included: true, line: `INFO: including ${mount} in backup` }
      : { included: false, line: `INFO: excluding volume ${mount} from backup (disabled)` };
  }
  if (optionIn(value, 'media') === 'cdrom') return undefined;
  const flag = optionIn(value, 'backup');
  if (flag !== undefined && !isOn(flag))
    return { included: false, line: `INFO: exclude disk '${name}' '${volume}' (backup=no)` };
  const size = optionIn(value, 'size');
  return { included: true, line: `INFO: include disk '${name}' '${volume}'${size ? ` ${size}` : ''}` };
}
