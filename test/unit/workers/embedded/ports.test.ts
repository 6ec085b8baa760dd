import { writeFile } from 'node:fs/promises';
import { type AddressInfo, createServer } from 'node:net';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { refuseTakenPorts, rememberPorts } from '#workers/embedded/ports.js';
import { useTempDir } from '../../../support/temp-dir.js';

describe('rememberPorts', () => {
  const tempDir = useTempDir();

  it('chooses a different free port for each name, below the ephemeral range', async () => {
    const ports = Object.values(await rememberPorts(await tempDir(), ['a', 'b', 'c']));
    expect(new Set(ports).size).toBe(3);
    for (const port of ports) {
      expect(port).toBeGreaterThanOrEqual(20_000);
      expect(port).toBeLessThan(30_000);
    }
  });

  it('gives the same ports again, and adds those that are new', async () => {
    const dir = await tempDir();
    const first = await rememberPorts(dir, ['a', 'b']);
    const later = await rememberPorts(dir, ['a', 'b', 'c']);
    expect(later).toMatchObject(first);
    expect(await rememberPorts(dir, ['c'])).toEqual({ c: later.c });
  });

  it('takes a fixed port as it is, and remembers it', async () => {
    const dir = await tempDir();
    expect(await rememberPorts(dir, ['a'], { a: 7_233 })).toEqual({ a: 7_233 });
    expect(await rememberPorts(dir, ['a'])).toEqual({ a: 7_233 });
  });

  it.each([
    ['not JSON', '{'],
    ['a port that is none', '{"a": 70000}'],
    ['another form', '[1]'],
  ])('says what to do when the file holds %s', async (_what, text) => {
    const dir = await tempDir();
    await writeFile(join(dir, 'ports.json'), text);
    await expect(rememberPorts(dir, ['a'])).rejects.toThrow('ports.json is not a list of ports. Delete it');
  });

  it('refuses a port that is taken, by its name and number', async () => {
    const other = createServer();
    await new Promise<void>((resolve) => other.listen(0, '127.0.0.1', resolve));
    const { port } = other.address() as AddressInfo;
    try {
      await expect(refuseTakenPorts('/state', { registry: port })).rejects.toThrow(
        `Port ${port} on 127.0.0.1 (registry) is in use by another program. End it, or delete /state/ports.json`,
      );
    } finally {
      await new Promise((resolve) => other.close(resolve));
    }
    await expect(refuseTakenPorts('/state', { registry: port })).resolves.toBeUndefined();
  });
});
