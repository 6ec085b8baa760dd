import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import fc from 'fast-check';
import ssh2 from 'ssh2';
import { describe, expect, it } from 'vitest';
import { sshKeyFrom } from '#lab/ssh/keys.js';
import { maySudo, sudoersLines } from '#lab/ssh/sudoers.js';
import { STAGING_PRIVILEGES } from '#lab/world/staging.js';
import { splitWords, UnsupportedShell } from '#lab/ssh/words.js';
import { compareVersions } from '#lab/world/mirror.js';

describe('splitWords', () => {
  it('splits as a real shell does, whatever is inside the quotes', () => {
    const bare = fc.stringMatching(/^[A-Za-z0-9_./:=,@%+-]{1,12}$/);
    const text = fc.string({ unit: 'grapheme-ascii', maxLength: 12 });
    const single = text.map((t) => `'${t.replaceAll("'", '')}'`);
    const double = text.map((t) => `"${t.replace(/["$`\\]/g, '\\$&')}"`);
    const escaped = fc.constantFrom(' ', '"', "'", '\\', '$', ';', '|', '&', '*').map((c) => `\\${c}`);
    const word = fc
      .array(fc.oneof(bare, single, double, escaped), { minLength: 1, maxLength: 4 })
      .map((p) => p.join(''));
    fc.assert(
      fc.property(fc.array(word, { minLength: 1, maxLength: 5 }), (words) => {
        const line = words.join(' ');
        const real = execFileSync('/bin/sh', ['-c', `printf '%s\\0' ${line}`]).toString('utf8');
        expect(splitWords(line)).toEqual(real.split('\0').slice(0, -1));
      }),
      { numRuns: 60 },
    );
  });

  for (const line of [
    'a; b',
    'a | b',
    'a && b',
    'echo $HOME',
    'echo "$HOME"',
    '$(id)',
    '`id`',
    'a > b',
    'a < b',
    'a\nb',
    '(a)',
    "'open",
    '"open',
    'a \\',
  ]) {
    it(`refuses ${JSON.stringify(line)}`, () => {
      expect(() => splitWords(line)).toThrow(UnsupportedShell);
    });
  }
});

describe('sshKeyFrom', () => {
  it('makes keys that read back, the same one for the same seed', () => {
    for (let i = 0; i < 300; i += 1) {
      const seed = createHash('sha256').update(String(i)).digest();
      const made = sshKeyFrom(seed, 'x');
      const parsed = ssh2.utils.parseKey(made.privateKey);
      if (parsed instanceof Error) throw parsed;
      expect(parsed.getPublicSSH().toString('base64')).toBe(made.publicBlob);
      expect(sshKeyFrom(seed, 'x')).toEqual(made);
    }
  });
});

describe('maySudo', () => {
  const allowed = [
    'apt-get update',
    'apt-get -s dist-upgrade',
    'apt-get -y -o DPkg::Lock::Timeout=300 --download-only dist-upgrade',
    'apt-get -y --allow-downgrades install openssl=3.5.4-1~deb13u1',
    'apt-get -s install --allow-downgrades openssl=3.5.4-1~deb13u1 openssh-server=1:10.0p1-7',
    'install -D -m 0644 /dev/stdin /etc/apt/sources.list.d/edge-governor.list',
    'systemd-run --unit=edge-governor-upgrade-0a1b --remain-after-exit -- apt-get -y dist-upgrade',
    'systemctl reboot',
    'systemctl reset-failed edge-governor-upgrade-0a1b.service',
    'systemd-run --unit=edge-governor-upgrade-0a1b --remain-after-exit -- apt-get -y --allow-downgrades install a1=1 b1=2',
    'proxmox-boot-tool kernel list',
    'proxmox-boot-tool kernel pin 6.14.11-3-pve',
    'proxmox-boot-tool kernel pin 6.14.11-3-pve --next-boot',
    'proxmox-boot-tool kernel unpin',
    'proxmox-boot-tool refresh',
    'ha-manager crm-command node-maintenance enable n1',
    'ceph osd ok-to-stop 0 1 -f json',
    'ceph osd set-group noout n1',
    'pct exec 103 -- cat /etc/x',
  ];
  const refused = [
    'sh -c id',
    'apt-get remove pve-manager',
    'apt-get install evil',
    'install -D -m 0644 /dev/stdin /etc/sudoers.d/x',
    'systemd-run --unit=edge-governor-upgrade-0a1b -- sh -c id',
    'systemd-run --unit=x -- apt-get -y dist-upgrade',
    'proxmox-boot-tool kernel remove 6.14.11-3-pve',
    'proxmox-boot-tool kernel pin ../../x',
    'proxmox-boot-tool kernel pin 6.14.11-3-pve 6.14.11-4-pve',
    'proxmox-boot-tool format /dev/sda1',
    'apt-get -o APT::Update::Pre-Invoke::=id update',
    'systemd-run --unit=edge-governor-upgrade-0a1b --property=ExecStartPre=id -- apt-get -y dist-upgrade',
    'journalctl -u edge-governor-upgrade-00 --vacuum-time=1s',
    'systemctl stop corosync',
    'systemctl poweroff',
    'ha-manager remove vm:100',
    'ceph osd set noout',
    'ceph osd out 1',
    'ceph osd set-group nodown n1',
    'pct destroy 103',
    'qm destroy 101',
    'cat /etc/shadow',
  ];
  const ask = (line: string): boolean => {
    const [program = '', ...args] = line.split(' ');
    return maySudo(program, args);
  };
  for (const line of allowed) it(`lets through: ${line}`, () => expect(ask(line)).toBe(true));
  for (const line of refused) it(`stops: ${line}`, () => expect(ask(line)).toBe(false));

  it('says the same as the documentation', () => {
    const text = readFileSync(new URL('../../../docs/store-rights.md', import.meta.url), 'utf8');
    const [store, staging] = [...text.matchAll(/```sudoers\n([\s\S]*?)\n```/g)].map(([, block]) => block?.split('\n'));
    expect(store).toEqual(sudoersLines('edge-governor'));
    expect(staging).toEqual(sudoersLines('edge-governor', 'staging'));
    for (const [path, privileges] of Object.entries(STAGING_PRIVILEGES)) {
      expect(text.replaceAll(/ +/g, ' ')).toContain(
        `| \`${path}\` | ${privileges.map((each) => `\`${each}\``).join(', ')} |`,
      );
    }
  });
});

describe('compareVersions', () => {
  for (const [older, newer] of [
    ['9.1.4', '9.1.5'],
    ['9.1.9', '9.1.10'],
    ['3.5.4-1~deb13u1', '3.5.4-1~deb13u2'],
    ['1.0~rc1', '1.0'],
    ['1:1.0', '2:0.1'],
    ['2.0', '1:0.1'],
    ['6.14.11-3', '6.14.11-4'],
    ['1.0', '1.0-1'],
    ['1.0a', '1.0+b'],
  ] as const) {
    it(`${older} is older than ${newer}`, () => {
      expect(compareVersions(older, newer)).toBeLessThan(0);
      expect(compareVersions(newer, older)).toBeGreaterThan(0);
      expect(compareVersions(newer, newer)).toBe(0);
    });
  }
});
