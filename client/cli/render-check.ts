import { plural } from '#domain/counted.js';
import type { Problem } from '#domain/yaml-file.js';
import { columns, printable } from './text.js';

/** What `edge fleet check` says. Pure. */
export interface CheckFacts {
  dir: string;
  files: number;
  stores: number;
  fleet?: string | undefined;
  problems: readonly Problem[];
}

export function renderCheck({ dir, files, stores, fleet, problems }: CheckFacts): string[] {
  if (problems.length === 0) {
    return [
      `Fleet ${printable(fleet ?? 'without a name')}: ${plural(stores, 'store')}, ${plural(files, 'file')} in ${printable(dir)}. No problems.`,
    ];
  }
  const places = new Set(problems.map(({ file }) => file)).size;
  return [
    ...columns(
      problems.map(({ file, line, path, message }) => [
        printable(`${file}:${line}`),
        printable(path === '' ? 'file' : path),
        printable(message),
      ]),
      0,
    ),
    `${plural(problems.length, 'problem')} in ${plural(places, 'file')} of ${files}. Nothing was changed.`,
  ];
}
