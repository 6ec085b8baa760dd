import { setTimeout as delay } from 'node:timers/promises';
import type { z } from 'zod';
import { permissionsFrom } from '#domain/permissions.js';
import type { Answer, Values } from '../http/api.js';
import { ProxmoxError } from './errors.js';
import { createProxmoxHttp } from './http.js';
import {
  agentPidSchema,
  agentStatusSchema,
  clusterStatusSchema,
  archivedConfigSchema,
  guestConfigSchema,
  guestStatusSchema,
  haRowsSchema,
  managerStatusSchema,
  networksSchema,
  nodeStatusSchema,
  notBackedUpSchema,
  permissionsSchema,
  poolSchema,
  resourcesSchema,
  storagesSchema,
  storageStatusSchema,
  taskLogSchema,
  taskStatusSchema,
  tasksSchema,
  versionSchema,
  volumesSchema,
} from './schemas.js';
import type {
  Bridge,
  GuestKind,
  GuestResource,
  HaRow,
  ProxmoxOptions,
  ProxmoxRestoreClient,
  StorageConfig,
  TaskStatus,
  TaskSummary,
} from './types.js';
import { parseUpid } from './upid.js';

const TASK_LIMIT = 500;
/** Between two reads of a task that seems to have ended without a last line: it may just be writing it. */
const REREAD_MS = 1_000;

