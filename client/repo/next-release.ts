import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { parseDocument } from 'yaml';
import { gitIn } from './git.js';

/** The practice fleet's mirror of the week after the template's release: what differs. */
const NEXT = {
  version: '2026.49.0',
  sequence: 49,
  snapshot: '20261123T000000Z',
  kernel: '6.14.11-5-pve',
} as const;
const CHANGED: Readonly<Record<string, string>> = {
  'pve-manager': '9.1.6',
  'pve-container': '6.0.19',
  'openssh-server': '1:10.0p1-7+deb13u1',
  'ceph-mon': '19.2.4-pve1',
  'ceph-mgr': '19.2.4-pve1',
  'ceph-osd': '19.2.4-pve1',
  'ceph-common': '19.2.4-pve1',
  'proxmox-kernel-6.14': '6.14.11-5',
};
const ADDED = { name: 'proxmox-kernel-6.14.11-5-pve-signed', version: '6.14.11-5' };

/** Commits the next week's release to a practice repo, as a merge of its people would. Returns the commit. */
export async function commitNextRelease(dir: string): Promise<string> {
  const file = join(dir, 'fleet.yaml');
  const doc = parseDocument(await readFile(file, 'utf8'));
  for (const [key, value] of Object.entries(NEXT)) doc.setIn(['release', key], value);
  const { release } = doc.toJS() as { release: { packages: { name: string; version: string }[] } };
  const packages = release.packages.map(({ name, version }) => ({ name, version: CHANGED[name] ?? version }));
  doc.setIn(['release', 'packages'], doc.createNode([...packages, ADDED]));
  await writeFile(file, doc.toString());
  const git = gitIn(dir);
  await git('commit', '--quiet', '--all', '--message', `Release ${NEXT.version}`);
  return git('rev-parse', 'HEAD');
}
