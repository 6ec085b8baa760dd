import { createHash, createPublicKey, generateKeyPairSync, randomBytes, sign } from 'node:crypto';
import type { KeyObject } from 'node:crypto';
import { isIP } from 'node:net';
import { addressBytes, der } from './der.js';

/** X.509 certificates with EC P-256 keys: an authority, and servers signed by it. */
export interface Issued {
  certPem: string;
  keyPem: string;
}

export interface ServerName {
  commonName: string;
  dnsNames: string[];
  addresses: string[];
}

const OID = {
  ecdsaWithSha256: '1.2.840.10045.4.3.2',
  commonName: '2.5.4.3',
  organization: '2.5.4.10',
  basicConstraints: '2.5.29.19',
  keyUsage: '2.5.29.15',
  extendedKeyUsage: '2.5.29.37',
  serverAuth: '1.3.6.1.5.5.7.3.1',
  subjectAltName: '2.5.29.17',
  subjectKeyId: '2.5.29.14',
  authorityKeyId: '2.5.29.35',
} as const;

const KEY_CERT_SIGN_AND_CRL_SIGN = der.bits(Buffer.from([0b0000_0110]), 1);
const DIGITAL_SIGNATURE = der.bits(Buffer.from([0b1000_0000]), 7);

export interface Validity {
  from: Date;
  to: Date;
}

export function issueAuthority(organization: string, validity: Validity): Issued {
  const keys = newKeys();
  const name = nameOf(organization, `${organization} Root CA`);
  const extensions = [
    extension(OID.basicConstraints, true, der.sequence(der.boolean(true))),
    extension(OID.keyUsage, true, KEY_CERT_SIGN_AND_CRL_SIGN),
    extension(OID.subjectKeyId, false, der.octets(keyId(keys.publicKey))),
    extension(OID.authorityKeyId, false, der.sequence(der.tagged(0, keyId(keys.publicKey)))),
  ];
  const certificate = signed(name, name, validity, keys.publicKey, extensions, keys.privateKey);
  return { certPem: pem(certificate), keyPem: keyPem(keys.privateKey) };
}

/** `authorityKey` signs; `organization` is that of the authority. */
export function issueServer(
  authorityKey: KeyObject,
  organization: string,
  server: ServerName,
  validity: Validity,
): Issued {
  const keys = newKeys();
  const extensions = serverExtensions(server, keys.publicKey, createPublicKey(authorityKey));
  const issuer = nameOf(organization, `${organization} Root CA`);
  const subject = nameOf(organization, server.commonName);
  const certificate = signed(issuer, subject, validity, keys.publicKey, extensions, authorityKey);
  return { certPem: pem(certificate), keyPem: keyPem(keys.privateKey) };
}

/** A server that vouches for itself. */
export function issueSelfSigned(organization: string, server: ServerName, validity: Validity): Issued {
  const keys = newKeys();
  const name = nameOf(organization, server.commonName);
  const extensions = serverExtensions(server, keys.publicKey, keys.publicKey);
  const certificate = signed(name, name, validity, keys.publicKey, extensions, keys.privateKey);
  return { certPem: pem(certificate), keyPem: keyPem(keys.privateKey) };
}

function serverExtensions(server: ServerName, own: KeyObject, issuer: KeyObject): Buffer[] {
  const names = [
    ...server.dnsNames.map((dns) => der.tagged(2, Buffer.from(dns, 'ascii'))),
    ...server.addresses.filter((address) => isIP(address)).map((address) => der.tagged(7, addressBytes(address))),
  ];
  return [
    extension(OID.basicConstraints, true, der.sequence()),
    extension(OID.keyUsage, true, DIGITAL_SIGNATURE),
    extension(OID.extendedKeyUsage, false, der.sequence(der.oid(OID.serverAuth))),
    extension(OID.subjectAltName, false, der.sequence(...names)),
    extension(OID.subjectKeyId, false, der.octets(keyId(own))),
    extension(OID.authorityKeyId, false, der.sequence(der.tagged(0, keyId(issuer)))),
  ];
}

const newKeys = () => generateKeyPairSync('ec', { namedCurve: 'prime256v1' });
const spki = (key: KeyObject): Buffer => key.export({ type: 'spki', format: 'der' });
const keyId = (key: KeyObject): Buffer => createHash('sha1').update(spki(key)).digest();
const keyPem = (key: KeyObject): string => key.export({ type: 'pkcs8', format: 'pem' }).toString();

const attribute = (oid: string, value: string): Buffer => der.set(der.sequence(der.oid(oid), der.utf8(value)));
const nameOf = (organization: string, commonName: string): Buffer =>
  der.sequence(attribute(OID.organization, organization), attribute(OID.commonName, commonName));

const extension = (oid: string, critical: boolean, value: Buffer): Buffer =>
  der.sequence(der.oid(oid), ...(critical ? [der.boolean(true)] : []), der.octets(value));

function signed(
  issuer: Buffer,
  subject: Buffer,
  validity: Validity,
  subjectKey: KeyObject,
  extensions: Buffer[],
  issuerKey: KeyObject,
): Buffer {
  const algorithm = der.sequence(der.oid(OID.ecdsaWithSha256));
  const serial = randomBytes(16);
  // Neither a leading zero, which DER forbids, nor a sign bit.
  serial[0] = ((serial[0] ?? 0) & 0x3f) | 0x40;
  const body = der.sequence(
    der.wrapped(0, der.integer(Buffer.from([2]))),
    der.integer(serial),
    algorithm,
    issuer,
    der.sequence(der.time(validity.from), der.time(validity.to)),
    subject,
    spki(subjectKey),
    der.wrapped(3, der.sequence(...extensions)),
  );
  return der.sequence(body, algorithm, der.bits(sign('sha256', body, issuerKey)));
}

function pem(certificate: Buffer): string {
  const lines = certificate.toString('base64').match(/.{1,64}/g) ?? [];
  return `-----BEGIN CERTIFICATE-----\n${lines.join('\n')}\n-----END CERTIFICATE-----\n`;
}