/** Throws `ProxmoxError` of kind Untrusted or Auth at once when the options cannot make a safe connection. */
export function createProxmoxClient(options: ProxmoxOptions): ProxmoxRestoreClient {
  const { api, tokenId } = createProxmoxHttp(options);
  const { read } = api;

  const taskIn = (path: string, data: unknown): string => {
    if (typeof data === 'string' && parseUpid(data)) return data;
    throw new ProxmoxError('OutcomeUnknown', `${path}: accepted, but the answer names no task. Look for its task.`);
  };
  const startTask = async (path: string, form: Values): Promise<string> =>
    taskIn(`POST ${path}`, (await api.post(path, form)).data);

  const listTasks = async (node: string, query: Values): Promise<TaskSummary[]> => {
    const rows = await read(tasksSchema, `/nodes/${segment(node)}/tasks`, { limit: TASK_LIMIT, ...query });
    return rows.map((row) => ({
      upid: row.upid,
      node: row.node,
      type: row.type,
      id: row.id,
      user: row.user,
      startTime: row.starttime,
      ...(row.endtime === undefined ? {} : { endTime: row.endtime }),
      // Lists of active tasks may say RUNNING where others leave the field out.
      ...(row.status && row.status !== 'RUNNING' ? { status: row.status } : {}),
    }));
  };

  const readTask = async (upid: string) => read(taskStatusSchema, `${taskPath(upid)}/status`);

  return {
    async version() {
      const { version, release } = await read(versionSchema, '/version');
      return { version, release };
    },

    async permissions() {
      return permissionsFrom(await read(permissionsSchema, '/access/permissions'));
    },

    async clusterStatus() {
      const rows = await read(clusterStatusSchema, '/cluster/status');
      return {
        // A host that is in no cluster has no such row; a store is a cluster, so that is not quorate either.
        quorate: rows.some((row) => row.type === 'cluster' && row.quorate === true),
        nodes: rows
          .filter((row) => row.type === 'node')
          .map((row) => ({ name: row.name, online: row.online === true, local: row.local === true })),
      };
    },

    async guests() {
      const rows = await read(resourcesSchema, '/cluster/resources', { type: 'vm' });
      return rows.filter((row) => isGuestKind(row.type)).map(guestOf);
    },

    async guestStatus(node, kind, vmid) {
      const status = await read(guestStatusSchema, `${guestPath(node, kind, vmid)}/status/current`);
      return {
        status: status.status,
        ...(status.lock ? { lock: status.lock } : {}),
        ha: status.ha?.managed === true,
      };
    },

    async haManagerStatus() {
      const { manager_status: manager, quorum } = await read(managerStatusSchema, '/cluster/ha/status/manager_status');
      const services = Object.entries(manager.service_status);
      return {
        quorate: quorum.quorate === true,
        nodeStatus: manager.node_status,
        serviceStatus: Object.fromEntries(services.map(([sid, { node, state }]) => [sid, { node, state }])),
      };
    },

    async haStatus() {
      const rows = await read(haRowsSchema, '/cluster/ha/status/current');
      return rows.map(haRowOf);
    },

    async nodeStatus(node) {
      const status = await read(nodeStatusSchema, `/nodes/${segment(node)}/status`);
      return {
        uptime: status.uptime,
        kernel: status['current-kernel'].release,
        rootFree: status.rootfs.avail,
        ...(status.memory ? { memoryFree: status.memory.free } : {}),
      };
    },

    async nodeMemory() {
      const rows = await read(resourcesSchema, '/cluster/resources', { type: 'node' });
      return Object.fromEntries(
        rows.flatMap(({ node, status, maxmem }) => (node && status === 'online' && maxmem ? [[node, maxmem]] : [])),
      );
    },

    async runningTasks() {
      const lists = await Promise.all(options.nodes.map(({ name }) => listTasks(name, { source: 'active' })));
      return lists.flat().filter((task) => task.status === undefined);
    },

    async tasks(node, { type, vmid, since, own }) {
      const rows = await listTasks(node, { source: 'all', typefilter: type, vmid, since });
      return own ? rows.filter((row) => isOwn(row, tokenId)) : rows;
    },

    async taskStatus(upid) {
      let task = await readTask(upid);
      if (task.status === 'stopped' && task.exitstatus === 'unexpected status') {
        await delay(REREAD_MS);
        task = await readTask(upid);
      }
      return taskStatusOf(task);
    },

    async taskLog(upid, lines) {
      const path = `${taskPath(upid)}/log`;
      const page = async (start: number): Promise<Answer> => api.get(path, { start, limit: lines });
      let answer = await page(0);
      const total = answer.total ?? 0;
      if (total > lines) answer = await page(total - lines);
      const texts = api.parse(taskLogSchema, `GET ${path}`, answer.data).map((line) => line.t);
      // An empty log is told as this one line.
      return texts.length === 1 && texts[0] === 'no content' ? [] : texts;
    },

    async stopTask(upid) {
      await api.delete(taskPath(upid));
    },

    migrate: (node, kind, vmid, target) =>
      startTask(`${guestPath(node, kind, vmid)}/migrate`, {
        target,
        // Containers cannot move alive: they are stopped here and started there.
        ...(kind === 'qemu' ? { online: 1 } : { restart: 1 }),
      }),

    start: (node, kind, vmid) => startTask(`${guestPath(node, kind, vmid)}/status/start`, {}),

    shutdown: (node, kind, vmid, timeoutSeconds) =>
      startTask(`${guestPath(node, kind, vmid)}/status/shutdown`, { timeout: timeoutSeconds }),

    stop: (node, kind, vmid) => startTask(`${guestPath(node, kind, vmid)}/status/stop`, {}),

    async destroy(node, kind, vmid) {
      const path = guestPath(node, kind, vmid);
      const { data } = await api.delete(path, { purge: true, 'destroy-unreferenced-disks': true });
      return taskIn(`DELETE ${path}`, data);
    },

    restore: (node, { kind, archive, settings, ...order }) =>
      startTask(`/nodes/${segment(node)}/${kind}`, {
        ...settings,
        ...order,
        ...(kind === 'qemu' ? { archive } : { ostemplate: archive, restore: true }),
        unique: true,
        start: false,
      }),

    guestConfig: (node, kind, vmid, { now } = { now: false }) =>
      read(guestConfigSchema, `${guestPath(node, kind, vmid)}/config`, now ? { current: true } : {}),

    archivedConfig: (node, archive) =>
      read(archivedConfigSchema, `/nodes/${segment(node)}/vzdump/extractconfig`, { volume: archive }),

    async poolMembers(pool) {
      const { members } = await read(poolSchema, `/pools/${segment(pool)}`);
      return members.flatMap(({ type, vmid }) =>
        isGuestKind(type) && vmid !== undefined ? [{ kind: type, vmid }] : [],
      );
    },

    async bridges(node) {
      const rows = await read(networksSchema, `/nodes/${segment(node)}/network`, { type: 'any_bridge' });
      return rows.map(bridgeOf);
    },

    async agentPing(node, vmid) {
      await api.post(`${guestPath(node, 'qemu', vmid)}/agent/ping`);
    },

    async agentExec(node, vmid, command) {
      const path = `${guestPath(node, 'qemu', vmid)}/agent/exec`;
      return api.parse(agentPidSchema, `POST ${path}`, (await api.post(path, { command })).data).pid;
    },

    async agentResult(node, vmid, pid) {
      const path = `${guestPath(node, 'qemu', vmid)}/agent/exec-status`;
      const { exited, exitcode: code, ...said } = await read(agentStatusSchema, path, { pid });
      if (!exited) return undefined;
      return {
        ...(code === undefined ? {} : { code }),
        stdout: said['out-data'] ?? '',
        stderr: said['err-data'] ?? '',
      };
    },

    async reboot(node) {
      await api.post(`/nodes/${segment(node)}/status`, { command: 'reboot' });
    },

    async backUp(node, backup) {
      const path = `/nodes/${segment(node)}/vzdump`;
      const { data } = await api.post(path, {
        vmid: backup.vmids.join(','),
        storage: backup.storage,
        mode: backup.mode,
        lockwait: backup.lockWaitMinutes,
        'notes-template': backup.notes,
        fleecing: backup.fleecingStorage && `enabled=1,storage=${backup.fleecingStorage}`,
        bwlimit: backup.bandwidthKiB,
      });
      // What Proxmox says when none of the guests is on that node.
      return data === 'OK' ? undefined : taskIn(`POST ${path}`, data);
    },

    async backups(node, vmids, since) {
      const rows = await listTasks(node, { source: 'all', typefilter: 'vzdump', since });
      // Guests that were elsewhere are not counted: a task for two may bear the number of the one that was there.
      const ids = [...vmids.map(String), ...(vmids.length > 1 ? [''] : [])];
      return rows.filter((row) => row.type === 'vzdump' && ids.includes(row.id) && isOwn(row, tokenId));
    },

    async notBackedUp() {
      const rows = await read(notBackedUpSchema, '/cluster/backup-info/not-backed-up');
      return rows.map(({ vmid, type, name }) => ({ vmid, kind: type, name: name ?? '' }));
    },

    async storageStatus(node, storage) {
      const path = `/nodes/${segment(node)}/storage/${segment(storage)}/status`;
      const { type, content, enabled, active, total, used, avail } = await read(storageStatusSchema, path);
      return {
        type,
        content: wordsIn(content),
        enabled: enabled === true,
        active: active === true,
        ...(total === undefined || used === undefined || avail === undefined ? {} : { space: { total, used, avail } }),
      };
    },

    async volumes(node, storage, vmid) {
      const path = `/nodes/${segment(node)}/storage/${segment(storage)}/content`;
      return (await read(volumesSchema, path, { vmid })).map(({ volid }) => volid);
    },

    async storages() {
      return (await read(storagesSchema, '/storage')).map(storageOf);
    },

    async addBackupStorage({ encryptionKey, ...storage }) {
      const secrets = [storage.password, ...(encryptionKey === undefined ? [] : secretsIn(encryptionKey))];
      // The answer repeats the key, so nobody gets it.
      await api.post(
        '/storage',
        { ...storage, type: 'pbs', content: 'backup', 'encryption-key': encryptionKey },
        secrets,
      );
    },

    async removeStorage(storage) {
      await api.delete(`/storage/${segment(storage)}`);
    },

    close: () => api.close(),
  };
}

