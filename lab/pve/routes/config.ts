import { createHash } from 'node:crypto';
import { disksOf } from '../../world/disks.js';
import { isDevice, needOf } from '../../world/devices.js';
import type { GuestSim } from '../../world/guest-sim.js';
import { bridgeIn, cardsOf, macOf } from '../../world/restore-sim.js';
import type { StoreSim } from '../../world/store-sim.js';
import { privilegesOn, requirePrivilege } from '../access.js';
import { parameterError, permissionError, PveError } from '../errors.js';
import { param, type Params, type ParamSpecs } from '../params.js';
import { guestOf, text, type Call, type Route } from '../route.js';

type Kind = 'qemu' | 'lxc';

/** The settings of guests. Those that matter to nobody here are kept and shown, and change nothing. */
const SETTINGS: ParamSpecs = {
  cores: { type: 'integer', optional: true, minimum: 1 },
  description: param.text,
  'net[n]': param.text,
  onboot: param.flag(true),
  protection: param.flag(true),
  tags: param.text,
};

const OF_KIND: Record<Kind, ParamSpecs> = {
  qemu: {
    agent: param.text,
    'hostpci[n]': param.text,
    'parallel[n]': param.text,
    'serial[n]': param.text,
    'usb[n]': param.text,
    balloon: { type: 'integer', optional: true, minimum: 0 },
    memory: param.text,
    name: param.text,
  },
  lxc: {
    'dev[n]': param.text,
    hostname: param.text,
    memory: { type: 'integer', optional: true, minimum: 16 },
    swap: { type: 'integer', optional: true, minimum: 0 },
  },
};

export const settingsOf = (kind: Kind): ParamSpecs => ({ ...SETTINGS, ...OF_KIND[kind] });

/** What a setting takes; those that are not here are options like any other. */
const PRIVILEGES: Record<string, string> = {
  balloon: 'VM.Config.Memory',
  cores: 'VM.Config.CPU',
  hostname: 'VM.Config.Network',
  memory: 'VM.Config.Memory',
  swap: 'VM.Config.Memory',
};
const ANY = [
  'VM.Config.Disk',
  'VM.Config.CDROM',
  'VM.Config.CPU',
  'VM.Config.Memory',
  'VM.Config.Network',
  'VM.Config.HWType',
  'VM.Config.Options',
  'VM.Config.Cloudinit',
];

export const configRoutes: Route[] = (['qemu', 'lxc'] as const).flatMap((kind): Route[] => {
  const path = `/nodes/{node}/${kind}/{vmid}/config`;
  const ids: ParamSpecs = { node: param.node, vmid: param.vmid };
  const change: ParamSpecs = { ...ids, ...settingsOf(kind), delete: param.text, digest: param.text };
  const permission = { path: '/vms/{vmid}', anyOf: ANY };
  return [
    {
      method: 'GET',
      path,
      params: { ...ids, current: param.flag(true), snapshot: param.text },
      permission: { path: '/vms/{vmid}', anyOf: ['VM.Audit'] },
      run: (call) => configOf(guestOf(call, kind), call.store),
    },
    {
      method: 'PUT',
      path,
      params: kind === 'qemu' ? { ...change, force: param.flag(true), skiplock: param.flag(true) } : change,
      permission,
      step: 'guest.configure',
      run: (call) => configure(call, kind),
    },
    ...(kind === 'lxc'
      ? []
      : [
          {
            method: 'POST' as const,
            path,
            params: {
              ...change,
              background_delay: { type: 'integer', optional: true, minimum: 1, maximum: 30 },
              force: param.flag(true),
              skiplock: param.flag(true),
            } satisfies ParamSpecs,
            permission,
            step: 'guest.configure' as const,
            // What ends within the delay that was asked for has no task to wait for.
            run: (call: Call) => {
              configure(call, kind);
              if (call.params['background_delay'] !== undefined) return null;
              const id = text(call.params['vmid']);
              const task = { type: 'qmconfig', id, user: call.actor.user, durationMs: 1, run: () => undefined };
              return call.node.tasks.start(task).upid;
            },
          },
        ]),
  ];
});

/** Numbers of a config file are text to Perl, and come as text. */
function configOf(guest: GuestSim, store: StoreSim): Record<string, unknown> {
  const settings = settingsNow(guest, store);
  const digest = createHash('sha1').update(JSON.stringify(settings)).digest('hex');
  return { ...settings, digest, ...(guest.lock === undefined ? {} : { lock: guest.lock }) };
}

function settingsNow(guest: GuestSim, store: StoreSim): Record<string, unknown> {
  const { vmid, kind, name, options } = guest;
  const settings: Record<string, unknown> = {
    onboot: 1,
    cores: 2,
    memory: String(guest.maxMemory / 1024 ** 2),
    ...cardsOf(kind, guest.spec, (nth) => macOf(vmid, nth)),
    ...guest.spec.devices,
    ...(kind === 'qemu' ? { name, agent: '1' } : { hostname: name, unprivileged: 1 }),
    // A restore keeps what the backup says of it, and what a restore that failed leaves says nothing.
    ...(kind === 'qemu' && guest.hasDisk ? { meta: MADE } : {}),
    ...Object.fromEntries(disksOf(guest, store.layout.ownDisks).map((disk) => [disk.name, disk.value])),
  };
  for (const [key, value] of Object.entries(options ?? {})) {
    if (value === null) delete settings[key];
    else settings[key] = isNumber(key) ? Number(value) : value;
  }
  return settings;
}

