/** Path → privileges of a token. Where not all of them hold below a path, `<path>/*` has those that do. */
export type Permissions = Readonly<Record<string, readonly string[]>>;

/** From what Proxmox VE and its backup server tell: path → privilege → whether it holds below the path as well. */
export function permissionsFrom(paths: Readonly<Record<string, Record<string, unknown>>>): Record<string, string[]> {
  const told = Object.entries(paths).flatMap(([path, privileges]): [string, string[]][] => {
    const all = Object.keys(privileges);
    const below = all.filter((privilege) => Number(privileges[privilege]) === 1);
    return below.length === all.length
      ? [[path, all]]
      : [
          [path, all],
          [belowOf(path), below],
        ];
  });
  return Object.fromEntries(told);
}

/** What is given on a path holds below it, unless something else is given there. `/vms/*` is all that is below `/vms`. */
export function heldOn(permissions: Permissions, path: string): readonly string[] {
  let at = path;
  let held = permissions[at];
  while (!held && at !== '/') {
    at = at.slice(0, at.lastIndexOf('/')) || '/';
    held = permissions[belowOf(at)] ?? permissions[at];
  }
  return held ?? [];
}

const belowOf = (path: string): string => (path === '/' ? '/*' : `${path}/*`);