/** The key file as a whole, and what is long enough in it to be the key. */
const secretsIn = (keyFile: string): string[] => [keyFile, ...(keyFile.match(/[A-Za-z0-9+/]{40,}=*/g) ?? [])];
const wordsIn = (list: string): string[] => list.split(/[\s,;]+/).filter((word) => word !== '');

function bridgeOf(row: z.output<typeof networksSchema>[number]): Bridge {
  const ports = row.type === 'OVSBridge' ? row.ovs_ports : row.bridge_ports;
  return { name: row.iface, ...(ports === undefined ? {} : { ports: wordsIn(ports) }) };
}

function storageOf(row: z.output<typeof storagesSchema>[number]): StorageConfig {
  const { storage, type, content, disable, nodes, server, port, datastore, namespace, username, fingerprint } = row;
  const keyFingerprint = row['encryption-key'];
  return {
    storage,
    type,
    content: wordsIn(content ?? ''),
    enabled: disable !== true,
    nodes: wordsIn(nodes ?? ''),
    ...(server === undefined ? {} : { server }),
    ...(port === undefined ? {} : { port }),
    ...(datastore === undefined ? {} : { datastore }),
    ...(namespace === undefined ? {} : { namespace }),
    ...(username === undefined ? {} : { username }),
    ...(fingerprint === undefined ? {} : { fingerprint }),
    ...(keyFingerprint === undefined ? {} : { keyFingerprint }),
  };
}

