import { createHash } from 'node:crypto';
import { z } from 'zod';
import type { Fleet, Store } from '#domain/fleet.js';
import { COMMIT, SHA256 } from '#domain/naming.js';
import {
  builtPointer,
  releaseManifestSchema,
  releaseRefSchema,
  storeArtifactSchema,
  storeOfRelease,
  type ReleaseManifest,
  type ReleaseRef,
} from '#domain/release.js';
import { checkRepo, storeFolder, type CheckedRepo } from '#domain/repo-check.js';
import { collectRepoFiles, type RepoFiles } from '#domain/repo-files.js';
import { MAX_CONFIG_FILE } from '#domain/repo-limits.js';
import { decideScan, parseAdvisories, type Advisories, type ScanDecision, type ScanReport } from '#domain/scan.js';
import { problemText } from '#domain/yaml-file.js';
import type { GitRepo } from '#systems/git/types.js';
import type { Objects } from '#systems/objects/types.js';
import { canonical, jsonOf, presentBytes } from './bytes.js';
import { BuildRefused, ScanFailed } from './errors.js';
import { renderSbom } from './sbom.js';
import { advisoryScanner, commandScanner, type Scanner } from './scan.js';
import { createBundle, loadSigningKey, type SigningKey } from './sign.js';
import type { ReleaseBuilder } from './types.js';
import { signatureHolds } from './verify.js';

export interface BuilderOptions {
  repo: GitRepo;
  /** The protected branch: only its commits become releases. */
  branch: string;
  objects: Objects;
  /** PEM of the ECDSA P-256 private key. Throws `KeyError` at once when it is not usable. */
  key: string;
  /** Stands in `source.builder` of the manifest, e.g. `edge-governor 0.1.0`. */
  builtBy?: string;
  /** Takes the place of the repo's choice. */
  scanner?: Scanner;
  /**
   * Programs that `scan.command` of `fleet.yaml` may name. None by default: a command in the repo runs beside the
   * signing key, so who may push must not be the one who decides what runs here.
   */
  scanPrograms?: readonly string[];
  /** The whole environment of a scan command. */
  scanEnv?: Record<string, string>;
}

const DAY_MS = 86_400_000;
/** A release that was made for the same commit is returned again for so long; its scan is then due anew. */
const REUSE_MS = DAY_MS;
const MAX_POINTER = 16_000;
const MAX_MANIFEST = 4_000_000;
const MAX_PARALLEL_WRITES = 16;
const MAX_PROBLEMS = 200;

/**
 * From a commit to a signed release: check, render, list the parts, scan, name everything by digest, sign.
 * Objects are written first and the pointer last, so a build that was cut off anywhere is simply made again.
 */