/** By what, and when (epoch seconds): by the installer, long ago. */
const MADE = 'creation-qemu=9.0.2,ctime=1735689600';

const isNumber = (key: string): boolean => ['onboot', 'protection', 'cores', 'balloon', 'swap'].includes(key);

/** As text, as a config file has it. */
export function settingsFrom(params: Params, kind: Kind): Record<string, string> {
  const known = settingsOf(kind);
  return Object.fromEntries(
    Object.entries(params)
      .filter(([name, value]) => value !== undefined && (known[name] ?? known[name.replace(/\d+$/, '[n]')]))
      .map(([name, value]) => [name, typeof value === 'boolean' ? String(Number(value)) : text(value)]),
  );
}

function privilegeFor(name: string): string {
  if (isDevice(name)) return 'VM.Config.HWType';
  return PRIVILEGES[name] ?? (/^net\d+$/.test(name) ? 'VM.Config.Network' : 'VM.Config.Options');
}

/** Refuses settings that the caller may not make, on a guest or on the pool that it shall be in. */
export function requireSettings(
  { caller, store }: Call,
  { vmid, pool }: { vmid: number; pool?: string | undefined },
  settings: Record<string, string>,
  taken: readonly string[] = [],
): void {
  const held = [
    ...privilegesOn(caller, `/vms/${vmid}`),
    ...(pool === undefined ? [] : privilegesOn(caller, `/pool/${pool}`)),
  ];
  for (const name of [...Object.keys(settings), ...taken]) {
    const privilege = privilegeFor(name);
    if (!held.includes(privilege)) throw permissionError(`/vms/${vmid}, ${privilege}`);
  }
  requireDevices(caller, settings);
  for (const [name, value] of Object.entries(settings)) {
    if (!/^net\d+$/.test(name)) continue;
    const bridge = bridgeIn(value);
    if (bridge !== undefined && !mayUse(caller, bridge)) {
      throw permissionError(`/sdn/zones/localnetwork/${bridge}, SDN.Use`);
    }
  }
  if (
    settings['tags'] !== undefined &&
    !/^[a-z0-9_][a-z0-9_.+-]*([;, ][a-z0-9_][a-z0-9_.+-]*)*$/i.test(settings['tags'])
  ) {
    throw parameterError({ tags: 'invalid format - invalid characters in tag' });
  }
  store.requireQuorum();
}

/** Of devices that are set, or taken away. */
function requireDevices(caller: Call['caller'], settings: Record<string, string>): void {
  for (const [name, value] of Object.entries(settings)) {
    const need = needOf(name, value);
    if (need?.kind === 'root') throw name.startsWith('dev') ? permissionError(need.words) : new Error(need.words);
    if (need) requirePrivilege(caller, need.path, ['Mapping.Use']);
  }
}

export const mayUse = (caller: Call['caller'], bridge: string): boolean =>
  privilegesOn(caller, `/sdn/zones/localnetwork/${bridge}`).includes('SDN.Use');

/** Changes settings. On a running guest cards are changed at once: where that is refused, nothing is. */
function configure(call: Call, kind: Kind): null {
  const { store, node, params, actor } = call;
  const guest = guestOf(call, kind);
  const { vmid } = guest;
  const settings = settingsFrom(params, kind);
  const taken = text(params['delete'] ?? '')
    .split(/[,; ]+/)
    .filter((name) => name !== '');
  if (params['skiplock']) requirePrivilege(call.caller, '/', ['nobody but root@pam']);
  const both = taken.find((name) => name in settings);
  if (both !== undefined)
    throw parameterError({ delete: `you can't use '-${both}' and -delete ${both}' at the same time` });
  if (Object.keys(settings).length + taken.length === 0) throw new PveError(500, 'no options specified');
  requireSettings(call, { vmid }, settings, taken);
  const before = settingsNow(guest, store);
  requireDevices(
    call.caller,
    Object.fromEntries(taken.filter((name) => name in before).map((name) => [name, String(before[name])])),
  );
  const { digest } = configOf(guest, store) as { digest: string };
  if (params['digest'] !== undefined && params['digest'] !== digest) {
    throw new Error('detected modified configuration - file changed by other user? Try again.');
  }
  node.enter('guest.configure');
  if (guest.lock !== undefined) throw new Error(`${kind === 'qemu' ? 'VM' : 'CT'} is locked (${guest.lock})`);
  const gone = Object.fromEntries(taken.map((name): [string, null] => [name, null]));
  guest.options = { ...guest.options, ...settings, ...gone };
  const changed = [...Object.keys(settings), ...taken];
  const pick = (from: Record<string, unknown>) => Object.fromEntries(changed.map((name) => [name, from[name]]));
  node.record('guest.configure', actor.by, {
    guest: vmid,
    before: pick(before),
    after: pick(settingsNow(guest, store)),
    detail: { restored: guest.restored !== undefined },
  });
  store.replugged(guest, actor.by);
  return null;
}