const segment = (name: string): string => encodeURIComponent(name);
const guestPath = (node: string, kind: GuestKind, vmid: number): string => `/nodes/${segment(node)}/${kind}/${vmid}`;

function taskPath(upid: string): string {
  const task = parseUpid(upid);
  if (!task) throw new ProxmoxError('Validation', `Not a Proxmox task id: ${upid.slice(0, 120)}`);
  // The node that runs the task answers for it, whichever node was asked to start it.
  return `/nodes/${segment(task.node)}/tasks/${encodeURIComponent(upid)}`;
}

/** The row's own `user` may leave the token out; the task id never does. */
const isOwn = ({ upid }: TaskSummary, tokenId: string): boolean => parseUpid(upid)?.user === tokenId;

const isGuestKind = (type: string): type is GuestKind => type === 'qemu' || type === 'lxc';

function guestOf(row: z.output<typeof resourcesSchema>[number]): GuestResource {
  if (row.vmid === undefined || row.node === undefined) {
    throw new ProxmoxError('Malformed', 'GET /cluster/resources: a guest without number or node.');
  }
  return {
    vmid: row.vmid,
    kind: row.type as GuestKind,
    name: row.name ?? '',
    node: row.node,
    // `unknown` is also what Proxmox says of guests on a dead node.
    status: row.status ?? 'unknown',
    template: row.template === true,
    maxMemory: row.maxmem ?? 0,
    ...(row.lock ? { lock: row.lock } : {}),
    ...(row.hastate ? { haState: row.hastate } : {}),
  };
}

function haRowOf(row: z.output<typeof haRowsSchema>[number]): HaRow {
  return {
    id: row.id,
    type: row.type,
    ...(row.node ? { node: row.node } : {}),
    ...(row.status ? { status: row.status } : {}),
    ...(row.sid ? { sid: row.sid } : {}),
    ...(row.state ? { state: row.state } : {}),
    ...(row.quorate === undefined ? {} : { quorate: row.quorate }),
  };
}

function taskStatusOf(task: z.output<typeof taskStatusSchema>): TaskStatus {
  if (task.status === 'running') return { state: 'running' };
  const exit = task.exitstatus ?? 'unexpected status';
  const warnings = /^WARNINGS: \d+$/.test(exit);
  return { state: 'stopped', exit, ok: exit === 'OK' || warnings, warnings };
}