export function createReleaseBuilder(options: BuilderOptions): ReleaseBuilder {
  const { repo, branch, objects } = options;
  const key = loadSigningKey(options.key);

  return {
    async build({ commit, now }) {
      if (!COMMIT.test(commit))
        throw new BuildRefused(['A release is built from a full commit hash of 40 hex digits.']);
      if (!(await repo.contains(branch, commit))) {
        throw new BuildRefused([`Commit ${commit.slice(0, 12)} is not on the branch ${branch}.`]);
      }
      const files = await collectRepoFiles({
        list: () => repo.list(commit, ''),
        readMany: (paths) => repo.readMany(commit, paths, MAX_CONFIG_FILE),
      });
      const checked = checkRepo(files);
      const fleet = requireGood(checked);

      const made = await earlierBuild(objects, key, fleet.fleet, commit, now);
      if (made) return made;

      const sbom = renderSbom(fleet.fleet, fleet.release);
      const sbomDigest = await objects.put(sbom);
      const advisories = readAdvisories(files, fleet);
      const scanner = chooseScanner(fleet, options);
      const report = await scanned(() => scanner.scan({ sbom, advisories, now }));
      const decision = decideScan({ report, exceptions: advisories.exceptions, now });
      const reportDigest = await objects.put(renderReport({ report, decision, sbom: sbomDigest, now }));
      if (decision.verdict === 'deny') throw refused(decision.denies.map((sentence) => `scan: ${sentence}`));

      const artifacts = await writeArtifacts(objects, checked.stores, files);
      const manifest: ReleaseManifest = {
        schema: 'edge.release/v1',
        fleet: fleet.fleet,
        version: fleet.release.version,
        sequence: fleet.release.sequence,
        created: now.toISOString(),
        expires: new Date(now.getTime() + fleet.release.validFor).toISOString(),
        source: { commit, builder: options.builtBy ?? 'edge-governor' },
        compat: fleet.release.compat,
        packages: {
          snapshot: fleet.release.snapshot,
          sources: fleet.release.sources,
          pinned: fleet.release.packages,
          kernel: fleet.release.kernel,
        },
        artifacts,
        images: fleet.release.images,
        sbom: sbomDigest,
        scan: {
          tool: `${report.scanner.name} ${report.scanner.version}`.slice(0, 100),
          at: now.toISOString(),
          sbom: sbomDigest,
          report: reportDigest,
          verdict: decision.verdict,
          counts: decision.counts,
        },
      };
      await claimSequence(objects, manifest);
      return publish(objects, key, manifest);
    },
  };
}

function requireGood({ fleet, problems }: CheckedRepo): Fleet {
  if (fleet && problems.length === 0) return fleet;
  throw refused(problems.map(problemText));
}

function refused(problems: string[]): BuildRefused {
  const hidden = problems.length - MAX_PROBLEMS;
  return new BuildRefused(hidden > 0 ? [...problems.slice(0, MAX_PROBLEMS), `and ${hidden} more`] : problems);
}

/** The pointer is a hint, not a proof: what it names is used only when our own key signed it for this very commit. */
async function earlierBuild(
  objects: Objects,
  key: SigningKey,
  fleet: string,
  commit: string,
  now: Date,
): Promise<ReleaseRef | undefined> {
  const pointer = await objects.getPointer(builtPointer(fleet, commit), MAX_POINTER);
  const ref = releaseRefSchema.safeParse(pointer && jsonOf(pointer)).data;
  if (!ref) return undefined;
  const [bytes, bundle] = await Promise.all([
    presentBytes(objects, ref.manifest, MAX_MANIFEST),
    presentBytes(objects, ref.bundle, MAX_POINTER),
  ]);
  if (!bytes || !bundle || !signatureHolds(bytes, bundle, key)) return undefined;
  const manifest = releaseManifestSchema.safeParse(jsonOf(bytes)).data;
  if (manifest?.fleet !== fleet || manifest.source.commit !== commit) return undefined;
  if (manifest.version !== ref.version || manifest.sequence !== ref.sequence) return undefined;
  const age = now.getTime() - Date.parse(manifest.scan.at);
  return age >= 0 && age < REUSE_MS && now.getTime() < Date.parse(manifest.expires) ? ref : undefined;
}

function readAdvisories(files: RepoFiles, fleet: Fleet): Advisories {
  const file = fleet.scan.advisories;
  const { value, problems } = parseAdvisories(files.get(file)?.text ?? '', file);
  if (!value) throw refused(problems.map(problemText));
  return value;
}

function chooseScanner(fleet: Fleet, { scanner, scanPrograms = [], scanEnv }: BuilderOptions): Scanner {
  if (scanner) return scanner;
  const argv = fleet.scan.command;
  if (!argv) return advisoryScanner;
  const [program = ''] = argv;
  if (!scanPrograms.includes(program)) {
    throw refused([
      `fleet.yaml: scan.command: names ${program}, which this release worker does not run. Add it to EDGE_SCAN_PROGRAMS there.`,
    ]);
  }
  return commandScanner({ argv, ...(scanEnv ? { env: scanEnv } : {}) });
}

