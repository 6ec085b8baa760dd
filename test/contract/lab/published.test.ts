import { describe, expect, it } from 'vitest';
import { routes as ofPbs } from '#lab/pbs/dispatch.js';
import { routes as ofPve } from '#lab/pve/dispatch.js';
import { readPublished, tableOf } from '../../support/declared.js';

/**
 * The tables that the practice servers are held to, against the data of the published API viewers: name its file in
 * EDGE_PBS_SCHEMA or EDGE_PVE_SCHEMA. With `-u` the table is written anew, as a new call of a practice server needs.
 */
const head = (imported: string, product: string): string => `${imported}

/**
 * What ${product} takes and answers at the calls that are practised, as the data of its
 * published API viewer has it. Made by test/contract/lab/published.test.ts, which says how; not to be changed by hand.
 */`;

describe('what is declared', () => {
  it.runIf(process.env['EDGE_PBS_SCHEMA'])('of the backup server is what is published', async () => {
    const published = readPublished(process.env['EDGE_PBS_SCHEMA'] ?? '');
    const imported = "import type { DeclaredCall } from './params.js';";
    const text = await tableOf(published, ofPbs, {
      head: head(imported, 'Proxmox Backup Server 4 (July 2026)'),
      whole: true,
    });
    await expect(text).toMatchFileSnapshot('../../../lab/pbs/declared.ts');
  });

  it.runIf(process.env['EDGE_PVE_SCHEMA'])('of the cluster is what is published', async () => {
    const published = readPublished(process.env['EDGE_PVE_SCHEMA'] ?? '');
    const imported = "import type { DeclaredCall } from '../../../support/declared.js';";
    const release = published.has('GET /cluster/ha/rules') ? '9.2' : '8.4';
    const text = await tableOf(published, ofPve, { head: head(imported, `Proxmox VE ${release}`), whole: false });
    await expect(text).toMatchFileSnapshot(`./pve/declared-${release}.ts`);
  });
});
