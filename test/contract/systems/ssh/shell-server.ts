import { spawn, type ChildProcess } from 'node:child_process';
import net from 'node:net';
import type { AddressInfo } from 'node:net';
import ssh2 from 'ssh2';
import type { Connection, ServerChannel } from 'ssh2';

/**
 * An SSH server made of the `ssh2` library: gives every command to /bin/sh on this machine, and can be cut off at any
 * moment. Like OpenSSH it opens ten channels a connection, and lends one for as long as its command runs.
 */
export interface ShellServer {
  host: string;
  port: number;
  /** Second field of the public key line. */
  hostKey: string;
  userKey: string;
  commands: string[];
  /** Connections that got as far as a shell prompt would. */
  sessions(): number;
  /** Resets every TCP connection, as a lost link does. */
  cut(): void;
  close(): Promise<void>;
}

interface KeyPair {
  private: string;
  public: string;
}

export function ed25519(): KeyPair {
  // One in some hundred keys of this generator cannot be read back.
  for (;;) {
    const pair = ssh2.utils.generateKeyPairSync('ed25519') as KeyPair;
    if (!(ssh2.utils.parseKey(pair.private) instanceof Error)) return pair;
  }
}

const MAX_SESSIONS = 10;

export async function startShellServer(): Promise<ShellServer> {
  const host = ed25519();
  const user = ed25519();
  const allowed = ssh2.utils.parseKey(user.public);
  if (allowed instanceof Error) throw allowed;
  const commands: string[] = [];
  const sockets = new Set<net.Socket>();
  const children = new Set<ChildProcess>();
  let sessions = 0;

  const server = new ssh2.Server({ hostKeys: [host.private] }, (connection: Connection) => {
    connection.on('error', () => undefined);
    connection.on('authentication', (context) => {
      const good = context.method === 'publickey' && context.key.data.equals(allowed.getPublicSSH());
      if (!good) return context.reject(['publickey']);
      if (context.signature && !allowed.verify(context.blob as Buffer, context.signature, context.hashAlgo)) {
        return context.reject(['publickey']);
      }
      context.accept();
    });
    connection.on('ready', () => {
      sessions += 1;
      let channels = 0;
      connection.on('session', (accept, reject) => {
        if (channels === MAX_SESSIONS) return reject();
        channels += 1;
        accept().on('exec', (acceptExec, _reject, info) => {
          commands.push(info.command);
          const child = runInShell(info.command, acceptExec());
          children.add(child);
          child.on('close', () => {
            children.delete(child);
            channels -= 1;
          });
        });
      });
    });
  });

  // The listener is a plain one, so that the sockets can be reset under the protocol.
  const listener = net.createServer((socket) => {
    sockets.add(socket);
    socket.on('close', () => sockets.delete(socket));
    server.injectSocket(socket);
  });
  await new Promise<void>((resolve) => listener.listen(0, '127.0.0.1', resolve));

  const cut = () => {
    for (const socket of sockets) socket.resetAndDestroy();
  };
  return {
    host: '127.0.0.1',
    port: (listener.address() as AddressInfo).port,
    hostKey: host.public.split(' ')[1] ?? '',
    userKey: user.private,
    commands,
    sessions: () => sessions,
    cut,
    async close() {
      cut();
      for (const child of children) child.kill();
      await new Promise((resolve) => listener.close(resolve));
    },
  };
}

function runInShell(command: string, channel: ServerChannel): ChildProcess {
  const child = spawn('/bin/sh', ['-c', command], { stdio: 'pipe' });
  channel.pipe(child.stdin);
  child.stdin.on('error', () => undefined);
  child.stdout.on('data', (chunk: Buffer) => channel.write(chunk));
  child.stderr.on('data', (chunk: Buffer) => channel.stderr.write(chunk));
  child.on('close', (code, signal) => {
    if (code === null) channel.exit(signal?.replace(/^SIG/, '') ?? 'KILL');
    else channel.exit(code);
    channel.end();
  });
  return child;
}
