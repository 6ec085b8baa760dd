import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { z } from 'zod';
import { matchAdvisories, scanReportSchema, type Advisories, type ScanReport } from '#domain/scan.js';
import { runProgram } from '../programs/run.js';
import { ScanFailed } from './errors.js';

/** Looks for known vulnerabilities among the parts of one release. Throws `ScanFailed`, never an empty report, when it cannot. */
export interface Scanner {
  scan(request: { sbom: Uint8Array; advisories: Advisories; now: Date }): Promise<ScanReport>;
}

interface ScannerCommand {
  /** Program and arguments; `{sbom}` is replaced by the path of the parts list, which else is the last argument. */
  argv: readonly string[];
  /** Milliseconds. */
  timeoutMs?: number;
  /** The whole environment of the program; nothing of ours is inherited, the signing key's place least of all. */
  env?: Record<string, string>;
}

const MAX_OUTPUT = 32 * 1024 * 1024;
const DEFAULT_ENV = { PATH: '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin', LC_ALL: 'C.UTF-8' };

/**
 * Any scanner behind a small wrapper: exit code 0 and on stdout
 * `{"scanner": {"name", "version", "dbBuiltAt"}, "findings": [{"id", "purl", "severity", "fixedIn"?, "kev"?}]}`.
 * It is told no shell; whatever else it does (another exit code, other output, too long) is no report.
 */
export function commandScanner(command: ScannerCommand): Scanner {
  const [program, ...args] = command.argv;
  if (program === undefined) throw new ScanFailed('The scan command is empty.');

  return {
    async scan({ sbom }) {
      const folder = await mkdtemp(join(tmpdir(), 'edge-scan-'));
      try {
        const path = join(folder, 'sbom.cdx.json');
        await writeFile(path, sbom);
        const placed = args.map((word) => word.replaceAll('{sbom}', path));
        const end = await runProgram(
          program,
          args.some((word) => word.includes('{sbom}')) ? placed : [...placed, path],
          {
            cwd: folder,
            env: { HOME: folder, ...(command.env ?? DEFAULT_ENV) },
            extendEnv: false,
            timeoutMs: command.timeoutMs ?? 300_000,
            maxBuffer: MAX_OUTPUT,
          },
        );
        if (end.kind === 'timedOut') throw new ScanFailed(`${program} did not end in time.`);
        if (end.kind === 'tooMuchOutput') throw new ScanFailed(`${program} printed more than ${MAX_OUTPUT} bytes.`);
        if (end.kind !== 'ended') throw new ScanFailed(`${program} could not be run.`);
        if (end.code !== 0) throw new ScanFailed(`${program} ended with code ${end.code}.`);
        return readReport(end.stdout.toString(), program);
      } finally {
        await rm(folder, { recursive: true, force: true });
      }
    },
  };
}

function readReport(output: string, program: string): ScanReport {
  let raw: unknown;
  try {
    raw = JSON.parse(output);
  } catch {
    throw new ScanFailed(`${program} did not print JSON.`);
  }
  const report = scanReportSchema.safeParse(raw);
  if (report.success) return report.data;
  const place = report.error.issues[0]?.path.join('.') ?? '';
  throw new ScanFailed(`${program} printed JSON of another form (at ${place === '' ? 'the top' : place}).`);
}

/** Only what is looked at of a parts list. */
const sbomSchema = z.object({
  bomFormat: z.literal('CycloneDX'),
  components: z.array(z.object({ purl: z.string() })).min(1),
});

/**
 * The built-in scanner: package URLs of the parts list against the repo's own advisory file. The file is part of the
 * reviewed commit and has no age of its own; who needs a daily database names a scan command.
 */
export const advisoryScanner: Scanner = {
  scan({ sbom, advisories, now }) {
    const parsed = sbomSchema.safeParse(JSON.parse(Buffer.from(sbom).toString('utf8')));
    if (!parsed.success) return Promise.reject(new ScanFailed('The parts list is empty or not CycloneDX.'));
    const purls = parsed.data.components.map(({ purl }) => purl);
    return Promise.resolve({
      scanner: { name: 'edge-advisories', version: advisories.updated, dbBuiltAt: now.toISOString() },
      findings: matchAdvisories(purls, advisories),
    });
  },
};
