import { describe, expect, it } from 'vitest';
import type { BackedUpGuest } from '#domain/backup.js';
import { readVzdumpLog } from '#domain/backup-failures.js';
import { withLeftOut } from '#domain/backup-result.js';
import { leftOutBy, leftOutIn, type LeftOut } from '#domain/left-out.js';

const VOLUME = 'ceph:vm-101-disk-1';

describe('the disks of a VM that its backups leave out', () => {
  const settings: [string, Record<string, string>, string[]][] = [
    ['are none when nothing is said', { scsi0: `${VOLUME},size=32G` }, []],
    ['are those that say so', { scsi0: VOLUME, scsi1: `${VOLUME},backup=0,size=8G` }, ['scsi1']],
    [
      'in any of the words for it',
      { sata0: `${VOLUME},backup=no`, virtio1: `${VOLUME},backup=off` },
      ['sata0', 'virtio1'],
    ],
    ['and wherever in the line', { ide0: `backup=0,file=${VOLUME}` }, ['ide0']],
    ['are none that say they are in', { scsi0: `${VOLUME},backup=1`, scsi1: `${VOLUME},backup=yes` }, []],
    ['are those that say what nobody understands', { scsi1: `${VOLUME},backup=perhaps` }, ['scsi1']],
    ['are no drives for CDs', { ide2: 'none,media=cdrom,backup=0', ide3: `${VOLUME},media=cdrom,backup=0` }, []],
    ['are no disks that are taken out', { unused0: VOLUME, scsi2: 'none,backup=0' }, []],
    ['are a TPM', { tpmstate0: `${VOLUME},backup=0,version=v2.0` }, ['tpmstate0']],
    ['are the memory of a firmware', { bios: 'ovmf', efidisk0: `${VOLUME},backup=0` }, ['efidisk0']],
    ['but not of one that it does not have', { efidisk0: `${VOLUME},backup=0` }, []],
    ['are a disk of the node that says so', { scsi9: '/dev/disk/by-id/x,backup=0' }, ['scsi9']],
    ['come in their order', { scsi10: `${VOLUME},backup=0`, scsi2: `${VOLUME},backup=0` }, ['scsi2', 'scsi10']],
    ['are nothing that is no disk', { description: 'backup=0', mp0: '/srv,mp=/data', scsi1x: 'backup=0' }, []],
  ];
  it.each(settings)('%s', (_, given, expected) => expect(leftOutIn('qemu', given)).toEqual(expected));
});

describe('the mount points of a container that its backups leave out', () => {
  const settings: [string, Record<string, string>, string[]][] = [
    ['are none when it has none', { rootfs: 'ceph:vm-103-disk-0,size=8G' }, []],
    ['are those that do not say they are in', { mp0: `${VOLUME},mp=/data,size=8G` }, ['mp0']],
    ['are those that say they are not', { mp0: `${VOLUME},mp=/data,backup=0` }, ['mp0']],
    [
      'are none that are volumes and say so',
      { mp0: `${VOLUME},mp=/data,backup=1`, mp1: `mp=/x,volume=${VOLUME},backup=1` },
      [],
    ],
    ['are folders of the node whatever they say', { mp0: '/srv/data,mp=/data,backup=1' }, ['mp0']],
    ['are devices of the node whatever they say', { mp1: '/dev/sdb1,mp=/data,backup=1' }, ['mp1']],
    ['are never the first one', { rootfs: 'ceph:vm-103-disk-0,backup=0' }, []],
    ['are none that are taken out', { unused0: VOLUME }, []],
  ];
  it.each(settings)('%s', (_, given, expected) => expect(leftOutIn('lxc', given)).toEqual(expected));
});

describe('a line of a vzdump', () => {
  const lines: [string, string | undefined][] = [
    ["INFO: exclude disk 'scsi1' 'ceph:vm-101-disk-1' (backup=no)", 'scsi1'],
    ["INFO: exclude disk 'efidisk0' 'ceph:vm-101-disk-2' (efidisk but no OMVF BIOS)", undefined],
    ["INFO: include disk 'scsi0' 'ceph:vm-101-disk-0' 32G", undefined],
    ["INFO: excluding volume mount point mp0 ('/var/lib/data') from backup (disabled)", 'mp0'],
    ["INFO: excluding bind mount point mp1 ('/srv') from backup (not a volume)", 'mp1'],
    ["INFO: excluding device mount point mp2 ('/data') from backup (not a volume)", 'mp2'],
    ["INFO: excluding volume mount point mp3 ('/data') from backup", 'mp3'],
    ["INFO: including mount point rootfs ('/') in backup", undefined],
    ["INFO: VM Name: exclude disk 'scsi1' 'x' (backup=no)", undefined],
  ];
  it.each(lines)('%s', (line, disk) => expect(leftOutBy(line)).toBe(disk));

  it('speaks of the guest whose backup was begun before it', () => {
    const log = [
      'INFO: Starting Backup of VM 101 (qemu)',
      "INFO: include disk 'scsi0' 'ceph:vm-101-disk-0' 32G",
      "INFO: exclude disk 'scsi1' 'ceph:vm-101-disk-1' (backup=no)",
      'INFO: Finished Backup of VM 101 (00:01:10)',
      'INFO: Starting Backup of VM 102 (qemu)',
      'INFO: Finished Backup of VM 102 (00:01:10)',
      'INFO: Starting Backup of VM 103 (lxc)',
      "INFO: excluding volume mount point mp0 ('/var/lib/data') from backup (disabled)",
      'INFO: Finished Backup of VM 103 (00:00:10)',
    ];
    expect(readVzdumpLog(log, [101, 102, 103])).toEqual([
      { vmid: 101, kind: 'done', leftOut: ['scsi1'] },
      { vmid: 102, kind: 'done' },
      { vmid: 103, kind: 'done', leftOut: ['mp0'] },
    ]);
  });
});

describe('what the backups of a guest lack', () => {
  const lacking = (leftOut: LeftOut | undefined, told: string[], meant: string[] = []): LeftOut | undefined => {
    const guest: BackedUpGuest = { vmid: 101, kind: 'qemu', name: 'pos', template: false, leftOut };
    const runs = [{ vmid: 101, kind: 'done' as const, leftOut: told }];
    return withLeftOut([guest], runs, { '101': meant })[0]?.leftOut;
  };

  it('is what its settings say, and what the dump said', () => {
    expect(lacking(['scsi1'], ['scsi2', 'scsi1'])).toEqual(['scsi1', 'scsi2']);
    expect(lacking(undefined, ['scsi2'])).toEqual(['scsi2']);
    expect(lacking(undefined, [])).toBeUndefined();
  });

  it('is not what people meant to be left out', () => {
    expect(lacking(['scsi1'], ['scsi1'], ['scsi1'])).toBeUndefined();
    expect(lacking(['scsi1', 'scsi2'], [], ['scsi1'])).toEqual(['scsi2']);
  });

  it('is not known when nobody could read its settings, whatever the dump said that was meant', () => {
    expect(lacking('unread', [])).toBe('unread');
    expect(lacking('unread', ['scsi1'], ['scsi1'])).toBe('unread');
    expect(lacking('unread', ['scsi2'], ['scsi1'])).toEqual(['scsi2']);
  });

  it('of another guest is none of its own', () => {
    const guest: BackedUpGuest = { vmid: 101, kind: 'qemu', name: 'pos', template: false, leftOut: ['scsi1'] };
    expect(withLeftOut([guest], [{ vmid: 102, kind: 'done', leftOut: ['scsi2'] }], { '102': ['scsi1'] })).toEqual([
      guest,
    ]);
  });
});
