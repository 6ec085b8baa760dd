import type { RestoreDeps } from '#activities/restore/deps.js';
import { createPbsClient } from '#systems/pbs/client.js';
import { createProxmoxClient } from '#systems/proxmox/client.js';
import { openSiteState } from '#systems/site-state/file.js';
import { createSshRunner } from '#systems/ssh/client.js';
import { readSecret, type StagingWorkerConfig } from './config.js';
import { holdState } from './folder-lock.js';

/** The staging site as its worker reaches it, with what it remembers. */
export async function openSite(config: StagingWorkerConfig): Promise<{ deps: RestoreDeps; close(): Promise<void> }> {
  const { copies, encryptionKeyFiles, place, timing } = config;
  const releaseState = await holdState(config.stateDir);
  const [token, ca, privateKey, readToken] = await Promise.all([
    readSecret(config.proxmox.tokenFile),
    readSecret(config.proxmox.caFile),
    readSecret(config.ssh.keyFile),
    readSecret(copies.readTokenFile),
  ]);
  const { node, address, port, fingerprint, datastore } = copies;
  const [username = '', password = ''] = readToken.split(/:(.*)/s);
  const proxmox = createProxmoxClient({ nodes: config.proxmox.nodes, token, ca });
  const client = createPbsClient({ name: node, address, port, token: readToken, fingerprint });
  const nodes = new Map(
    Object.entries(config.ssh.nodes).map(([name, { address: host, port: sshPort, hostKey }]) => [
      name,
      createSshRunner({ host, port: sshPort, user: config.ssh.user, privateKey, hostKey }),
    ]),
  );
  return {
    deps: {
      proxmox,
      nodes,
      place,
      copies: { node, client, server: address, port, fingerprint, datastore, username, password },
      // Read each time: a key is in memory only while it is needed.
      keyOf: async (store) => {
        const path = encryptionKeyFiles[store];
        return path === undefined ? undefined : readSecret(path);
      },
      state: await openSiteState(config.stateDir),
      timing,
      now: () => new Date(),
    },
    async close() {
      await Promise.all([proxmox.close(), client.close(), ...[...nodes.values()].map((runner) => runner.close())]);
      releaseState();
    },
  };
}
