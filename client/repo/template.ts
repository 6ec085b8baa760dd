import { mkdir, readdir, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { plural } from '#domain/counted.js';
import { parseFleet } from '#domain/repo-check.js';
import { problemText } from '#domain/yaml-file.js';
import { pilotCount, renderFleet } from './fleet-template.js';
import { gitIn, requireGit } from './git.js';
import { NAMED_GUESTS, renderStore } from './store-template.js';

export interface RepoOptions {
  /** The fleet's name. */
  fleet?: string;
  /** How many stores, 1 to 10,000. */
  stores: number;
  /** How many of them carry the tag `pilot` and are the canary stage; default: by the size of the fleet. */
  pilots?: number;
  /** Guests of each store, at least the three that the template names; further ones are plain containers. */
  guests?: number;
  /** Addresses of the practice fleet instead of placeholders for real ones. */
  lab?: boolean;
  /** Second part of the practice fleet's first loopback addresses, so that several fleets fit on one machine. */
  labNetwork?: number;
  /** A week in minutes: no windows, short soaks and timeouts. For practice only. */
  compressed?: boolean;
  timeZone?: string;
}

export type FullRepoOptions = Required<RepoOptions>;

/**
 * A whole GitOps repo that passes `checkRepo`: path → content. The same options always give the same files.
 * Throws `RangeError` when the fleet's name, zone or size is not one that the check takes.
 */
export function renderRepo(options: RepoOptions): Map<string, string> {
  const { stores } = options;
  if (!Number.isInteger(stores) || stores < 1 || stores > 10_000) {
    throw new RangeError('A fleet has 1 to 10,000 stores.');
  }
  const full: FullRepoOptions = {
    fleet: 'edge',
    pilots: pilotCount(stores),
    guests: NAMED_GUESTS,
    lab: false,
    labNetwork: 10,
    compressed: false,
    timeZone: 'Europe/Berlin',
    ...options,
  };
  const fleetFile = renderFleet(full);
  const { problems } = parseFleet(fleetFile);
  if (problems.length > 0) throw new RangeError(problems.map(problemText).join('\n'));
  const files = new Map<string, string>([
    ['README.md', README],
    ['fleet.yaml', fleetFile],
    ['policies/advisories.yaml', ADVISORIES],
    ['policies/revoked.yaml', REVOKED],
    ['policies/overrides.yaml', OVERRIDES],
    ['policies/opa/README.md', OPA_README],
    ['modules/README.md', MODULES_README],
    ['ci/check.sh', CI_CHECK],
    ['docs/README.md', DOCS_README],
  ]);
  for (let number = 1; number <= stores; number += 1) {
    for (const [path, content] of renderStore(number, full)) files.set(path, content);
  }
  return files;
}

/**
 * Writes a rendered repo into an empty or new folder and commits it on `main`. Returns the commit.
 * Throws when the folder holds anything: nothing of a person's is ever overwritten.
 */
export async function initRepo(dir: string, options: RepoOptions): Promise<string> {
  const files = renderRepo(options);
  await requireGit();
  await mkdir(dir, { recursive: true });
  if ((await readdir(dir)).length > 0) {
    throw new Error(`${dir} is not empty. Name a new folder, or empty this one.`);
  }
  await mkdirs(dir, [...files.keys()]);
  for (const [path, content] of files) await writeFile(join(dir, path), content);

  const git = gitIn(dir);
  await git('init', '--quiet', '--initial-branch=main');
  await git('add', '--all');
  await git('commit', '--quiet', '--message', `Lay out the fleet: ${plural(options.stores, 'store')}`);
  return git('rev-parse', 'HEAD');
}

async function mkdirs(dir: string, paths: string[]): Promise<void> {
  for (const folder of new Set(paths.map((path) => dirname(path)))) await mkdir(join(dir, folder), { recursive: true });
}

const README = `# edge-infra

What the stores shall run. This repo is the law: nothing reaches a store that is not on its \`main\` branch, built,
scanned, signed, approved and promoted from here.

| path                          | what it says                                                                                      |
| ----------------------------- | ------------------------------------------------------------------------------------------------- |
| \`fleet.yaml\`                  | the weekly train (stages, windows, limits, gates), backups, freezes, the release and what it pins |
| \`clusters/<store>/store.yaml\` | one store: nodes, guests, tags, its own window, a hold, whether it is backed up                   |
| \`clusters/<store>/*\`          | the files its guests get, e.g. \`inventory-api.yaml\`, \`varnish-vcl.vcl\`                            |
| \`policies/advisories.yaml\`    | known vulnerabilities and dated exceptions; a critical one without exception stops the build      |
| \`policies/revoked.yaml\`       | releases that no store is brought to any more, forward or back                                    |
| \`policies/overrides.yaml\`     | stores that a train may take though they could not be had back, and the two people who say so     |
| \`promotions/\`                 | written by the service: one file, commit and tag per promoted stage                               |
| \`modules/\`, \`ci/\`, \`docs/\`    | provisioning code, pipeline, run books of your own                                                |

Check before you push: \`edge fleet check --repo .\` names every problem by file and line.

To release: change \`release\` in \`fleet.yaml\` (raise \`version\` and \`sequence\`), or a store's files (raise them too),
have it reviewed, merge. The next train takes it. To roll back: \`edge train rollback\`. It reverts the promotions of the
train here, under the tag \`edge/<train>/rollback\`, and brings its stores back to their last good release.
`;

const ADVISORIES = `# Known vulnerabilities of packages in the release, matched against its parts list (SBOM) at each build.
# An advisory holds for versions before fixedIn, or for those in affected. Severity: critical, high, medium, low.
schema: edge.advisories/v1
updated: 2026-11-16
advisories:
  - id: EXAMPLE-2026-0001
    package: openssl
    fixedIn: 3.5.4-1~deb13u2
    severity: critical
    summary: An example of the form; the release pins the version that fixes it.

# An exception admits one finding for at most 30 days. Owner and approver are two people.
#  - {id: EXAMPLE-2026-0002, package: systemd, owner: ann, approvedBy: bob, reason: not reachable here, expires: 2026-12-01}
exceptions: []
`;

const REVOKED = `# Releases that no store is brought to any more: no train, no promotion, no rollback takes them. It holds from the merge on.
# With a manifest only that build of the version is meant.
#  - {version: 2026.47.0, reason: breaks the card readers, at: 2026-11-20}
schema: edge.revoked/v1
revoked: []
`;

const OVERRIDES = `# With recoverability in fleet.yaml a train leaves out stores that could not be had back. One that is named here is taken
# all the same, until the override expires: somebody takes it on, somebody else agrees. It holds from the merge on.
#  - reason: NoRecentBackup # or NoRestoreProof
#    stores: [store-003]
#    by: ann
#    approvedBy: bob
#    why: the disks of its backup server are being replaced
#    at: 2026-11-26T10:00:00Z
#    expires: 2026-11-27T10:00:00Z
schema: edge.overrides/v1
overrides: []
`;

const OPA_README = `# Rules of your own

Room for Rego rules that your pipeline runs over this repo. The service has its own checks built in and does not read
this folder.
`;

const MODULES_README = `# Modules

Room for the code that provisions a store from bare metal: Proxmox nodes, Ceph pools, WireGuard peers.
The service does not read this folder.
`;

const CI_CHECK = `#!/bin/sh
# For the pipeline of each pull request: names every problem by file and line, exit code 1 when there is one.
set -eu
exec edge fleet check --repo .
`;

const DOCS_README = `# Documents

Room for what belongs to this fleet: its disaster recovery run book, the card data flow, the service levels.
`;
