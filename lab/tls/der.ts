import { isIPv4 } from 'node:net';

/** The few forms of DER (X.690) that a certificate is made of. */
export const der = {
  sequence: (...parts: Buffer[]): Buffer => tlv(0x30, ...parts),
  set: (...parts: Buffer[]): Buffer => tlv(0x31, ...parts),
  boolean: (value: boolean): Buffer => tlv(0x01, Buffer.from([value ? 0xff : 0x00])),
  integer: (bytes: Buffer): Buffer => tlv(0x02, positive(bytes)),
  octets: (bytes: Buffer): Buffer => tlv(0x04, bytes),
  bits: (bytes: Buffer, unused = 0): Buffer => tlv(0x03, Buffer.from([unused]), bytes),
  utf8: (text: string): Buffer => tlv(0x0c, Buffer.from(text, 'utf8')),
  oid: (dotted: string): Buffer => tlv(0x06, oidBytes(dotted)),
  time: (at: Date): Buffer => timeOf(at),
  /** `[n]` around whole values (constructed) or in place of a value's own tag (primitive). */
  wrapped: (n: number, ...parts: Buffer[]): Buffer => tlv(0xa0 | n, ...parts),
  tagged: (n: number, bytes: Buffer): Buffer => tlv(0x80 | n, bytes),
};

export function addressBytes(address: string): Buffer {
  if (isIPv4(address)) return Buffer.from(address.split('.').map(Number));
  const [head = '', tail] = address.split('::');
  const groups = (text: string) => (text === '' ? [] : text.split(':'));
  const front = groups(head);
  const back = tail === undefined ? [] : groups(tail);
  const middle = Array.from({ length: 8 - front.length - back.length }, () => '0');
  const bytes = Buffer.alloc(16);
  [...front, ...middle, ...back].forEach((group, index) => bytes.writeUInt16BE(parseInt(group, 16), index * 2));
  return bytes;
}

function tlv(tag: number, ...parts: Buffer[]): Buffer {
  const body = Buffer.concat(parts);
  return Buffer.concat([Buffer.from([tag]), lengthOf(body.length), body]);
}

function lengthOf(length: number): Buffer {
  if (length < 0x80) return Buffer.from([length]);
  const bytes: number[] = [];
  for (let rest = length; rest > 0; rest = Math.floor(rest / 256)) bytes.unshift(rest % 256);
  return Buffer.from([0x80 | bytes.length, ...bytes]);
}

/** A leading one bit would make it negative. */
const positive = (bytes: Buffer): Buffer => ((bytes[0] ?? 0) & 0x80 ? Buffer.concat([Buffer.from([0]), bytes]) : bytes);

function oidBytes(dotted: string): Buffer {
  const [first = 0, second = 0, ...rest] = dotted.split('.').map(Number);
  const bytes = [first * 40 + second];
  for (const arc of rest) {
    const septets = [arc & 0x7f];
    for (let left = arc >>> 7; left > 0; left >>>= 7) septets.unshift((left & 0x7f) | 0x80);
    bytes.push(...septets);
  }
  return Buffer.from(bytes);
}

/** Two-digit years until 2049, as RFC 5280 wants. */
function timeOf(at: Date): Buffer {
  const digits = at.toISOString().replaceAll(/[-:T]/g, '').slice(0, 14);
  return at.getUTCFullYear() < 2050
    ? tlv(0x17, Buffer.from(`${digits.slice(2)}Z`, 'ascii'))
    : tlv(0x18, Buffer.from(`${digits}Z`, 'ascii'));
}
