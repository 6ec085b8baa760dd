import { timingSafeEqual } from 'node:crypto';
import { createServer, type Server as TcpServer, type Socket } from 'node:net';
import ssh2, { type AuthContext, type Connection, type ParsedKey, type ServerChannel } from 'ssh2';
import type { NodeSim } from '../world/node-sim.js';
import type { StoreSim } from '../world/store-sim.js';
import type { World } from '../world/world.js';
import { sshKeyFrom, type SshKey } from './keys.js';
import { runCommandLine } from './shell.js';

export const SSH_USER = 'edge-governor';
const MAX_STDIN_BYTES = 4_000_000;
const MAX_AUTH_TRIES = 6;

/** The key that the store's worker logs in with. */
export const clientKey = (store: StoreSim): SshKey =>
  sshKeyFrom(store.world.seed.bytes(`ssh-client/${store.id}`), `${SSH_USER}@${store.id}`);

export const hostKey = (node: NodeSim): SshKey =>
  sshKeyFrom(node.store.world.seed.bytes(`ssh-host/${node.store.id}/${node.name}`), `root@${node.name}`);

export interface SshServers {
  close(): Promise<void>;
}

/** SSH of every node on its own address. The port closes while the node is down; keys are made at the first connection. */
export async function startSshServers(world: World): Promise<SshServers> {
  const doors = world.sites.flatMap((store) => [...store.nodes.values()].map((node) => new NodeDoor(node)));
  const byNode = new Map(doors.map((door) => [door.node, door]));
  const stop = world.onNode((change, node) => {
    const door = byNode.get(node);
    if (change === 'down') void door?.close();
    else void door?.open();
  });
  await Promise.all(doors.filter(({ node }) => node.up).map((door) => door.open()));
  return {
    close: async () => {
      stop();
      await Promise.all(doors.map((door) => door.close()));
    },
  };
}

/** One node's SSH port. */
class NodeDoor {
  readonly node: NodeSim;
  readonly #sockets = new Set<Socket>();
  #listener: TcpServer | undefined;
  #server: ssh2.Server | undefined;
  /** Made once: a login asks for it twice. */
  #client: { key: ParsedKey; blob: Buffer } | undefined;

  constructor(node: NodeSim) {
    this.node = node;
  }

  open(): Promise<void> {
    const listener = createServer({ noDelay: true }, (socket) => this.#accept(socket));
    this.#listener = listener;
    return new Promise((resolve, reject) => {
      listener.once('error', reject);
      listener.listen(this.node.sshPort, this.node.address, 511, () => {
        listener.removeListener('error', reject);
        resolve();
      });
    });
  }

  close(): Promise<void> {
    const listener = this.#listener;
    this.#listener = undefined;
    for (const socket of this.#sockets) socket.destroy();
    this.#sockets.clear();
    if (!listener) return Promise.resolve();
    return new Promise((resolve) => listener.close(() => resolve()));
  }

  #accept(socket: Socket): void {
    this.#sockets.add(socket);
    socket.on('close', () => this.#sockets.delete(socket));
    // A client that goes away in mid-handshake must not take the fleet with it.
    socket.on('error', () => socket.destroy());
    this.#server ??= this.#makeServer();
    this.#server.injectSocket(socket);
  }

  #makeServer(): ssh2.Server {
    const options = { hostKeys: [hostKey(this.node).privateKey], ident: 'OpenSSH_10.0p2 Debian-7' };
    return new ssh2.Server(options, (connection, info) => {
      const socket = [...this.#sockets].find((each) => each.remotePort === info.port && each.remoteAddress === info.ip);
      if (socket) this.#serve(connection, socket);
      else connection.end();
    });
  }

  #serve(connection: Connection, socket: Socket): void {
    let tries = 0;
    connection.on('authentication', (context) => {
      tries += 1;
      if (tries > MAX_AUTH_TRIES) return void connection.end();
      this.#authenticate(context);
    });
    connection.on('error', () => socket.destroy());
    connection.on('ready', () => {
      connection.on('session', (accept) => {
        const session = accept();
        session.on('pty', (_accept, reject) => reject?.());
        session.on('shell', (_accept, reject) => reject?.());
        session.on('sftp', (_accept, reject) => reject?.());
        session.on('subsystem', (_accept: unknown, reject?: () => void) => reject?.());
        session.on('exec', (acceptExec, _reject, { command }) => {
          void this.#exec(acceptExec(), command, socket);
        });
      });
    });
  }

  #readClient(): { key: ParsedKey; blob: Buffer } {
    const key = ssh2.utils.parseKey(clientKey(this.node.store).privateKey) as ParsedKey;
    return { key, blob: key.getPublicSSH() };
  }

  #authenticate(context: AuthContext): void {
    if (context.method === 'publickey' && context.username === SSH_USER) {
      const { key: allowed, blob: known } = (this.#client ??= this.#readClient());
      const sameKey = context.key.data.length === known.length && timingSafeEqual(context.key.data, known);
      const { signature, blob } = context;
      if (sameKey && !signature) return context.accept();
      if (sameKey && signature && blob && allowed.verify(blob, signature, context.hashAlgo) === true) {
        return context.accept();
      }
    }
    if (context.method !== 'none') {
      this.node.record('login.refused', context.username.slice(0, 64), { detail: { method: context.method } });
    }
    context.reject(['publickey']);
  }

  async #exec(channel: ServerChannel, line: string, socket: Socket): Promise<void> {
    channel.on('error', () => undefined);
    const answer = await runCommandLine({
      node: this.node,
      by: SSH_USER,
      line,
      stdin: () => readAll(channel),
    });
    if (socket.destroyed) return;
    if (answer.kind === 'lost') return void socket.destroy();
    const { code, stdout, stderr } = answer.result;
    // One packet for all parts of the answer: each write of its own wakes the other side once more.
    socket.cork();
    setImmediate(() => socket.uncork());
    if (stderr !== '') channel.stderr.write(stderr);
    if (stdout !== '') channel.write(stdout);
    channel.exit(code);
    channel.end();
  }
}

function readAll(channel: ServerChannel): Promise<string> {
  return new Promise((resolve, reject) => {
    const parts: Buffer[] = [];
    let size = 0;
    channel.on('data', (part: Buffer) => {
      size += part.length;
      if (size > MAX_STDIN_BYTES) reject(new Error(`Standard input is longer than ${MAX_STDIN_BYTES} bytes.`));
      parts.push(part);
    });
    channel.on('end', () => resolve(Buffer.concat(parts).toString('utf8')));
    channel.on('close', () => reject(new Error('The channel closed before the end of standard input.')));
  });
}
