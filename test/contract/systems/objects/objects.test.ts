import { createServer, type Server } from 'node:http';
import { mkdtemp, readdir, rm, stat, symlink, truncate, writeFile, mkdir } from 'node:fs/promises';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { digestOf } from '#systems/objects/names.js';
import { openObjects } from '#systems/objects/open.js';
import type { Objects } from '#systems/objects/types.js';
import { startRegistry, type Registry } from '#workers/registry.js';
import { startS3Server, type S3Server } from '../../../support/s3-server.js';

const hello = Buffer.from('hello');
const ABSENT = `sha256:${'0'.repeat(64)}`;

interface Place {
  /** The one under test. */
  objects: Objects;
  /** Where to put things in; the same one when it takes writes. */
  writer: Objects;
  /** Replaces the bytes of a stored object behind its back. */
  tamper(digest: string, bytes: Buffer): Promise<void>;
  close(): Promise<void>;
}

async function filePlace(): Promise<Place & { dir: string }> {
  const dir = await mkdtemp(join(tmpdir(), 'edge-objects-'));
  const objects = openObjects(pathToFileURL(dir).href);
  return {
    dir,
    objects,
    writer: objects,
    tamper: (digest, bytes) => writeFile(join(dir, 'sha256', digest.slice(7)), bytes),
    close: () => rm(dir, { recursive: true, force: true }),
  };
}

/** A plain file server: unlike our own registry it does not check what it hands out, as a mirror or proxy would not. */
async function httpPlace(): Promise<Place> {
  const objects = new Map<string, Buffer>();
  const server = createServer((request, response) => {
    const found = objects.get(request.url ?? '');
    response.writeHead(found ? 200 : 404);
    response.end(found);
  });
  const url = await listen(server);
  return {
    objects: openObjects(url),
    writer: {
      put: (bytes) => {
        const digest = digestOf(bytes);
        objects.set(`/sha256/${digest.slice(7)}`, Buffer.from(bytes));
        return Promise.resolve(digest);
      },
      setPointer: (name, bytes) => {
        objects.set(`/pointers/${name}`, Buffer.from(bytes));
        return Promise.resolve();
      },
      get: () => Promise.reject(new Error('not used')),
      getPointer: () => Promise.reject(new Error('not used')),
    },
    tamper: (digest, bytes) => {
      objects.set(`/sha256/${digest.slice(7)}`, bytes);
      return Promise.resolve();
    },
    close: () => stop(server),
  };
}

async function s3Place(): Promise<Place & { server: S3Server }> {
  const server = await startS3Server('edge');
  const objects = openObjects('s3://edge/fleet-a', { s3: s3Options(server) });
  return {
    server,
    objects,
    writer: objects,
    tamper: (digest, bytes) => {
      server.objects.set(`fleet-a/sha256/${digest.slice(7)}`, bytes);
      return Promise.resolve();
    },
    close: () => server.close(),
  };
}

const s3Options = (server: S3Server) => ({
  endpoint: server.endpoint,
  credentials: { accessKeyId: server.accessKeyId, secretAccessKey: 'canary-secret-s3' },
});

const places: Record<string, () => Promise<Place>> = { file: filePlace, http: httpPlace, s3: s3Place };

