import { abridge } from './abridge.js';
import type { GuestFacts } from './facts.js';

/**
 * Disks and mount points that vzdump leaves out of a guest's backups: such a backup is whole for the server that
 * verifies it, and not for whoever loses the guest.
 */

type Kind = GuestFacts['kind'];
type Settings = Readonly<Record<string, string>>;

/** By their names in the guest's configuration. `unread`: nobody could read which. */
export type LeftOut = readonly string[] | 'unread';

/** As store.yaml may name them, by kind of guest. */
export const DISK_NAMES: Readonly<Record<Kind, RegExp>> = {
  qemu: /^(ide|sata|scsi|virtio|efidisk|tpmstate)\d{1,3}$/,
  lxc: /^mp\d{1,3}$/,
};

/**
 * By the settings of a guest as they are: of a VM what says `backup=0`; of a container each mount point that is no
 * volume, or does not say `backup=1`. A drive without anything in it that could be lost is no disk.
 */
export const leftOutIn = (kind: Kind, settings: Settings): string[] =>
  Object.entries(settings)
    .filter(([name, value]) => DISK_NAMES[kind].test(name) && !isBackedUp(kind, name, value, settings))
    .map(([name]) => name)
    .toSorted(byDisk);

function isBackedUp(kind: Kind, name: string, value: string, settings: Settings): boolean {
  const parts = value.split(',');
  const said = (key: string): string | undefined =>
    parts.find((part) => part.startsWith(`${key}=`))?.slice(key.length + 1);
  const volume = said(kind === 'lxc' ? 'volume' : 'file') ?? parts[0] ?? '';
  const backup = said('backup');
  if (kind === 'lxc') return isVolume(volume) && backup !== undefined && ON.test(backup);
  if (said('media') === 'cdrom' || volume === 'none') return true;
  // Without such firmware nothing uses it, and vzdump takes it along in no case.
  if (name.startsWith('efidisk') && settings['bios'] !== 'ovmf') return true;
  return backup === undefined || ON.test(backup);
}

/** `<storage>:<name>`; else it is a folder or a device of the node. */
const isVolume = (volume: string): boolean => /^[^/:][^:]*:/.test(volume);
const ON = /^(1|yes|on|true)$/i;

/** `scsi2` before `scsi10`. */
export const byDisk = (a: string, b: string): number => (padded(a) < padded(b) ? -1 : 1);
const padded = (name: string): string => name.replace(/\d+$/, (number) => number.padStart(3, '0'));

const OF_VM = /^INFO: exclude disk '([a-z]{2,8}\d{1,3})' .*\((?!efidisk)[^()]*\)$/;
const OF_CONTAINER = /^INFO: excluding \S+ mount point (mp\d{1,3}) .*from backup/;

/** The disk that a line of a vzdump says is left out, if that is what it says. */
export const leftOutBy = (line: string): string | undefined => OF_VM.exec(line)?.[1] ?? OF_CONTAINER.exec(line)?.[1];

/** Disks by guest, of which people said in store.yaml that they may be lost. */
export type MeantOut = Record<string, string[]>;

/** `scsi1, mp0`, or that nobody knows. */
export const leftOutWords = (leftOut: LeftOut): string => (isRead(leftOut) ? abridge(leftOut) : UNREAD);

export const leftOutAdvice = (leftOut: LeftOut): string =>
  isRead(leftOut)
    ? `${abridge(leftOut)}: set backup=1 there, or say in store.yaml that it is meant (withoutDisks)`
    : UNREAD;

const UNREAD = 'nobody could read which';
const isRead = (leftOut: LeftOut): leftOut is readonly string[] => leftOut !== 'unread' && leftOut.length > 0;
