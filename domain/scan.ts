import { z } from 'zod';
import { compareDebVersions } from './deb-version.js';
import { readYaml, type YamlFile } from './yaml-file.js';

/**
 * The vulnerability gate of a release: what a scanner must report, which exceptions count, and when the answer is deny.
 * A missing or unreadable report never gets here as a pass: there is no verdict without a report.
 */

const SEVERITIES = ['critical', 'high', 'medium', 'low', 'negligible', 'unknown'] as const;
const severity = z.enum(SEVERITIES);
const findingId = z.string().regex(/^[A-Za-z0-9][A-Za-z0-9._:-]{0,99}$/, 'is not the id of an advisory');
const packageName = z.string().regex(/^[a-z0-9][a-z0-9+._-]{0,120}$/, 'is not a package name');
const debVersion = z.string().regex(/^[A-Za-z0-9][A-Za-z0-9.+:~-]{0,120}$/, 'is not a package version');
const words = (max: number) => z.string().min(1).max(max);

const findingSchema = z
  .object({
    id: findingId,
    purl: z.string().regex(/^pkg:[a-z]+\/\S{1,400}$/, 'is not a package URL'),
    severity,
    fixedIn: z.string().max(200).optional(),
    /** Known to be exploited: counts as critical. */
    kev: z.boolean().optional(),
  })
  .strict();
export type Finding = z.infer<typeof findingSchema>;

/** What a scan command prints on stdout. Other fields are ignored; these must be right. */
export const scanReportSchema = z.object({
  scanner: z.object({ name: words(100), version: words(100), dbBuiltAt: z.iso.datetime({ offset: true }) }),
  findings: z.array(findingSchema.strip()).max(50_000),
});
export type ScanReport = z.infer<typeof scanReportSchema>;

const advisorySchema = z
  .object({
    id: findingId,
    package: packageName,
    fixedIn: debVersion.optional().describe('Versions before this one are vulnerable.'),
    affected: z.array(debVersion).min(1).max(1_000).optional().describe('These versions are vulnerable.'),
    severity,
    kev: z.boolean().optional(),
    summary: words(500).optional(),
  })
  .strict()
  .refine((advisory) => (advisory.fixedIn === undefined) !== (advisory.affected === undefined), {
    message: 'needs either fixedIn or affected',
  });

const exceptionSchema = z
  .object({
    id: findingId,
    package: packageName,
    owner: words(100),
    approvedBy: words(100),
    reason: words(500),
    expires: z.iso.date('is not a date. Write YYYY-MM-DD'),
  })
  .strict()
  .refine(({ owner, approvedBy }) => owner !== approvedBy, { message: 'needs an approver other than its owner' });
export type ScanException = z.infer<typeof exceptionSchema>;

const advisoriesSchema = z
  .object({
    schema: z.literal('edge.advisories/v1'),
    updated: z.iso.date('is not a date. Write YYYY-MM-DD'),
    advisories: z.array(advisorySchema).max(5_000),
    exceptions: z.array(exceptionSchema).max(500).default([]),
  })
  .strict();
export type Advisories = z.infer<typeof advisoriesSchema>;

export const parseAdvisories = (text: string, file: string): YamlFile<Advisories> =>
  readYaml({ schema: advisoriesSchema, text, file, maxBytes: 256_000 });

/** `pkg:deb/debian/openssl@3.5.4-1?arch=amd64` → name and version. Undefined for what is not a package URL. */
export function readPurl(purl: string): { type: string; name: string; version: string } | undefined {
  const match = /^pkg:([a-z]+)\/(?:[^@?#]+\/)?([^/@?#]+)@([^@?#]+)(?:[?#].*)?$/.exec(purl);
  if (!match) return undefined;
  try {
    const [type = '', name = '', version = ''] = match.slice(1).map(decodeURIComponent);
    return { type, name, version };
  } catch {
    return undefined;
  }
}

/** Matches parts against the advisories. Throws on a part that cannot be read: it would go unscanned. */
export function matchAdvisories(purls: readonly string[], { advisories }: Advisories): Finding[] {
  const findings: Finding[] = [];
  for (const purl of purls) {
    const part = readPurl(purl);
    if (!part) throw new Error(`The parts list names ${purl.slice(0, 100)}, which is not a package URL.`);
    if (part.type !== 'deb') continue;
    for (const advisory of advisories) {
      if (advisory.package !== part.name) continue;
      const vulnerable =
        advisory.fixedIn === undefined
          ? (advisory.affected ?? []).some((version) => compareDebVersions(part.version, version) === 0)
          : compareDebVersions(part.version, advisory.fixedIn) < 0;
      if (!vulnerable) continue;
      findings.push({
        id: advisory.id,
        purl,
        severity: advisory.severity,
        ...(advisory.fixedIn === undefined ? {} : { fixedIn: advisory.fixedIn }),
        ...(advisory.kev ? { kev: true } : {}),
      });
    }
  }
  return findings;
}

const DAY_MS = 86_400_000;
/** A scanner that has not learnt of the last days' vulnerabilities finds none of them. */
const MAX_DATABASE_AGE_MS = 5 * DAY_MS;
const MAX_EXCEPTION_DAYS = 30;

export interface ScanDecision {
  verdict: 'pass' | 'deny';
  counts: { critical: number; high: number; other: number };
  /** Why it is denied, a sentence each. */
  denies: string[];
  /** Findings that an exception admitted. */
  excepted: string[];
}

export function decideScan({
  report,
  exceptions,
  now,
}: {
  report: ScanReport;
  exceptions: readonly ScanException[];
  now: Date;
}): ScanDecision {
  const denies: string[] = [];
  const excepted: string[] = [];
  const counts = { critical: 0, high: 0, other: 0 };

  const age = now.getTime() - Date.parse(report.scanner.dbBuiltAt);
  if (!(age <= MAX_DATABASE_AGE_MS)) {
    const days = Math.floor(age / DAY_MS);
    denies.push(`The database of ${report.scanner.name} is ${days} days old; at most 5 are accepted. Update it.`);
  }

  for (const finding of report.findings) {
    const critical = finding.severity === 'critical' || finding.kev === true;
    counts[critical ? 'critical' : finding.severity === 'high' ? 'high' : 'other'] += 1;
    if (!critical) continue;
    const name = readPurl(finding.purl)?.name;
    const exception = exceptions.find((entry) => entry.id === finding.id && entry.package === name);
    const why = exception ? whyVoid(exception, now) : 'there is no exception for it';
    const what = `${finding.id} in ${finding.purl}`;
    if (why === undefined) excepted.push(what);
    else {
      const remedy = finding.fixedIn === undefined ? '' : ` Fixed in ${finding.fixedIn}.`;
      denies.push(`${what} is ${finding.kev ? 'known to be exploited' : 'critical'}, and ${why}.${remedy}`);
    }
  }
  return { verdict: denies.length === 0 ? 'pass' : 'deny', counts, denies, excepted };
}

/** An exception holds through its last day (UTC), and its last day may not be far away. */
function whyVoid({ expires }: ScanException, now: Date): string | undefined {
  const end = Date.parse(`${expires}T00:00:00Z`) + DAY_MS;
  if (!(now.getTime() < end)) return `its exception expired on ${expires}`;
  if (end - now.getTime() > (MAX_EXCEPTION_DAYS + 1) * DAY_MS) {
    return `its exception runs until ${expires}, more than ${MAX_EXCEPTION_DAYS} days ahead`;
  }
  return undefined;
}