describe.each(Object.entries(places))('objects over %s', (_, open) => {
  let place: Place;
  beforeEach(async () => {
    place = await open();
  });
  afterEach(() => place.close());

  it('names bytes by their sha256 and gives them back', async () => {
    const digest = await place.writer.put(hello);
    expect(digest).toBe('sha256:2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824');
    expect(await place.objects.get(digest, 100)).toEqual(hello);
  });

  it('gives back an empty object', async () => {
    const digest = await place.writer.put(Buffer.alloc(0));
    expect(await place.objects.get(digest, 0)).toEqual(Buffer.alloc(0));
  });

  it('takes an object exactly as large as its reader allows, and none that is one byte larger', async () => {
    const digest = await place.writer.put(hello);
    expect(await place.objects.get(digest, 5)).toEqual(hello);
    await expect(place.objects.get(digest, 4)).rejects.toMatchObject({ kind: 'ObjectTooLarge', retryable: false });
  });

  it('says that an object is missing', async () => {
    await expect(place.objects.get(ABSENT, 10)).rejects.toMatchObject({ kind: 'ObjectMissing', retryable: false });
  });

  it('refuses bytes that are not those asked for', async () => {
    const digest = await place.writer.put(hello);
    await place.tamper(digest, Buffer.from('HELLO'));
    await expect(place.objects.get(digest, 100)).rejects.toMatchObject({ kind: 'DigestMismatch', retryable: false });
  });

  it('replaces a pointer, and knows when there is none', async () => {
    expect(await place.objects.getPointer('desired/store-001.json', 100)).toBeUndefined();
    await place.writer.setPointer('desired/store-001.json', Buffer.from('one'));
    await place.writer.setPointer('desired/store-001.json', Buffer.from('two'));
    expect(await place.objects.getPointer('desired/store-001.json', 100)).toEqual(Buffer.from('two'));
    await expect(place.objects.getPointer('desired/store-001.json', 2)).rejects.toMatchObject({
      kind: 'ObjectTooLarge',
    });
  });

  it.each([
    '',
    '.',
    '..',
    '../x',
    'a/../b',
    '/etc/passwd',
    'a//b',
    'a/',
    '-x',
    'a b',
    'a\0b',
    'a?b',
    'a%2fb',
    '.hidden',
    'x'.repeat(200),
  ])('refuses the pointer name %j', async (name) => {
    await expect(place.objects.getPointer(name, 10)).rejects.toMatchObject({ kind: 'BadName' });
  });

  it.each(['', 'sha256:', `sha256:${'A'.repeat(64)}`, `sha512:${'0'.repeat(64)}`, `sha256:../../${'0'.repeat(58)}`])(
    'refuses the digest %j',
    async (digest) => {
      await expect(place.objects.get(digest, 10)).rejects.toMatchObject({ kind: 'BadName' });
    },
  );
});

describe('objects in a folder', () => {
  let place: Awaited<ReturnType<typeof filePlace>>;
  beforeEach(async () => {
    place = await filePlace();
  });
  afterEach(() => place.close());

  it('writes nothing when the bytes are there', async () => {
    const digest = await place.objects.put(hello);
    const path = join(place.dir, 'sha256', digest.slice(7));
    const before = await stat(path, { bigint: true });
    await place.objects.put(hello);
    const after = await stat(path, { bigint: true });
    expect([after.ino, after.mtimeNs]).toEqual([before.ino, before.mtimeNs]);
  });

  it('repairs an object that rotted on the disk when it is put again', async () => {
    const digest = await place.objects.put(hello);
    await truncate(join(place.dir, 'sha256', digest.slice(7)), 2);
    await place.objects.put(hello);
    expect(await place.objects.get(digest, 10)).toEqual(hello);
  });

  it('leaves no temporary files behind, also when many write the same', async () => {
    await Promise.all(Array.from({ length: 20 }, () => place.objects.put(hello)));
    expect(await readdir(join(place.dir, 'tmp'))).toEqual([]);
  });

  it('does not follow a link out of the folder', async () => {
    await mkdir(join(place.dir, 'pointers'));
    await symlink('/etc/hostname', join(place.dir, 'pointers', 'x'));
    await expect(place.objects.getPointer('x', 1000)).rejects.toMatchObject({ kind: 'Unavailable' });
  });
});

