import { describe, expect, it } from 'vitest';
import { run } from '#client/cli/main.js';
import { fakeIo } from './fake-io.js';

/** Its first words; it ends at the repo, which is not there. */
async function firstWords(env: Record<string, string>): Promise<string> {
  const io = fakeIo({ env });
  expect(await run(['up', '--repo', 'not-there'], io)).not.toBe(0);
  return io.stderr();
}

describe('edge up', () => {
  it('says in one sentence which settings it does not use, without repeating what they hold', async () => {
    const said = await firstWords({
      EDGE_DATABASE_URL: 'postgresql://edge:canary-91c3@db/ledger',
      EDGE_OBJECTS: 's3://edge/releases',
    });
    expect(said).toMatch(
      /^EDGE_DATABASE_URL, EDGE_OBJECTS are set and not used: `edge up` runs a Temporal server, a ledger and a registry of its own in its state directory\.\n/,
    );
    expect(said).not.toContain('canary-91c3');
    expect(await firstWords({ EDGE_OBJECTS: 'file:///srv' })).toMatch(/^EDGE_OBJECTS is set and not used: /);
  });

  it('says nothing of settings that it uses', async () => {
    expect(await firstWords({ EDGE_DIR: '/tmp/state' })).not.toContain('not used');
  });
});
