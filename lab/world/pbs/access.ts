/** What the roles of Proxmox Backup Server allow. */
const DATASTORE_ALL = [
  'Datastore.Audit',
  'Datastore.Allocate',
  'Datastore.Modify',
  'Datastore.Read',
  'Datastore.Verify',
  'Datastore.Backup',
  'Datastore.Prune',
] as const;

export const ROLES = {
  Admin: [
    'Sys.Audit',
    'Sys.Modify',
    'Sys.PowerManagement',
    'Permissions.Modify',
    ...DATASTORE_ALL,
    'Remote.Audit',
    'Remote.Modify',
    'Remote.Read',
  ],
  Audit: ['Sys.Audit', 'Datastore.Audit', 'Remote.Audit'],
  NoAccess: [],
  DatastoreAdmin: DATASTORE_ALL,
  DatastoreReader: ['Datastore.Audit', 'Datastore.Verify', 'Datastore.Read'],
  DatastoreBackup: ['Datastore.Backup'],
  DatastorePowerUser: ['Datastore.Backup', 'Datastore.Prune'],
  DatastoreAudit: ['Datastore.Audit'],
  RemoteAudit: ['Remote.Audit'],
  RemoteAdmin: ['Remote.Audit', 'Remote.Modify', 'Remote.Read'],
  RemoteSyncOperator: ['Remote.Audit', 'Remote.Read'],
  RemoteSyncPushOperator: ['Remote.Audit', 'Remote.DatastoreBackup'],
} as const satisfies Record<string, readonly string[]>;

export type Role = keyof typeof ROLES;

export interface AclEntry {
  path: string;
  /** `user@realm` or `user@realm!token`. */
  authId: string;
  role: Role;
  propagate: boolean;
}

export const userOf = (authId: string): string => authId.split('!')[0] ?? authId;

/** The entry nearest to the path counts; a token has its own, and of those only what its user has as well. */
export function privilegesOn(acl: readonly AclEntry[], authId: string, path: string): string[] {
  const own = granted(acl, authId, path);
  if (!authId.includes('!')) return own;
  const ofUser = granted(acl, userOf(authId), path);
  return own.filter((privilege) => ofUser.includes(privilege));
}

function granted(acl: readonly AclEntry[], authId: string, path: string): string[] {
  for (let at = path; ; at = at.slice(0, at.lastIndexOf('/')) || '/') {
    const found = acl.filter(
      (entry) => entry.authId === authId && entry.path === at && (at === path || entry.propagate),
    );
    if (found.length > 0) return found.flatMap(({ role }) => [...ROLES[role]]);
    if (at === '/') return [];
  }
}

/** Owner and asker are the same, or the owner is a token of the asker. */
export const owns = (authId: string, owner: string): boolean => owner === authId || owner.startsWith(`${authId}!`);

export const datastorePath = (store: string, ns = ''): string => `/datastore/${store}${ns === '' ? '' : `/${ns}`}`;
