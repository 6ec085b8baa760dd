import { COMMIT } from '#domain/naming.js';
import { GitError } from './errors.js';

/** What git allows for refs and more: no `..`, no leading dash or dot in a part, nothing a shell or pathspec reads. */
const REF_PART = /^[A-Za-z0-9_][A-Za-z0-9._-]{0,99}$/;
const isRefPart = (part: string): boolean =>
  REF_PART.test(part) && !part.includes('..') && !part.endsWith('.') && !part.endsWith('.lock');

export function checkedRef(name: string): string {
  if (name.length <= 250 && name.split('/').every(isRefPart)) return name;
  throw new GitError('BadName', 'A branch or tag is made of letters, digits, dot, dash, underscore and slashes.');
}

export function checkedCommit(commit: string): string {
  if (COMMIT.test(commit)) return commit;
  throw new GitError('BadName', 'A commit is named by its full hash: 40 hex digits in lower case.');
}

/**
 * A path inside the tree. Control characters are refused because requests to `git cat-file --batch` are lines:
 * a line break in a path would be a second request.
 */
export function checkedPath(path: string): string {
  const parts = path.split('/');
  const safe =
    path.length > 0 &&
    path.length <= 1_000 &&
    !path.startsWith('-') &&
    !/[\u0000-\u001f\u007f\\]/.test(path) &&
    parts.every((part) => part !== '' && part !== '.' && part !== '..' && part.toLowerCase() !== '.git');
  if (safe) return path;
  throw new GitError(
    'BadName',
    'A path in the repo is relative, without empty parts, dots, backslashes or control characters.',
  );
}
