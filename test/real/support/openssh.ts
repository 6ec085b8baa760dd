import { cp, mkdir, readFile, writeFile } from 'node:fs/promises';
import net from 'node:net';
import type { AddressInfo } from 'node:net';
import { userInfo } from 'node:os';
import { join } from 'node:path';
import { execa } from 'execa';
import { vi } from 'vitest';
import { openDaemons } from './daemons.js';
import { lacking, pathOf } from './programs.js';

/** A stock OpenSSH server on this machine, reached through a link that can be cut, for the user that runs the tests. */
export interface OpenSsh {
  folder: string;
  host: string;
  port: number;
  user: string;
  /** Second field of the host's public key line. */
  hostKey: string;
  privateKey: string;
  /** A key pair of the same kind that this server does not know. */
  stranger: { privateKey: string; publicBlob: string };
  /** The server's own log. */
  log(): Promise<string>;
  /** Resets every connection, as a lost link does. The server and what it runs go on. */
  cut(): void;
  /** From now on nothing arrives on either side, and no side is told. */
  mute(): void;
  close(): Promise<void>;
}

const PROGRAMS = ['sshd', 'ssh-keygen', 'setpriv'];

export const opensshLacking = (): string | undefined =>
  lacking('OpenSSH', PROGRAMS, '--no-install-recommends openssh-server');

/** `programs`: a folder of programs that sessions find before those of the system; they get a copy, in `programs` of the folder. */
export async function startOpenSsh({ programs }: { programs?: string } = {}): Promise<OpenSsh> {
  const daemons = await openDaemons();
  const { folder } = daemons;
  const at = (name: string) => join(folder, name);
  const keyPair = async (name: string, type = 'ed25519') => {
    await execa(pathOf('ssh-keygen'), ['-q', '-t', type, '-N', '', '-C', name, '-f', at(name)]);
    const [privateKey, line] = await Promise.all([readFile(at(name), 'utf8'), readFile(at(`${name}.pub`), 'utf8')]);
    return { privateKey, line, publicBlob: line.split(' ')[1] ?? '' };
  };
  const [host, user, stranger] = await Promise.all([
    keyPair('host'),
    keyPair('user'),
    keyPair('stranger'),
    // Offered by every stock server, and not the one that is pinned.
    keyPair('host-ecdsa', 'ecdsa'),
  ]);
  const port = await freePort();
  await writeFile(at('authorized_keys'), user.line, { mode: 0o600 });
  const lines = [configuration(folder, port)];
  if (programs !== undefined) {
    await cp(programs, at('programs'), { recursive: true });
    lines.push(`SetEnv PATH=${at('programs')}:/usr/sbin:/usr/bin:/sbin:/bin\n`);
  }
  await writeFile(at('sshd_config'), lines.join(''));
  // Where sshd locks itself in before a login; the service of the system makes it at every boot.
  if (userInfo().uid === 0) await mkdir('/run/sshd', { recursive: true, mode: 0o755 });
  daemons.start('sshd', [pathOf('sshd'), '-D', '-f', at('sshd_config'), '-E', at('sshd.log')]);
  const log = () => readFile(at('sshd.log'), 'utf8').catch(() => '');
  await vi.waitUntil(async () => (await log()).includes('Server listening'), { timeout: 10_000 });

  const link = await openLink(port);
  return {
    folder,
    host: '127.0.0.1',
    port: link.port,
    user: userInfo().username,
    hostKey: host.publicBlob,
    privateKey: user.privateKey,
    stranger,
    log,
    cut: link.cut,
    mute: link.mute,
    async close() {
      await link.close();
      await daemons.close();
    },
  };
}

const configuration = (folder: string, port: number): string => `
ListenAddress 127.0.0.1
Port ${port}
HostKey ${folder}/host
HostKey ${folder}/host-ecdsa
PidFile none
AuthorizedKeysFile ${folder}/authorized_keys
PasswordAuthentication no
UsePAM no
PermitRootLogin prohibit-password
# The folder lies below one that everyone may write to.
StrictModes no
`;

async function openLink(port: number): Promise<{ port: number; cut(): void; mute(): void; close(): Promise<void> }> {
  const sockets = new Set<net.Socket>();
  const keep = (socket: net.Socket) => {
    sockets.add(socket);
    socket.on('error', () => undefined);
    socket.on('close', () => sockets.delete(socket));
  };
  const listener = net.createServer((near) => {
    const far = net.connect({ host: '127.0.0.1', port, noDelay: true });
    keep(near);
    keep(far);
    near.pipe(far);
    far.pipe(near);
    near.on('close', () => far.destroy());
    far.on('close', () => near.destroy());
  });
  await new Promise<void>((resolve) => listener.listen(0, '127.0.0.1', resolve));
  const cut = () => {
    for (const socket of sockets) socket.resetAndDestroy();
  };
  return {
    port: (listener.address() as AddressInfo).port,
    cut,
    mute() {
      for (const socket of sockets) socket.unpipe().pause();
    },
    async close() {
      cut();
      await new Promise((resolve) => listener.close(resolve));
    },
  };
}

async function freePort(): Promise<number> {
  const probe = net.createServer();
  await new Promise<void>((resolve) => probe.listen(0, '127.0.0.1', resolve));
  const { port } = probe.address() as AddressInfo;
  await new Promise((resolve) => probe.close(resolve));
  return port;
}