describe('objects over http', () => {
  const servers: Server[] = [];
  afterEach(async () => {
    await Promise.all(servers.splice(0).map(stop));
  });
  const serve = async (handler: Parameters<typeof createServer>[1]): Promise<string> => {
    const server = createServer(handler);
    servers.push(server);
    return listen(server);
  };

  it('is read only', async () => {
    const objects = openObjects('http://127.0.0.1:9');
    await expect(objects.put(hello)).rejects.toMatchObject({ kind: 'ReadOnly' });
    await expect(objects.setPointer('x', hello)).rejects.toMatchObject({ kind: 'ReadOnly' });
  });

  it('does not follow redirects', async () => {
    let asked = 0;
    const target = await serve((_request, response) => {
      asked += 1;
      response.end(hello);
    });
    const url = await serve((_request, response) => response.writeHead(302, { Location: target }).end());
    await expect(openObjects(url).get(digestOf(hello), 10)).rejects.toMatchObject({
      kind: 'Unavailable',
      retryable: false,
    });
    expect(asked).toBe(0);
  });

  it('stops reading an endless body at the cap', async () => {
    let closed: () => void = () => undefined;
    const gone = new Promise<void>((resolve) => (closed = resolve));
    const url = await serve((_request, response) => {
      response.on('close', closed);
      const pump = (): void => {
        while (!response.destroyed && response.write(Buffer.alloc(65_536)));
        response.once('drain', pump);
      };
      pump();
    });
    await expect(openObjects(url).get(ABSENT, 1_000_000)).rejects.toMatchObject({ kind: 'ObjectTooLarge' });
    await gone;
  });

  it('gives up on a registry that does not answer in time, and says so as something to try again', async () => {
    const url = await serve(() => undefined);
    const objects = openObjects(url, { http: { timeoutMs: 50 } });
    await expect(objects.get(ABSENT, 10)).rejects.toMatchObject({ kind: 'Unavailable', retryable: true });
  });

  it('gives up on a registry that drips its body', async () => {
    const url = await serve((_request, response) => {
      response.write('h');
    });
    const objects = openObjects(url, { http: { timeoutMs: 50 } });
    await expect(objects.get(digestOf(hello), 10)).rejects.toMatchObject({ kind: 'Unavailable', retryable: true });
  });

  it.each([
    [503, true, false],
    [429, true, false],
    [401, false, false],
    [403, false, true],
  ])('treats status %d as worth another try: %s, and as said of what is not there too: %s', async (...row) => {
    const [status, retryable, mayBeAbsent] = row;
    const url = await serve((_request, response) => response.writeHead(status).end());
    await expect(openObjects(url).getPointer('x', 10)).rejects.toMatchObject({
      kind: 'Unavailable',
      retryable,
      mayBeAbsent,
    });
  });

  it('reports a refused connection as something to try again', async () => {
    const server = createServer();
    const url = await listen(server);
    await stop(server);
    await expect(openObjects(url).getPointer('x', 10)).rejects.toMatchObject({ kind: 'Unavailable', retryable: true });
  });
});

describe('objects over s3', () => {
  let place: Awaited<ReturnType<typeof s3Place>>;
  beforeEach(async () => {
    place = await s3Place();
  });
  afterEach(() => place.close());

  it('keeps its keys below the prefix and never overwrites an object', async () => {
    const digest = await place.objects.put(hello);
    await place.objects.put(hello);
    await place.objects.setPointer('a/b', hello);
    const key = `fleet-a/sha256/${digest.slice(7)}`;
    expect(place.server.log).toEqual([`PUT ${key} 200`, `PUT ${key} 412`, 'PUT fleet-a/pointers/a/b 200']);
  });

  it('survives one internal error of the server', async () => {
    const digest = await place.objects.put(hello);
    place.server.failNext(503);
    expect(await place.objects.get(digest, 10)).toEqual(hello);
  });

  it('reports refused credentials without repeating them, and not as something to try again', async () => {
    const objects = openObjects('s3://edge/x', {
      s3: {
        endpoint: place.server.endpoint,
        credentials: { accessKeyId: 'OTHERKEY', secretAccessKey: 'canary-secret-s3' },
      },
    });
    const error: unknown = await objects.put(hello).catch((caught: unknown) => caught);
    expect(error).toMatchObject({ kind: 'Unavailable', retryable: false });
    await expect(objects.getPointer('x', 10)).rejects.toMatchObject({ retryable: false, mayBeAbsent: true });
    expect(String((error as Error).message)).not.toMatch(/canary-secret-s3|OTHERKEY/);
  });
});

