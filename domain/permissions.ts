/** Path → privileges of a token, as the APIs of Proxmox VE and of its backup server tell them. */
export type Permissions = Readonly<Record<string, readonly string[]>>;

/** What is given on a path holds below it, unless something else is given there. */
export function heldOn(permissions: Permissions, path: string): readonly string[] {
  for (let at = path; ; at = at.slice(0, at.lastIndexOf('/')) || '/') {
    const held = permissions[at];
    if (held) return held;
    if (at === '/') return [];
  }
}
