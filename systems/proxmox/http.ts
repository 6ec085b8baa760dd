import { X509Certificate } from 'node:crypto';
import { createSecureContext, type SecureContext } from 'node:tls';
import { createApi, parseJson } from '../http/api.js';
import type { Api, Dialect, Refusal } from '../http/api.js';
import type { Trust } from '../http/pinned.js';
import { ProxmoxError, kindOfAnswer } from './errors.js';
import type { ProxmoxErrorKind } from './errors.js';
import { errorBodySchema } from './schemas.js';
import type { ProxmoxEndpoint, ProxmoxOptions } from './types.js';

/** pveproxy has three blocking workers for everybody, people at the web page included. */
const CONNECTIONS_PER_NODE = 1;
const TOKEN = /^([^\s!=@]+@[^\s!=@]+![^\s!=]+)=(\S+)$/;

/** One store's API: any node answers for any other, so it is entered by the first that answers. */
export function createProxmoxHttp(options: ProxmoxOptions): { api: Api; tokenId: string } {
  const [, tokenId, secret] = TOKEN.exec(options.token) ?? [];
  if (tokenId === undefined || secret === undefined) {
    throw new ProxmoxError('Auth', 'The Proxmox token is not of the form user@realm!tokenid=secret.');
  }
  // Made once: to read the CA anew at each connection costs more than the handshake.
  const authority = options.ca ? authorityIn(options.ca) : undefined;
  const trustIn = ({ name }: ProxmoxEndpoint): Trust => {
    const pin = options.fingerprints?.[name];
    if (pin) return { pin };
    if (authority) return { authority };
    const message = `No CA and no certificate fingerprint is known for node ${name}. Enrol the store to get them.`;
    throw new ProxmoxError('Untrusted', message);
  };
  const api = createApi({
    dialect: dialectOf(`PVEAPIToken=${options.token}`, secret),
    endpoints: options.nodes.map((node) => ({ ...node, trust: trustIn(node) })),
    connectionsPerEndpoint: CONNECTIONS_PER_NODE,
    timeoutMs: options.timeoutMs,
  });
  return { api, tokenId };
}

/** Text that is no certificate would be taken, and trust nobody. */
function authorityIn(ca: string): SecureContext {
  try {
    new X509Certificate(ca);
  } catch (error) {
    throw new ProxmoxError('Untrusted', 'The CA of the nodes is not a certificate in PEM.', { cause: error });
  }
  return createSecureContext({ ca });
}

const dialectOf = (authorization: string, secret: string): Dialect<ProxmoxErrorKind> => ({
  product: 'Proxmox',
  authorization,
  secret,
  error: (kind, message, options) => new ProxmoxError(kind, message, options),
  meaningOf(refusal) {
    const { status, wrote } = refusal;
    const message = messageOf(refusal);
    return {
      kind: kindOfAnswer(status, message, wrote),
      message,
      // The entry node failed to reach the one that was asked; another entry may.
      elsewhere: status >= 595 && status <= 599,
      slow: status !== 595,
    };
  },
});

/** Newer servers write the text into the body, older ones only into the reason phrase. */
function messageOf({ body, reasonPhrase }: Refusal): string {
  const parsed = errorBodySchema.safeParse(parseJson(body));
  const message =
    (parsed.success ? parsed.data.message?.trim() : undefined) || reasonPhrase.trim() || 'no reason given';
  const errors = parsed.success ? Object.entries(parsed.data.errors ?? {}) : [];
  const details = errors.map(([name, why]) => `${name}: ${String(why).trim()}`).join('; ');
  return `${message}${details ? ` (${details})` : ''}`;
}
