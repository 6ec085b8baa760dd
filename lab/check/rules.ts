import type { JournalEntry } from '../world/journal.js';
import type { Found, Rule, StoreCase } from './check.js';
import { compareVersions } from '../world/mirror.js';
import { configFromReleases, isCeph, packagesFromReleases } from './release-rules.js';
import { RESTORE_RULES } from './restore-rules.js';

/** What the lab did to the store on command of a fault is nobody's violation. */
const byFault = (entry: JournalEntry): boolean => entry.by === 'lab' || entry.detail?.['cause'] === 'power';
const list = (value: unknown): unknown[] => (Array.isArray(value) ? value : []);
const at = (entry: JournalEntry): string => `at ${entry.at}`;

/** Why nodes are out of service at each moment: node → reasons. */
class Service {
  readonly out = new Map<string, Set<string>>();

  apply({ node, effect }: JournalEntry): void {
    if (node === undefined) return;
    const change = CHANGES[effect];
    if (!change) return;
    const reasons = this.out.get(node) ?? new Set<string>();
    if (change.out) reasons.add(change.reason);
    else reasons.delete(change.reason);
    if (reasons.size > 0) this.out.set(node, reasons);
    else this.out.delete(node);
  }
}

const CHANGES: Record<string, { reason: string; out: boolean }> = {
  'ha.maintenance.enable': { reason: 'in maintenance', out: true },
  'ha.maintenance.disable': { reason: 'in maintenance', out: false },
  'packages.begin': { reason: 'upgrading', out: true },
  'packages.install': { reason: 'upgrading', out: false },
  'packages.fail': { reason: 'upgrading', out: false },
  'node.down': { reason: 'down', out: true },
  'node.up': { reason: 'down', out: false },
};

/** Calls `look` for each entry with the state before it. */
function replay(entries: readonly JournalEntry[], look: (entry: JournalEntry, before: Service) => Found[]): Found[] {
  const service = new Service();
  return entries.flatMap((entry) => {
    const found = look(entry, service);
    service.apply(entry);
    return found;
  });
}

const only = (store: StoreCase, ...effects: string[]): JournalEntry[] =>
  store.entries.filter(({ effect }) => effects.includes(effect));

/** A node that the service must not give back: down, half upgraded, or with a kernel that it was not upgraded to. */
function unfit(store: StoreCase, node: string): boolean {
  const now = store.now.nodes.find(({ name }) => name === node);
  if (!now || now.state !== 'up' || now.halfConfigured.length > 0) return true;
  const last = only(store, 'packages.install', 'packages.fail')
    .filter((entry) => entry.node === node)
    .at(-1);
  const clean = store.now.ceph.pgs.every(({ state }) => state === 'active+clean');
  const booted = only(store, 'node.up')
    .filter((entry) => entry.node === node)
    .at(-1);
  const strange = booted?.detail?.['expected'] === false;
  return last?.effect === 'packages.fail' || !clean || strange;
}

/** Set by the service as far as the journal says: the last setting of it was not undone. */
function setByService(store: StoreCase, set: string, unset: string, node: string): boolean {
  const last = only(store, set, unset)
    .filter((entry) => entry.node === node)
    .at(-1);
  return last?.effect === set && last.by !== 'root@pam' && last.by !== 'lab';
}

