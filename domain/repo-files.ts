import { MAX_CONFIG_FILE } from './repo-limits.js';

/** What is known of one file of the GitOps repo. */
export interface RepoFile {
  /** Bytes. */
  size: number;
  /** Absent when the file is too large or not UTF-8; then only its size is known. */
  text?: string;
}
/** Path → file. */
export type RepoFiles = ReadonlyMap<string, RepoFile>;

/** Where the files come from: a commit, or a folder on disk. */
export interface RepoSource {
  list(): Promise<{ path: string; size: number }[]>;
  /** Missing files are absent from the map. */
  readMany(paths: string[]): Promise<Map<string, Uint8Array>>;
}

/** Files whose content the service ever looks at. Names with other signs are judged by name alone, never opened. */
const READABLE =
  /^(fleet\.yaml|policies\/[A-Za-z0-9][A-Za-z0-9._-]*|clusters\/[a-z0-9][a-z0-9-]*\/[A-Za-z0-9][A-Za-z0-9._-]*)$/;
/** All texts together; a fleet of 500 stores has some 3 MB. */
const MAX_TOTAL = 200_000_000;

/** Every path of the repo, and the text of those that matter. Throws only what the source throws. */
export async function collectRepoFiles(source: RepoSource): Promise<RepoFiles> {
  const listed = await source.list();
  let total = 0;
  const wanted = listed.filter(({ path, size }) => {
    if (!READABLE.test(path) || size > MAX_CONFIG_FILE) return false;
    total += size;
    return total <= MAX_TOTAL;
  });
  const contents = await source.readMany(wanted.map(({ path }) => path));
  const files = new Map<string, RepoFile>();
  for (const { path, size } of listed) {
    const bytes = contents.get(path);
    const text = bytes && decode(bytes);
    files.set(path, text === undefined ? { size } : { size, text });
  }
  return files;
}

function decode(bytes: Uint8Array): string | undefined {
  try {
    return new TextDecoder('utf-8', { fatal: true }).decode(bytes);
  } catch {
    return undefined;
  }
}
