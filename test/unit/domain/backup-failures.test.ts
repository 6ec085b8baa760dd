import { describe, expect, it } from 'vitest';
import {
  classOfError,
  classOfText,
  decideNextTry,
  readVzdumpLog,
  type FailureClass,
  type NextTry,
} from '#domain/backup-failures.js';
import type { PbsErrorKind } from '#systems/pbs/errors.js';
import type { ProxmoxErrorKind } from '#systems/proxmox/errors.js';

const NOW = new Date('2026-11-26T01:00:00Z');
const inMinutes = (minutes: number): Date => new Date(NOW.getTime() + minutes * 60_000);

describe('what became of a backup', () => {
  const kinds: [PbsErrorKind | ProxmoxErrorKind, FailureClass][] = [
    ['Auth', 'credentials'],
    ['Permission', 'credentials'],
    ['Untrusted', 'credentials'],
    ['NoSpace', 'space'],
    ['NodeUnreachable', 'network'],
    ['OutcomeUnknown', 'network'],
    ['Server', 'network'],
    ['Locked', 'lock'],
    ['LockTimeout', 'lock'],
    ['GuestLocked', 'lock'],
    ['Maintenance', 'lock'],
    ['NoQuorum', 'lock'],
    ['Conflict', 'lock'],
    ['NotFound', 'guest'],
    ['Validation', 'guest'],
    ['NotImplemented', 'guest'],
    ['Malformed', 'guest'],
  ];
  it.each(kinds)('an error of kind %s is a matter of %s', (kind, failure) => {
    expect(classOfError(kind)).toBe(failure);
  });

  const texts: [string, FailureClass][] = [
    ['VM is locked (backup)', 'lock'],
    ["can't acquire lock '/var/run/vzdump.lock' - got timeout", 'lock'],
    ["can't lock file '/var/lock/qemu-server/lock-401.conf' - got timeout", 'lock'],
    ['backup create failed: another backup is already running', 'lock'],
    ['backup close image failed: ENOSPC: No space left on device', 'space'],
    ['permission check failed', 'credentials'],
    ['error during request: authentication failed - invalid credentials', 'credentials'],
    ["fingerprint 'aa:bb' not verified, abort!", 'credentials'],
    ['VM 101 qmp command backup failed - backup connect failed: command error: connection refused', 'network'],
    ['VM 101 qmp command backup failed - error trying to connect: tcp connect error: No route to host', 'network'],
    ['backup write data failed: broken pipe', 'network'],
    ['unexpected status', 'network'],
    ['no disk to back up', 'guest'],
    ["storage 'local' does not support snapshots", 'guest'],
    ['', 'guest'],
  ];
  it.each(texts)('"%s" is a matter of %s', (text, failure) => {
    expect(classOfText(text)).toBe(failure);
  });
});

describe('after a failure', () => {
  const next = (failure: FailureClass, failures: number, deadline = inMinutes(240)): NextTry =>
    decideNextTry({ failure, failures, now: NOW, deadline, wait: 5 * 60_000 });

  it.each(['credentials', 'space', 'guest'] as const)('of %s nothing is tried again', (failure) => {
    expect(next(failure, 1)).toMatchObject({ kind: 'stop' });
  });

  it('of the network it is tried twice more, with longer and longer breaks', () => {
    expect(next('network', 1)).toEqual({ kind: 'again', at: inMinutes(5) });
    expect(next('network', 2)).toEqual({ kind: 'again', at: inMinutes(15) });
    expect(next('network', 3)).toMatchObject({ kind: 'stop' });
  });

  it('of a lock it is waited for, an hour long', () => {
    expect(next('lock', 1)).toEqual({ kind: 'again', at: inMinutes(5) });
    expect(next('lock', 11)).toEqual({ kind: 'again', at: inMinutes(5) });
    expect(next('lock', 12)).toMatchObject({ kind: 'stop' });
  });

  it.each(['lock', 'network'] as const)('of a %s nothing is begun at the deadline or later', (failure) => {
    expect(next(failure, 1, inMinutes(5))).toMatchObject({ kind: 'stop', why: 'the window closes before' });
    expect(next(failure, 1, inMinutes(6)).kind).toBe('again');
  });
});

describe('the log of a vzdump', () => {
  const log = [
    'INFO: starting new backup job: vzdump 101 102 103 104 --storage pbs',
    'INFO: Starting Backup of VM 101 (qemu)',
    'INFO: Finished Backup of VM 101 (00:01:10)',
    'INFO: Starting Backup of VM 102 (qemu)',
    'ERROR: Backup of VM 102 failed - VM is locked (backup)',
    'INFO: Starting Backup of VM 103 (lxc)',
    'INFO: Finished Backup of VM 103 (00:00:20)',
    'INFO: Starting Backup of VM 104 (qemu)',
  ];

  it('says of each guest how it ended, and of one that it does not end nothing good', () => {
    expect(readVzdumpLog(log, [101, 102, 103, 104, 105])).toEqual([
      { vmid: 101, kind: 'done' },
      { vmid: 102, kind: 'failed', text: 'VM is locked (backup)', failure: 'lock' },
      { vmid: 103, kind: 'done' },
      { vmid: 104, kind: 'unknown' },
      { vmid: 105, kind: 'unknown' },
    ]);
  });

  it('is not taken for the log of others, nor believed in other words', () => {
    const other = ['INFO: Finished Backup of VM 1011 (00:01:10)', 'x INFO: Finished Backup of VM 101', 'TASK OK'];
    expect(readVzdumpLog(other, [101])).toEqual([{ vmid: 101, kind: 'unknown' }]);
  });

  it('says of a container what its client said, and does not lay it to the next guest', () => {
    const client = [
      'INFO: Starting Backup of VM 103 (lxc)',
      'INFO: Error: No space left on device (os error 28)',
      "ERROR: Backup of VM 103 failed - command 'proxmox-backup-client' failed: exit code 255",
      'INFO: Starting Backup of VM 104 (qemu)',
      'ERROR: Backup of VM 104 failed - the guest says no',
    ];
    expect(readVzdumpLog(client, [103, 104])).toEqual([
      {
        vmid: 103,
        kind: 'failed',
        text: "command 'proxmox-backup-client' failed: exit code 255: No space left on device (os error 28)",
        failure: 'space',
      },
      { vmid: 104, kind: 'failed', text: 'the guest says no', failure: 'guest' },
    ]);
  });
});
