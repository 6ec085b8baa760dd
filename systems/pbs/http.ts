import { createApi } from '../http/api.js';
import type { Api, Refusal } from '../http/api.js';
import { PbsError, kindOfAnswer } from './errors.js';
import type { PbsErrorKind } from './errors.js';
import type { PbsOptions } from './types.js';

const CONNECTIONS = 2;
/** With a colon before the secret, where Proxmox VE has an equals sign. */
const TOKEN = /^([^\s!:@=]+@[^\s!:@=]+![^\s!:=]+):(\S+)$/;

export function createPbsHttp(options: PbsOptions): { api: Api; tokenId: string } {
  const { name, address, port, fingerprint, token, timeoutMs } = options;
  const [, tokenId, secret] = TOKEN.exec(token) ?? [];
  if (tokenId === undefined || secret === undefined) {
    throw new PbsError('Auth', `The token for ${name} is not of the form user@realm!tokenid:secret.`);
  }
  if (!/^([0-9a-f]{2}:?){31}[0-9a-f]{2}$/i.test(fingerprint)) {
    throw new PbsError('Untrusted', `The fingerprint for ${name} is not a SHA-256 in hex. Enrol the store to get it.`);
  }
  const api = createApi<PbsErrorKind>({
    dialect: {
      product: 'backup server',
      authorization: `PBSAPIToken=${token}`,
      secret,
      error: (kind, message, extra) => new PbsError(kind, message, extra),
      meaningOf,
    },
    endpoints: [{ name, address, port, trust: { pin: fingerprint } }],
    connectionsPerEndpoint: CONNECTIONS,
    timeoutMs,
  });
  return { api, tokenId };
}

/** The text of an error is the whole body, although its content type says JSON. */
function meaningOf({ status, body, reasonPhrase, wrote }: Refusal): { kind: PbsErrorKind; message: string } {
  if (/^\s*</.test(body)) {
    const message = `a web page (status ${status}) came instead of an answer. Is something else listening there?`;
    return { kind: wrote ? 'OutcomeUnknown' : 'Malformed', message };
  }
  const message = body.trim() || reasonPhrase.trim() || 'no reason given';
  return { kind: kindOfAnswer(status, message, wrote), message };
}
