import { createHash, timingSafeEqual } from 'node:crypto';
import type { SecureContext, TLSSocket } from 'node:tls';
import { buildConnector } from 'undici';

/** Set on errors that came up before anything was sent, with the reason when the peer is not who it should be. */
export class ConnectFailed extends Error {
  readonly untrusted: boolean;
  constructor(message: string, untrusted: boolean, cause?: unknown) {
    super(message, { cause });
    this.name = 'ConnectFailed';
    this.untrusted = untrusted;
  }
}

/** One of the two: the leaf's SHA-256 in hex, colons allowed, or the authority that must have signed it. */
export type Trust = { pin: string } | { authority: SecureContext };

/** Connects with the peer's authority, or with no chain check but the pinned leaf compared before a byte is sent. */
export function pinnedConnector(trust: Trust, timeout: number): buildConnector.connector {
  const base = buildConnector(
    'pin' in trust
      ? // A resumed session may come without a peer certificate, which would make the comparison moot.
        { rejectUnauthorized: false, maxCachedSessions: 0, timeout }
      : { secureContext: trust.authority, timeout },
  );
  return (target, callback) => {
    base(target, (error, socket) => {
      if (error) {
        callback(new ConnectFailed(reasonOf(error), isTrustFailure(error), error), null);
        return;
      }
      if ('pin' in trust && !certificateMatches(socket as TLSSocket, trust.pin)) {
        socket.destroy();
        callback(new ConnectFailed('the certificate is not the pinned one; nothing was sent', true), null);
        return;
      }
      callback(null, socket);
    });
  };
}

function certificateMatches(socket: TLSSocket, pin: string): boolean {
  const certificate = socket.getPeerCertificate() as { raw?: Buffer } | undefined;
  if (!certificate?.raw) return false;
  const seen = createHash('sha256').update(certificate.raw).digest();
  const expected = Buffer.from(pin.replaceAll(':', ''), 'hex');
  return expected.length === seen.length && timingSafeEqual(expected, seen);
}

const TRUST_CODES =
  /^(CERT_|ERR_TLS_CERT|UNABLE_TO_|DEPTH_ZERO|SELF_SIGNED|ERR_SSL_|CRL_|INVALID_CA|HOSTNAME_MISMATCH|PATH_LENGTH)/;
const codeOf = (error: Error): string => String((error as NodeJS.ErrnoException).code ?? '');
const isTrustFailure = (error: Error): boolean => TRUST_CODES.test(codeOf(error));
const reasonOf = (error: Error): string => (codeOf(error) ? `${error.message} (${codeOf(error)})` : error.message);
