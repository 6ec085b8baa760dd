import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { parse } from 'yaml';
import { checkRepo, folderSource } from '#client/repo/check.js';
import { commitNextRelease } from '#client/repo/next-release.js';
import { initRepo } from '#client/repo/template.js';
import { builtinMirror, kernelOfPackage, NEXT_SNAPSHOT } from '#lab/world/mirror.js';
import { useTempDir } from '../../../support/temp-dir.js';

const tempDir = useTempDir();

interface Release {
  snapshot: string;
  kernel: string;
  packages: { name: string; version: string }[];
}

describe('the release of the week after', () => {
  it('is what the practice fleet’s mirror has then: an upgrade to it installs all of that, and nothing else', async () => {
    const dir = join(await tempDir(), 'edge-infra');
    await initRepo(dir, { stores: 1, lab: true });
    await commitNextRelease(dir);
    const { release } = parse(await readFile(join(dir, 'fleet.yaml'), 'utf8')) as { release: Release };
    const packages = Object.fromEntries(release.packages.map(({ name, version }) => [name, version]));
    const mirror = Object.fromEntries(builtinMirror.get(NEXT_SNAPSHOT) ?? []);
    // Kernels of earlier weeks stay on a node; a release names the one that it brings.
    const isOlderKernel = (name: string) => ![undefined, release.kernel].includes(kernelOfPackage(name));
    const wanted = Object.fromEntries(Object.entries(mirror).filter(([name]) => !isOlderKernel(name)));
    const named = Object.fromEntries(Object.entries(packages).filter(([name]) => !isOlderKernel(name)));
    expect(release.snapshot).toBe(NEXT_SNAPSHOT);
    expect(named).toEqual(wanted);
    for (const [name, version] of Object.entries(packages)) expect([name, version]).toEqual([name, mirror[name]]);
    expect(mirror[`proxmox-kernel-${release.kernel}-signed`]).toBeDefined();
    expect((await checkRepo(folderSource(dir))).problems).toEqual([]);
  });
});
