import ssh2 from 'ssh2';
import { clientKey, hostKey } from '#lab/ssh/server.js';
import type { NodeSim } from '#lab/world/node-sim.js';

export interface Run {
  /** Null when the connection broke before the command had ended. */
  code: number | null;
  stdout: string;
  stderr: string;
}

/** A stock SSH client with one connection: what the fleet answers must not depend on the service's own client. */
export class Shell {
  readonly #client = new ssh2.Client();

  connect(node: NodeSim, options: Partial<ssh2.ConnectConfig> = {}): Promise<this> {
    const pinned = Buffer.from(hostKey(node).publicBlob, 'base64');
    return new Promise((resolve, reject) => {
      this.#client
        .on('ready', () => resolve(this))
        .on('error', reject)
        .connect({
          host: node.address,
          port: node.sshPort,
          username: 'edge-governor',
          privateKey: clientKey(node.store).privateKey,
          hostVerifier: (key: Buffer) => key.equals(pinned),
          ...options,
        });
    });
  }

  run(command: string, stdin?: string): Promise<Run> {
    return new Promise((resolve, reject) => {
      this.#client.exec(command, (error, channel) => {
        if (error) return reject(error);
        const run: Run = { code: null, stdout: '', stderr: '' };
        channel.on('data', (part: Buffer) => (run.stdout += part.toString()));
        channel.stderr.on('data', (part: Buffer) => (run.stderr += part.toString()));
        channel.on('exit', (code: number) => (run.code = code));
        channel.on('close', () => resolve(run));
        if (stdin === undefined) channel.end();
        else channel.end(stdin);
      });
    });
  }

  end(): void {
    this.#client.end();
  }
}
