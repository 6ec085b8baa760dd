import { X509Certificate, createPrivateKey } from 'node:crypto';
import { mkdir, readFile, rename, writeFile } from 'node:fs/promises';
import { isIP } from 'node:net';
import { join } from 'node:path';
import { createSecureContext } from 'node:tls';
import type { SecureContext } from 'node:tls';
import { issueAuthority, issueSelfSigned, issueServer } from './certificate.js';
import type { Issued } from './certificate.js';

/**
 * One certificate authority per practice store, as each Proxmox cluster has its own, and a certificate per node.
 *
 * Made when first asked for and kept in `<stateDir>/tls/<store>/`, so that pins stay valid over a restart. What a node
 * serves is asked for at each connection: `install` and `renew` change it while the fleet runs.
 */
export interface Authorities {
  storeAuthority(store: string): Promise<{ caPem: string }>;
  nodeContext(store: string, node: string, address: string): Promise<NodeCertificate>;
  /** Of a store's backup server: signed by itself, so its fingerprint is what clients pin. */
  selfSigned(store: string, host: string, address: string): Promise<NodeCertificate>;
  /** A new leaf from the store's own authority, served from the next connection on. */
  renew(store: string, node: string, address: string): Promise<NodeCertificate>;
  /** A certificate from somewhere else, served from the next connection on. */
  install(store: string, node: string, certificate: Issued): Promise<NodeCertificate>;
}

export interface NodeCertificate {
  /** Made when it is first asked for: it is what costs memory. */
  readonly context: SecureContext;
  /** SHA-256 of the leaf, upper-case hex with colons, as Proxmox shows it. */
  fingerprint: string;
  certPem: string;
}

const DAY_MS = 86_400_000;
const AUTHORITY_DAYS = 3_650;
const LEAF_DAYS = 730;
/** A kept leaf with less time than this is replaced at start. */
const RENEW_BEFORE_DAYS = 30;

export function createAuthorities(stateDir: string): Authorities {
  const root = join(stateDir, 'tls');
  const authorities = new Map<string, Promise<Issued>>();
  const nodes = new Map<string, Promise<NodeCertificate>>();

  const folderOf = (store: string): string => join(root, store);

  const authorityOf = (store: string): Promise<Issued> =>
    once(authorities, store, async () => {
      const kept = await load(folderOf(store), 'ca');
      if (kept && daysLeft(kept) > RENEW_BEFORE_DAYS) return kept;
      const made = issueAuthority(organizationOf(store), validFor(AUTHORITY_DAYS));
      await save(folderOf(store), 'ca', made);
      return made;
    });

  const issueLeaf = async (store: string, node: string, address: string): Promise<Issued> => {
    const authority = await authorityOf(store);
    const names = isIP(address) ? [node, `${node}.${store}`, 'localhost'] : [node, address, 'localhost'];
    const made = issueServer(
      createPrivateKey(authority.keyPem),
      organizationOf(store),
      { commonName: `${node}.${store}`, dnsNames: names, addresses: isIP(address) ? [address] : [] },
      validFor(LEAF_DAYS),
    );
    await save(folderOf(store), node, made);
    return made;
  };

  const keyOf = (store: string, node: string): string => `${store}/${node}`;
  const serve = (store: string, node: string, issued: Issued): NodeCertificate => {
    const served = contextOf(issued);
    nodes.set(keyOf(store, node), Promise.resolve(served));
    return served;
  };

  return {
    async storeAuthority(store) {
      const { certPem } = await authorityOf(store);
      return { caPem: certPem };
    },

    nodeContext: (store, node, address) =>
      once(nodes, keyOf(store, node), async () => {
        const kept = await load(folderOf(store), node);
        if (kept && daysLeft(kept) > RENEW_BEFORE_DAYS && covers(kept, address)) return contextOf(kept);
        return contextOf(await issueLeaf(store, node, address));
      }),

    selfSigned: (store, host, address) =>
      once(nodes, keyOf(store, host), async () => {
        const kept = await load(folderOf(store), host);
        if (kept && daysLeft(kept) > RENEW_BEFORE_DAYS && covers(kept, address)) return contextOf(kept);
        const names = isIP(address) ? [host, 'localhost'] : [host, address, 'localhost'];
        const server = { commonName: host, dnsNames: names, addresses: isIP(address) ? [address] : [] };
        const made = issueSelfSigned('Proxmox Backup Server', server, validFor(LEAF_DAYS));
        await save(folderOf(store), host, made);
        return contextOf(made);
      }),

    async renew(store, node, address) {
      return serve(store, node, await issueLeaf(store, node, address));
    },

    async install(store, node, certificate) {
      await save(folderOf(store), node, certificate);
      return serve(store, node, certificate);
    },
  };
}

const organizationOf = (store: string): string => `Practice store ${store}`;

/** Starts a day early, because clocks of a practice fleet may be skewed on purpose. */
function validFor(days: number): { from: Date; to: Date } {
  const now = Date.now();
  return { from: new Date(now - DAY_MS), to: new Date(now + days * DAY_MS) };
}

const daysLeft = (issued: Issued): number =>
  (new Date(new X509Certificate(issued.certPem).validTo).getTime() - Date.now()) / DAY_MS;

function covers(issued: Issued, address: string): boolean {
  const certificate = new X509Certificate(issued.certPem);
  return (isIP(address) ? certificate.checkIP(address) : certificate.checkHost(address)) !== undefined;
}

function contextOf(issued: Issued): NodeCertificate {
  let context: SecureContext | undefined;
  return {
    get context() {
      return (context ??= createSecureContext({ cert: issued.certPem, key: issued.keyPem }));
    },
    fingerprint: new X509Certificate(issued.certPem).fingerprint256,
    certPem: issued.certPem,
  };
}

async function once<T>(cache: Map<string, Promise<T>>, key: string, make: () => Promise<T>): Promise<T> {
  const known = cache.get(key);
  if (known) return known;
  const made = make();
  cache.set(key, made);
  made.catch(() => {
    if (cache.get(key) === made) cache.delete(key);
  });
  return made;
}

async function load(folder: string, name: string): Promise<Issued | undefined> {
  try {
    const [certPem, key] = await Promise.all([
      readFile(join(folder, `${name}.pem`), 'utf8'),
      readFile(join(folder, `${name}.key`), 'utf8'),
    ]);
    // A start that was killed between the two files leaves a pair that does not belong together.
    if (!new X509Certificate(certPem).checkPrivateKey(createPrivateKey(key))) return undefined;
    return { certPem, keyPem: key };
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw error;
  }
}

async function save(folder: string, name: string, issued: Issued): Promise<void> {
  await mkdir(folder, { recursive: true, mode: 0o700 });
  await replace(join(folder, `${name}.key`), issued.keyPem);
  await replace(join(folder, `${name}.pem`), issued.certPem);
}

async function replace(file: string, text: string): Promise<void> {
  await writeFile(`${file}.new`, text, { mode: 0o600 });
  await rename(`${file}.new`, file);
}
