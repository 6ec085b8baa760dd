/** Words that would do harm in a shell, a path, an option list or a memory budget. */
export const HOSTILE = [
  '',
  '-rf',
  '--config=/etc/shadow',
  '../../etc/passwd',
  '..',
  '/etc/passwd',
  'a b',
  'a\nb',
  'a\0b',
  '$(reboot)',
  '`reboot`',
  'a;reboot',
  'a|b',
  "a'b",
  'a"b',
  'a*',
  '~root',
  'ａ',
  'a'.repeat(10_000_000),
];

/** What does harm even in text that people may write freely: it breaks a line, turns it round, or has no end. */
export const HOSTILE_TEXT = ['a\nb', 'a\rb', 'a\0b', '\u001b[2J', 'a\u202eb', 'a\u2028b', 'a'.repeat(10_000_000)];

/** How a word is shown in the name of a test: it must not do there what it is refused for. */
export const shown = (word: string): string =>
  JSON.stringify(word.slice(0, 30)).replace(
    /[^ -~]/g,
    (sign) => `\\u${sign.charCodeAt(0).toString(16).padStart(4, '0')}`,
  );
