import type { RepoFile } from '#domain/repo-files.js';

/** Rendered or hand-written texts as the check wants them. */
export const repoFiles = (texts: Iterable<readonly [path: string, text: string]>): Map<string, RepoFile> =>
  new Map([...texts].map(([path, text]) => [path, { size: Buffer.byteLength(text), text }]));
