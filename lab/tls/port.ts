import net from 'node:net';
import { TLSSocket, type SecureContext } from 'node:tls';

const HANDSHAKE_MS = 10_000;

export interface TlsPortOptions {
  /** Whose port it is, for errors: `The API of store-001/n1`. */
  what: string;
  address: string;
  port: number;
  /** Asked for at each connection, so that a replaced certificate is served at once, and none is made for nobody. */
  context: () => Promise<SecureContext>;
  secured: (socket: TLSSocket) => void;
}

/** A listening port for TLS, with its connections. */
export class TlsPort {
  readonly #options: TlsPortOptions;
  readonly #listener: net.Server;
  readonly #sockets = new Set<net.Socket>();
  #closed = false;

  constructor(options: TlsPortOptions) {
    this.#options = options;
    this.#listener = net.createServer({ noDelay: true }, (socket) => {
      this.#sockets.add(socket);
      socket.on('error', () => socket.destroy());
      socket.on('close', () => this.#sockets.delete(socket));
      this.#secure(socket).catch(() => socket.destroy());
    });
  }

  async listen(): Promise<void> {
    const { what, address, port } = this.#options;
    return new Promise((resolve, reject) => {
      this.#listener.once('error', (error) => {
        const remedy = 'Is another practice fleet running on these addresses?';
        reject(new Error(`${what} cannot listen on ${address}:${port}. ${remedy}`, { cause: error }));
      });
      this.#listener.listen(port, address, resolve);
    });
  }

  /** Open connections are cut, as a power loss does. */
  async close(): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    const closed = new Promise<void>((resolve) => this.#listener.close(() => resolve()));
    for (const socket of this.#sockets) socket.resetAndDestroy();
    await closed;
  }

  async #secure(socket: net.Socket): Promise<void> {
    const secureContext = await this.#options.context();
    if (socket.destroyed) return;
    const secure = new TLSSocket(socket, { isServer: true, secureContext });
    const tooLong = setTimeout(() => secure.destroy(), HANDSHAKE_MS);
    secure.on('error', () => secure.destroy());
    secure.once('close', () => clearTimeout(tooLong));
    secure.once('secure', () => {
      clearTimeout(tooLong);
      this.#options.secured(secure);
    });
  }
}
