import { spawnSync } from 'node:child_process';
import { createHash, createPublicKey, createSign, createVerify } from 'node:crypto';
import { chmodSync, readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { pinnedKeysSchema } from '#workers/config.js';
import { ensureReleaseKey } from '#workers/embedded/release-key.js';
import { useTempDir } from '../../../support/temp-dir.js';

describe('ensureReleaseKey', () => {
  const tempDir = useTempDir();

  it('makes a P-256 key for its owner alone, and pins its public half', async () => {
    const files = ensureReleaseKey(await tempDir());
    expect(statSync(files.privateKey).mode & 0o777).toBe(0o600);
    expect(statSync(join(files.privateKey, '..')).mode & 0o777).toBe(0o700);

    const [pinned] = pinnedKeysSchema.parse(JSON.parse(readFileSync(files.publicKeys, 'utf8')));
    const publicKey = createPublicKey(pinned!.publicKeyPem);
    expect(publicKey.asymmetricKeyDetails).toEqual({ namedCurve: 'prime256v1' });
    expect(pinned!.hint).toBe(
      createHash('sha256')
        .update(publicKey.export({ type: 'spki', format: 'der' }))
        .digest('base64'),
    );
    const signature = createSign('sha256').update('release').sign(readFileSync(files.privateKey, 'utf8'));
    expect(createVerify('sha256').update('release').verify(publicKey, signature)).toBe(true);
  });

  // Only root can become another user. Elsewhere the modes above are what is shown.
  it.skipIf(process.getuid?.() !== 0)('is refused to a process of another user that knows where it is', async () => {
    const dir = await tempDir();
    chmodSync(dir, 0o755);
    const { privateKey, publicKeys } = ensureReleaseKey(dir);
    const readAs = (uid: number, file: string) => {
      const program = `require('node:fs').readFileSync(${JSON.stringify(file)})`;
      return spawnSync(process.execPath, ['-e', program], { uid, gid: uid, encoding: 'utf8', env: {}, cwd: '/' });
    };
    const NOBODY = 65_534;
    expect(readAs(NOBODY, privateKey)).toMatchObject({
      status: 1,
      stderr: expect.stringMatching(/EACCES: permission denied, open .*key\.pem/) as string,
    });
    expect(readAs(NOBODY, publicKeys)).toMatchObject({ status: 0, stderr: '' });
    expect(readAs(0, privateKey)).toMatchObject({ status: 0, stderr: '' });
  });

  it('keeps the key it made', async () => {
    const dir = await tempDir();
    const { privateKey } = ensureReleaseKey(dir);
    const before = readFileSync(privateKey, 'utf8');
    expect(readFileSync(ensureReleaseKey(dir).privateKey, 'utf8')).toBe(before);
  });
});