async function scanned(scan: () => Promise<ScanReport>): Promise<ScanReport> {
  try {
    return await scan();
  } catch (error) {
    if (error instanceof ScanFailed) throw refused([`scan: ${error.message} Without a report there is no release.`]);
    throw error;
  }
}

/** What was found and why it passed or not: evidence, kept also when the release is denied. */
function renderReport(parts: { report: ScanReport; decision: ScanDecision; sbom: string; now: Date }): Buffer {
  const { report, decision, sbom, now } = parts;
  const findings = report.findings.toSorted((a, b) => compare(`${a.id} ${a.purl}`, `${b.id} ${b.purl}`));
  return canonical({
    schema: 'edge.scan/v1',
    at: now.toISOString(),
    sbom,
    scanner: report.scanner,
    findings,
    verdict: decision.verdict,
    denies: decision.denies,
    excepted: decision.excepted,
  });
}

async function writeArtifacts(
  objects: Objects,
  stores: readonly Store[],
  files: RepoFiles,
): Promise<ReleaseManifest['artifacts']> {
  const sorted = stores.toSorted((a, b) => compare(a.id, b.id));
  const artifacts: ReleaseManifest['artifacts'] = [];
  for (let start = 0; start < sorted.length; start += MAX_PARALLEL_WRITES) {
    const group = sorted.slice(start, start + MAX_PARALLEL_WRITES).map(async (store) => {
      const bytes = renderArtifact(store, files);
      return { store: store.id, digest: await objects.put(bytes), size: bytes.byteLength };
    });
    artifacts.push(...(await Promise.all(group)));
  }
  return artifacts;
}

function renderArtifact(store: Store, files: RepoFiles): Buffer {
  const names = new Set(store.guests.flatMap(({ config }) => config.map(({ file }) => file)));
  const texts = [...names].map((name) => [name, files.get(`${storeFolder(store.id)}/${name}`)?.text] as const);
  return canonical(
    storeArtifactSchema.parse({
      schema: 'edge.store-config/v1',
      store: storeOfRelease(store),
      files: Object.fromEntries(texts),
    }),
  );
}

const claimSchema = z.object({ content: z.string().regex(SHA256), commit: z.string().regex(COMMIT) }).strict();

/**
 * One sequence, one content. Stores accept an equal sequence again, so two releases of the same number would let
 * whoever chooses among signed releases go back and forth between them.
 */
async function claimSequence(objects: Objects, manifest: ReleaseManifest): Promise<void> {
  const { fleet, version, sequence, compat, packages, artifacts, images, source } = manifest;
  const bytes = canonical({ fleet, version, sequence, compat, packages, artifacts, images });
  const content = `sha256:${createHash('sha256').update(bytes).digest('hex')}`;
  const pointer = `sequences/${fleet}/${sequence}.json`;
  const found = await objects.getPointer(pointer, MAX_POINTER);
  if (!found) {
    await objects.setPointer(pointer, canonical({ content, commit: source.commit }));
    return;
  }
  const claim = claimSchema.safeParse(jsonOf(found)).data;
  if (claim?.content === content) return;
  const by = claim ? ` by commit ${claim.commit.slice(0, 12)}` : '';
  throw refused([
    `fleet.yaml: release.sequence: ${sequence} was already used${by} for other content. Raise version and sequence with every change.`,
  ]);
}

async function publish(objects: Objects, key: SigningKey, manifest: ReleaseManifest): Promise<ReleaseRef> {
  // What our own stores would not take is a defect of this builder, found before it is signed.
  const bytes = canonical(releaseManifestSchema.parse(manifest));
  const ref: ReleaseRef = {
    version: manifest.version,
    sequence: manifest.sequence,
    manifest: await objects.put(bytes),
    bundle: await objects.put(Buffer.from(createBundle(key, bytes))),
  };
  await objects.setPointer(builtPointer(manifest.fleet, manifest.source.commit), canonical(ref));
  return ref;
}

const compare = (a: string, b: string): number => (a < b ? -1 : a > b ? 1 : 0);
