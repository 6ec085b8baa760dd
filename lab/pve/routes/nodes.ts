import type { CommandOutcome } from '../../world/packages-sim.js';
import { NodeGone } from '../../world/node-gone.js';
import type { NodeSim } from '../../world/node-sim.js';
import { param } from '../params.js';
import { flag } from '../route.js';
import type { Call, Route } from '../route.js';

const GIB = 1024 ** 3;
const CPUS = 16;
/** Milliseconds of a real store: longer than apt ever takes. */
const APT_PATIENCE = 3_600_000;
const on = (privilege: string) => ({ path: '/nodes/{node}', anyOf: [privilege] });

export const nodeRoutes: Route[] = [
  { method: 'GET', path: '/version', run: ({ node }) => versionOf(node) },
  { method: 'GET', path: '/nodes', run: ({ store }) => [...store.nodes.values()].map(nodeRow) },
  { method: 'GET', path: '/nodes/{node}/version', params: { node: param.node }, run: ({ node }) => versionOf(node) },
  {
    method: 'GET',
    path: '/nodes/{node}/status',
    params: { node: param.node },
    permission: on('Sys.Audit'),
    run: ({ node }) => statusOf(node),
  },
  {
    method: 'POST',
    path: '/nodes/{node}/status',
    params: { node: param.node, command: { type: 'string', enum: ['reboot', 'shutdown'] } },
    permission: on('Sys.PowerMgmt'),
    step: 'node.reboot.request',
    run: ({ node, params, actor }) => {
      if (params['command'] === 'reboot') node.reboot(actor.by);
      else node.shutdown(actor.by);
      return null;
    },
  },
  {
    method: 'GET',
    path: '/nodes/{node}/apt/update',
    params: { node: param.node },
    permission: on('Sys.Modify'),
    run: ({ node }) =>
      node.packages.pendingUpgrades().map(({ name, old, version }) => ({
        ...packageRow(name, version),
        ...(old === undefined ? {} : { OldVersion: old }),
      })),
  },
  {
    method: 'POST',
    path: '/nodes/{node}/apt/update',
    params: { node: param.node, notify: param.flag(true), quiet: param.flag(true) },
    permission: on('Sys.Modify'),
    step: 'apt.update',
    run: refreshLists,
  },
  {
    method: 'GET',
    path: '/nodes/{node}/apt/versions',
    params: { node: param.node },
    permission: on('Sys.Audit'),
    run: ({ node }) =>
      [...node.packages.installed].map(([name, version]) => ({
        ...packageRow(name, version),
        OldVersion: version,
        CurrentState: node.packages.halfConfigured.includes(name) ? 'HalfConfigured' : 'Installed',
        ...(name === 'proxmox-ve' ? { RunningKernel: node.kernel } : {}),
        ...(name === 'pve-manager' ? { ManagerVersion: `${version}/practice` } : {}),
      })),
  },
];

/** The work of the task is done by the node's own apt, which may meet its locks and faults. */
function refreshLists({ node, actor }: Call): string {
  let outcome: CommandOutcome | undefined;
  node.packages.update(actor.by).then(
    (result) => {
      outcome = result;
      node.tasks.finish(task.upid);
    },
    // The node is gone, and the task with it.
    () => undefined,
  );
  if (!node.up) throw new NodeGone(`Node ${node.name} is not up.`);
  const task = node.tasks.start({
    type: 'aptupdate',
    id: '',
    user: actor.user,
    log: ['starting apt-get update'],
    durationMs: node.timing.scale(APT_PATIENCE),
    run: (log) => {
      if (!outcome) throw new Error('apt-get update did not end');
      for (const line of outcome.stdout.trimEnd().split('\n')) log(line);
      if (outcome.code !== 0) throw new Error(`command 'apt-get update' failed: exit code ${outcome.code}`);
    },
  });
  return task.upid;
}

function versionOf(node: NodeSim) {
  const version = node.packages.installed.get('pve-manager') ?? '9.1.4';
  return { version, release: version.split('.').slice(0, 2).join('.'), repoid: '0123456789abcdef' };
}

function nodeRow(node: NodeSim) {
  const row = { id: `node/${node.name}`, type: 'node', node: node.name, level: '' };
  if (!node.up) return { ...row, status: 'offline' };
  return {
    ...row,
    status: 'online',
    cpu: 0.043,
    maxcpu: CPUS,
    mem: node.memoryUsed,
    maxmem: node.memoryTotal,
    disk: node.rootTotal - node.rootFree,
    maxdisk: node.rootTotal,
    uptime: node.uptime,
  };
}

export const nodeResource = (node: NodeSim) => ({ ...nodeRow(node), 'cgroup-mode': 2 });

function statusOf(node: NodeSim) {
  const { kernel } = node;
  const built = '#1 SMP PREEMPT_DYNAMIC practice';
  return {
    uptime: node.uptime,
    cpu: 0.043,
    wait: 0.001,
    idle: 0,
    loadavg: ['0.42', '0.39', '0.35'],
    memory: { total: node.memoryTotal, used: node.memoryUsed, free: node.memoryTotal - node.memoryUsed },
    swap: { total: 8 * GIB, used: 0, free: 8 * GIB },
    rootfs: {
      total: node.rootTotal,
      used: node.rootTotal - node.rootFree,
      free: node.rootFree,
      avail: node.rootFree,
    },
    ksm: { shared: 0 },
    cpuinfo: {
      model: 'Practice CPU',
      cpus: CPUS,
      cores: CPUS / 2,
      sockets: 1,
      mhz: '2400.000',
      hvm: '1',
      flags: 'fpu vme',
      user_hz: 100,
    },
    'current-kernel': { sysname: 'Linux', release: kernel, version: built, machine: 'x86_64' },
    kversion: `Linux ${kernel} ${built}`,
    pveversion: `pve-manager/${versionOf(node).version}/practice`,
    'boot-info': { mode: 'efi', secureboot: flag(false) },
  };
}

const packageRow = (name: string, version: string) => ({
  Package: name,
  Version: version,
  Title: name,
  Description: `practice package ${name}`,
  Arch: 'amd64',
  Origin: 'Proxmox',
  Priority: 'optional',
  Section: 'admin',
});