export const RULES: readonly Rule[] = [
  {
    id: 'one-node-at-a-time',
    title: 'Never are two nodes of a store out of service at once',
    check: ({ entries }) =>
      replay(entries, (entry, before) => {
        if (!CHANGES[entry.effect]?.out || byFault(entry) || before.out.has(entry.node ?? '')) return [];
        const [other] = [...before.out].filter(([name]) => name !== entry.node);
        if (!other) return [];
        const summary = `${entry.effect} of ${entry.node} ${at(entry)} while ${other[0]} was ${[...other[1]].join(' and ')}`;
        return [{ summary, entry }];
      }),
  },
  {
    id: 'empty-before-reboot',
    title: 'No node is rebooted while guests run on it',
    check: (store) =>
      only(store, 'node.reboot.request', 'node.shutdown.request')
        .filter((entry) => list(entry.detail?.['guestsRunning']).length > 0)
        .map((entry) => ({
          summary: `${entry.node} was asked to go down with guests ${list(entry.detail?.['guestsRunning']).join(', ')} on it`,
          entry,
        })),
  },
  {
    id: 'maintenance-first',
    title: 'No reboot and no package change without maintenance mode of that node',
    check: ({ entries }) =>
      replay(entries, (entry, before) => {
        if (entry.effect !== 'node.reboot.request' && entry.effect !== 'packages.begin') return [];
        if (before.out.get(entry.node ?? '')?.has('in maintenance')) return [];
        return [{ summary: `${entry.effect} on ${entry.node} outside maintenance`, entry }];
      }),
  },
  {
    id: 'noout-before-reboot',
    title: 'No reboot without noout on that host',
    check: (store) =>
      only(store, 'node.reboot.request')
        .filter((entry) => entry.detail?.['noout'] !== true)
        .map((entry) => ({ summary: `${entry.node} was rebooted without noout`, entry })),
  },
  {
    id: 'clean-before-reboot',
    title: 'No reboot unless all placement groups are clean',
    check: (store) =>
      only(store, 'node.reboot.request')
        .filter((entry) => entry.detail?.['pgsClean'] !== true)
        .map((entry) => ({
          summary: `${entry.node} was rebooted with ${JSON.stringify(entry.detail?.['pgs'])}`,
          entry,
        })),
  },
  {
    id: 'nothing-twice',
    title: 'No node is rebooted or upgraded twice for the same release',
    check: (store) => [...rebootedTwice(store), ...upgradedTwice(store)],
  },
  {
    id: 'packages-of-a-release',
    title: 'Packages are exactly those of a validly signed, unexpired release promoted for the store',
    check: packagesFromReleases,
  },
  {
    id: 'ceph-never-back',
    title: 'No Ceph package ever gets an older version',
    check: (store) =>
      only(store, 'packages.install', 'packages.fail').flatMap((entry) => {
        const before = (entry.before ?? {}) as Record<string, string>;
        const [down] = Object.entries((entry.after ?? {}) as Record<string, string>).filter(
          ([name, version]) => isCeph(name) && compareVersions(version, before[name] ?? version) < 0,
        );
        if (!down) return [];
        return [{ summary: `${down[0]} on ${entry.node} went from ${before[down[0]]} back to ${down[1]}`, entry }];
      }),
  },
  {
    id: 'config-of-a-release',
    title: 'Guest config is that of a validly signed, unexpired release promoted for the store, or the last good one',
    check: configFromReleases,
  },
  {
    id: 'config-once',
    title: 'No guest config is switched to what it is already',
    check: (store) =>
      only(store, 'guest.config.switch')
        .filter(({ before, after }) => before !== undefined && before === after)
        .map((entry) => ({ summary: `guest ${entry.guest} was switched to the config that it had`, entry })),
  },
  {
    id: 'host-noout-only',
    title: 'No Ceph flag but noout on one host is touched',
    check: (store) =>
      only(store, 'ceph.flag.set', 'ceph.flag.unset')
        .filter((entry) => !byFault(entry))
        .map((entry) => ({ summary: `${entry.effect} ${String(entry.detail?.['flag'])} by ${entry.by}`, entry })),
  },
  {
    id: 'quorum-kept',
    title: 'The store never loses its quorum',
    check: (store) => {
      const total = store.now.nodes.length;
      const down = new Set<string>();
      return only(store, 'node.down', 'node.up').flatMap((entry) => {
        if (entry.effect === 'node.up') down.delete(entry.node ?? '');
        else down.add(entry.node ?? '');
        const lost = (total - down.size) * 2 <= total;
        if (entry.effect === 'node.up' || !lost || byFault(entry)) return [];
        return [{ summary: `${entry.node} went down as one too many (${[...down].join(', ')})`, entry }];
      });
    },
  },
  {
    id: 'down-and-up-again',
    title: 'Every node that went down came back',
    check: (store) =>
      store.now.nodes
        .filter(({ state }) => state !== 'up')
        .flatMap(({ name }) => {
          const last = only(store, 'node.down')
            .filter((entry) => entry.node === name)
            .at(-1);
          const held = only(store, 'fault.active').some((entry) => entry.node === name && entry.seq > (last?.seq ?? 0));
          if (!last || byFault(last) || held) return [];
          return [{ summary: `${name} went down ${at(last)} and is not back`, entry: last }];
        }),
  },
  {
    id: 'guests-survive-reboots',
    title: 'No guest is stopped by the reboot of its node',
    check: (store) =>
      only(store, 'guest.stop')
        .filter((entry) => entry.detail?.['cause'] === 'reboot' || entry.detail?.['cause'] === 'shutdown')
        .map((entry) => ({ summary: `guest ${entry.guest} was stopped by the reboot of ${entry.node}`, entry })),
  },
  {
    id: 'no-guest-lost',
    title: 'Every guest that ran at the start runs at the end',
    everywhere: true,
    check: (store) =>
      store.atStart.guests
        .filter(({ status }) => status === 'running')
        .flatMap(({ vmid }) => {
          const now = store.now.guests.find((guest) => guest.vmid === vmid);
          if (now?.status === 'running') return [];
          const stopped = only(store, 'guest.stop')
            .filter((entry) => entry.guest === vmid)
            .at(-1);
          if (stopped && byFault(stopped)) return [];
          return [{ summary: `guest ${vmid} does not run`, ...(stopped ? { entry: stopped } : {}) }];
        }),
  },
  {
    id: 'nothing-left-set',
    title: 'Nothing is left set on a node that is fit for service: no noout, maintenance, unit or lock',
    check: (store) => [
      ...store.now.nodes
        .filter(({ name }) => !unfit(store, name))
        .flatMap((node) => [
          ...(node.maintenance && setByService(store, 'ha.maintenance.enable', 'ha.maintenance.disable', node.name)
            ? [{ summary: `${node.name} is still in maintenance` }]
            : []),
          ...(node.noout && setByService(store, 'ceph.noout.set', 'ceph.noout.unset', node.name)
            ? [{ summary: `noout is still set on ${node.name}` }]
            : []),
          ...node.units.map(({ name, state }) => ({
            summary: `unit ${name} is still there on ${node.name} (${state})`,
          })),
          ...(node.dpkgLocked ? [{ summary: `dpkg is still locked on ${node.name}` }] : []),
        ]),
      ...store.now.guests
        .filter(({ lock }) => lock !== undefined)
        .map(({ vmid, lock }) => ({ summary: `guest ${vmid} is still locked (${lock})` })),
    ],
  },
  {
    id: 'no-refused-command',
    title: 'No command, login or call was refused for want of rights',
    everywhere: true,
    check: (store) =>
      only(store, 'command.refused', 'login.refused', 'api.refused').map((entry) => ({
        summary: `${entry.by} on ${entry.node}: ${JSON.stringify(entry.detail)}`.slice(0, 400),
        entry,
      })),
  },
  ...RESTORE_RULES,
];

