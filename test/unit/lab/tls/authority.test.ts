import { X509Certificate } from 'node:crypto';
import { mkdtemp, rm } from 'node:fs/promises';
import net from 'node:net';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import tls from 'node:tls';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { createAuthorities } from '#lab/tls/authority.js';
import { issueAuthority } from '#lab/tls/certificate.js';

let folder: string;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'edge-tls-'));
});
afterEach(() => rm(folder, { recursive: true, force: true }));

/** What a strict client says of a server with this certificate. */
async function dial(context: tls.SecureContext, ca: string, address: string): Promise<string> {
  const plain = net.createServer((socket) => {
    const secured = new tls.TLSSocket(socket, { isServer: true, secureContext: context });
    secured.on('error', () => undefined);
    secured.resume();
  });
  await new Promise<void>((resolve) => plain.listen(0, address, resolve));
  const { port } = plain.address() as AddressInfo;
  try {
    return await new Promise<string>((resolve) => {
      const client = tls.connect({ host: address, port, ca }, () => {
        resolve('trusted');
        client.destroy();
      });
      client.on('error', (error: NodeJS.ErrnoException) => resolve(error.code ?? error.message));
    });
  } finally {
    plain.close();
  }
}

describe('createAuthorities', () => {
  it('makes node certificates that a strict client trusts by address', async () => {
    const authorities = createAuthorities(folder);
    const { caPem } = await authorities.storeAuthority('store-001');
    const node = await authorities.nodeContext('store-001', 'n1', '127.0.0.1');
    expect(await dial(node.context, caPem, '127.0.0.1')).toBe('trusted');
  });

  it('gives each store an authority of its own', async () => {
    const authorities = createAuthorities(folder);
    const { caPem } = await authorities.storeAuthority('store-002');
    const node = await authorities.nodeContext('store-001', 'n1', '127.0.0.1');
    expect(await dial(node.context, caPem, '127.0.0.1')).not.toBe('trusted');
  });

  it('does not vouch for another address', async () => {
    const authorities = createAuthorities(folder);
    const { caPem } = await authorities.storeAuthority('store-001');
    const node = await authorities.nodeContext('store-001', 'n1', '127.9.9.9');
    expect(await dial(node.context, caPem, '127.0.0.1')).toBe('ERR_TLS_CERT_ALTNAME_INVALID');
  });

  it('keeps both over a restart', async () => {
    const before = createAuthorities(folder);
    const first = await before.nodeContext('store-001', 'n1', '127.1.0.1');
    const after = createAuthorities(folder);
    expect((await after.nodeContext('store-001', 'n1', '127.1.0.1')).fingerprint).toBe(first.fingerprint);
    expect((await after.storeAuthority('store-001')).caPem).toBe((await before.storeAuthority('store-001')).caPem);
  });

  it('makes a new leaf when the node has moved to another address', async () => {
    const first = await createAuthorities(folder).nodeContext('store-001', 'n1', '127.1.0.1');
    const second = await createAuthorities(folder).nodeContext('store-001', 'n1', '127.1.0.2');
    expect(second.fingerprint).not.toBe(first.fingerprint);
  });

  it('serves a renewed leaf from the same authority, and keeps it', async () => {
    const authorities = createAuthorities(folder);
    const first = await authorities.nodeContext('store-001', 'n1', '127.1.0.1');
    const renewed = await authorities.renew('store-001', 'n1', '127.1.0.1');
    expect(renewed.fingerprint).not.toBe(first.fingerprint);
    expect((await authorities.nodeContext('store-001', 'n1', '127.1.0.1')).fingerprint).toBe(renewed.fingerprint);
    const again = await createAuthorities(folder).nodeContext('store-001', 'n1', '127.1.0.1');
    expect(again.fingerprint).toBe(renewed.fingerprint);
  });

  it('makes one certificate for callers that ask at the same time', async () => {
    const authorities = createAuthorities(folder);
    const both = await Promise.all([1, 2, 3].map(() => authorities.nodeContext('store-001', 'n1', '127.1.0.1')));
    expect(new Set(both.map((node) => node.fingerprint)).size).toBe(1);
  });

  it('knows IPv6 addresses', async () => {
    const authorities = createAuthorities(folder);
    const node = await authorities.nodeContext('store-001', 'n1', 'fd00::12:1');
    expect(new X509Certificate(node.certPem).checkIP('fd00::12:1')).toBe('fd00::12:1');
  });
});

describe('issueAuthority', () => {
  it('writes dates on both sides of 2050 that readers understand', () => {
    const { certPem } = issueAuthority('Test', {
      from: new Date('2026-01-02T03:04:05Z'),
      to: new Date('2055-06-07T08:09:10Z'),
    });
    const certificate = new X509Certificate(certPem);
    expect(new Date(certificate.validFrom).toISOString()).toBe('2026-01-02T03:04:05.000Z');
    expect(new Date(certificate.validTo).toISOString()).toBe('2055-06-07T08:09:10.000Z');
    expect(certificate.ca).toBe(true);
  });
});
