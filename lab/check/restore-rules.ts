import type { JournalEntry } from '../world/journal.js';
import { RESTORE } from '../world/layout.js';
import type { Found, Rule, StoreCase } from './check.js';

/** What must never happen while backups are tried, at the staging site and at every store. */
const { from, to } = RESTORE.vmids;

const of = ({ entries }: StoreCase, ...effects: string[]): JournalEntry[] =>
  entries.filter(({ effect }) => effects.includes(effect));

/** What the lab did on command of a fault, or a node with its own guests, is no restorer's doing. */
const OWN = ['lab', 'node', 'ha-manager'];

const wasThere = ({ atStart }: StoreCase, vmid: number | undefined): boolean =>
  atStart.guests.some((guest) => guest.vmid === vmid && guest.restored === undefined);

const found = (entry: JournalEntry, what: string): Found => ({
  summary: `${entry.by} on ${entry.node ?? ''} at ${entry.at}: ${what}`,
  entry,
});

export const RESTORE_RULES: readonly Rule[] = [
  {
    id: 'restore-over-nothing',
    title: 'No restore overwrites a guest',
    everywhere: true,
    check: (site) =>
      of(site, 'guest.destroy')
        .filter(({ detail }) => detail?.['cause'] === 'restore')
        .map((entry) => found(entry, `guest ${entry.guest} was overwritten`)),
  },
  {
    id: 'restore-in-its-place',
    title: 'Restores write to the storage and the ids that are kept for them, at the staging site alone',
    everywhere: true,
    check: (site) =>
      of(site, 'guest.restore').flatMap((entry) => {
        const { detail, guest = 0 } = entry;
        const storage = String(detail?.['storage']);
        if (site.kind === 'store') return [found(entry, `guest ${guest} was restored at a store`)];
        if (storage !== RESTORE.storage) return [found(entry, `guest ${guest} was restored to storage ${storage}`)];
        return guest < from || guest > to ? [found(entry, `a guest was restored as ${guest}`)] : [];
      }),
  },
  {
    id: 'restored-stays-apart',
    title: 'Nothing restored is started on a network with a port',
    everywhere: true,
    check: (site) =>
      of(site, 'network.conflict').map((entry) =>
        found(
          entry,
          `guest ${entry.guest} came up on ${String(entry.detail?.['bridge'])} as a second ${String(entry.detail?.['origin'])}`,
        ),
      ),
  },
  {
    id: 'nothing-restored-left',
    title: 'Nothing restored is left behind: no guest, no storage',
    everywhere: true,
    check: ({ now, atStart }) => [
      ...now.guests
        .filter(({ restored }) => restored)
        .map(({ vmid, name, status }) => ({ summary: `guest ${vmid} (${name}) is still there, ${status}` })),
      ...(now.storages ?? [])
        .filter((storage) => !atStart.storages?.includes(storage))
        .map((storage) => ({ summary: `storage ${storage} is still there` })),
    ],
  },
  {
    id: 'production-untouched',
    title: 'No guest or storage that was there before is touched by whoever restores',
    everywhere: true,
    check: (site) => [
      ...of(site, 'guest.destroy', 'guest.configure', 'guest.unlock', ...(site.kind === 'staging' ? POWER : []))
        .filter(
          (entry) => wasThere(site, entry.guest) && !OWN.includes(entry.by) && entry.detail?.['restored'] !== true,
        )
        .map((entry) => found(entry, `${entry.effect} of guest ${entry.guest}`)),
      ...of(site, 'storage.remove')
        .filter((entry) => !addedBefore(site, entry))
        .map((entry) => found(entry, `storage ${String(entry.detail?.['storage'])} was taken away`)),
    ],
  },
];

/** What a store's own worker may do to its guests, and nobody to those of the staging site. */
const POWER = ['guest.start', 'guest.stop', 'guest.migrate'];

const addedBefore = (site: StoreCase, { seq, detail }: JournalEntry): boolean =>
  of(site, 'storage.add').some((entry) => entry.seq < seq && entry.detail?.['storage'] === detail?.['storage']);