function rebootedTwice(store: StoreCase): Found[] {
  const boots = new Map<string, string>();
  const upgradedSince = new Set<string>();
  return store.entries.flatMap((entry) => {
    const node = entry.node ?? '';
    if (entry.effect === 'packages.install') upgradedSince.add(node);
    if (entry.effect !== 'node.reboot.request') return [];
    const bootId = String((entry.before as { bootId?: unknown } | undefined)?.bootId);
    const earlier = boots.get(node);
    const again = earlier === bootId;
    const idle = earlier !== undefined && !upgradedSince.has(node) && entry.detail?.['rebootNeeded'] !== true;
    boots.set(node, bootId);
    upgradedSince.delete(node);
    if (again) return [{ summary: `${node} was asked to reboot twice in the same boot`, entry }];
    return idle ? [{ summary: `${node} was rebooted again with nothing new to boot`, entry }] : [];
  });
}

function upgradedTwice(store: StoreCase): Found[] {
  /** Node and package → the version that it got last. */
  const last = new Map<string, string>();
  return only(store, 'packages.begin', 'packages.install').flatMap((entry) => {
    const versions = Object.entries((entry.after ?? {}) as Record<string, string>);
    if (entry.effect === 'packages.install') {
      for (const [name, version] of versions) last.set(`${entry.node} ${name}`, version);
      return [];
    }
    const again = versions.filter(([name, version]) => last.get(`${entry.node} ${name}`) === version);
    if (again.length === 0) return [];
    const names = again.map((pair) => pair.join('='));
    return [{ summary: `${entry.node} installed ${names.join(', ')} a second time`, entry }];
  });
}
