import { describe, expect, it } from 'vitest';
import { BROKEN_BUILDS, edited } from './broken.js';
import { HALTING_BUILD } from './sweep.js';

/** They are only built when somebody asks for them; what they replace must not go away unseen until then. */
describe('builds that the suite is measured by', () => {
  it.each([...Object.entries(BROKEN_BUILDS), ['halting', { edits: HALTING_BUILD }] as const])(
    '%s can still be made of the code as it is',
    async (_, { edits }) => {
      const files = await edited(edits);
      expect(files.map(({ file }) => file).toSorted()).toEqual([...new Set(edits.map(({ file }) => file))].toSorted());
    },
  );

  it('is refused when a place is gone', async () => {
    const edits = [{ file: 'systems/proxmox/client.js', find: 'no such line in any build', put: '' }];
    await expect(edited(edits)).rejects.toThrow(/has 0 places .* Bring test\/chaos up to date/);
  });
});
