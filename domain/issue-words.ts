import type { z } from 'zod';

/** The words of a problem that zod found, to stand behind the path of what is wrong. No full stop at the end. */
export function wordsOf(issue: z.core.$ZodIssue): string {
  // zod's own sentences start with a capital and speak of inputs; those of our schemas continue the path.
  if (!/^(Invalid|Too (big|small)|Unrecognized)/.test(issue.message)) return issue.message.replace(/\.$/, '');
  switch (issue.code) {
    case 'invalid_type':
      return issue.message.endsWith('received undefined') ? MISSING : `must be of the type ${issue.expected}`;
    case 'invalid_value':
      return `must be one of: ${issue.values.map(String).join(', ')}`;
    case 'too_small':
      return `must ${verbOf(issue.origin)} at least ${issue.minimum}${unitOf(issue.origin)}`;
    case 'too_big':
      return `must ${verbOf(issue.origin)} at most ${issue.maximum}${unitOf(issue.origin)}`;
    case 'invalid_union':
      return unionWords(issue);
    default:
      return `is not valid: ${issue.message.replace(/^Invalid input: /, '')}`;
  }
}

const MISSING = 'is missing';
export const UNKNOWN_KEY = 'is not a known key here';

const verbOf = (origin: string): string => (['number', 'int', 'bigint'].includes(origin) ? 'be' : 'have');

function unitOf(origin: string): string {
  if (origin === 'string') return ' characters';
  return origin === 'array' ? ' entries' : '';
}

function unionWords(issue: z.core.$ZodIssueInvalidUnion): string {
  const words = issue.errors.flat().map(wordsOf);
  return words.every((word) => word === MISSING)
    ? MISSING
    : `fits no known form: it ${[...new Set(words)].join('. Or it ')}`;
}
