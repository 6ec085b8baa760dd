import { existsSync } from 'node:fs';
import { delimiter, join } from 'node:path';

const FOLDERS = [...(process.env['PATH'] ?? '').split(delimiter), '/usr/local/sbin', '/usr/sbin', '/sbin'];

const find = (program: string): string | undefined =>
  FOLDERS.map((folder) => join(folder, program)).find((path) => existsSync(path));

export const isInstalled = (program: string): boolean => find(program) !== undefined;

/** The path of a program, also where the PATH of a normal user leaves the system's folders out. */
export const pathOf = (program: string): string => find(program) ?? program;

/** Why these tests cannot run here, in a sentence; undefined when they can. */
export function lacking(what: string, programs: readonly string[], packages: string): string | undefined {
  const missing = programs.filter((program) => !isInstalled(program));
  if (missing.length === 0) return undefined;
  return `Not tested here: ${what}. Missing: ${missing.join(', ')} (on Debian: apt-get install ${packages}).`;
}