describe('openObjects', () => {
  it.each(['', 'nonsense', 'ftp://host/x', 'http://user:pass@host/', 'http://host/?token=1'])(
    'refuses the address %j without repeating it',
    (address) => {
      const open = (): Objects => openObjects(address);
      expect(open).toThrow(expect.objectContaining({ kind: 'BadName' }));
      expect(open).toThrow(expect.objectContaining({ message: expect.not.stringMatching(/pass|token=1/) }));
    },
  );
});

describe('the registry', () => {
  let place: Awaited<ReturnType<typeof filePlace>>;
  let registry: Registry;
  beforeAll(async () => {
    place = await filePlace();
    registry = await startRegistry({ dir: place.dir, host: '127.0.0.1', port: 0 });
  });
  afterAll(async () => {
    await registry.close();
    await place.close();
  });

  it('serves objects and pointers of its folder', async () => {
    const digest = await place.objects.put(hello);
    await place.objects.setPointer('desired/store-001.json', hello);
    const reader = openObjects(registry.url);
    expect(await reader.get(digest, 10)).toEqual(hello);
    expect(await reader.getPointer('desired/store-001.json', 10)).toEqual(hello);
    expect(await reader.getPointer('desired/store-002.json', 10)).toBeUndefined();
    await expect(reader.get(ABSENT, 10)).rejects.toMatchObject({ kind: 'ObjectMissing' });
  });

  it('answers HEAD with the size and no body', async () => {
    const digest = await place.objects.put(hello);
    const response = await fetch(`${registry.url}/sha256/${digest.slice(7)}`, { method: 'HEAD' });
    expect([response.status, response.headers.get('content-length'), await response.text()]).toEqual([200, '5', '']);
  });

  it('would rather fail than hand out bytes that rotted', async () => {
    const digest = await place.objects.put(Buffer.from('other'));
    await place.tamper(digest, Buffer.from('OTHER'));
    const response = await fetch(`${registry.url}/sha256/${digest.slice(7)}`);
    expect(response.status).toBe(409);
  });

  it.each([
    '/',
    '/sha256',
    '/sha256/',
    '/pointers/',
    '/pointers/desired',
    '/tmp/',
    '/sha256/..%2f..%2fetc',
    '/pointers/../sha256',
  ])('has nothing at %s', async (path) => {
    expect((await rawGet(registry, path)).split('\r\n')[0]).toBe('HTTP/1.1 404 Not Found');
  });

  it.each(['PUT', 'POST', 'DELETE'])('refuses %s', async (method) => {
    const response = await fetch(`${registry.url}/pointers/x`, { method });
    expect(response.status).toBe(405);
  });
});

/** Sends the path as it is; `fetch` would tidy `..` away before the server sees it. */
async function rawGet(registry: Registry, path: string): Promise<string> {
  const { connect } = await import('node:net');
  return new Promise((resolve, reject) => {
    const socket = connect(registry.port, '127.0.0.1');
    let text = '';
    socket.on('data', (data) => (text += data.toString()));
    socket.on('end', () => resolve(text));
    socket.on('error', reject);
    socket.write(`GET ${path} HTTP/1.1\r\nHost: registry\r\nConnection: close\r\n\r\n`);
  });
}

async function listen(server: Server): Promise<string> {
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
}

async function stop(server: Server): Promise<void> {
  if (!server.listening) return;
  await new Promise<void>((resolve) => {
    server.close(() => resolve());
    server.closeAllConnections();
  });
}
