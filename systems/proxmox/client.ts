import { setTimeout as delay } from 'node:timers/promises';
import type { z } from 'zod';
import { ProxmoxError } from './errors.js';
import { createProxmoxHttp } from './http.js';
import type { Answer } from './http.js';
import {
  clusterStatusSchema,
  guestStatusSchema,
  haRowsSchema,
  managerStatusSchema,
  nodeStatusSchema,
  permissionsSchema,
  resourcesSchema,
  taskLogSchema,
  taskStatusSchema,
  tasksSchema,
  versionSchema,
} from './schemas.js';
import type {
  GuestKind,
  GuestResource,
  HaRow,
  ProxmoxClient,
  ProxmoxOptions,
  TaskStatus,
  TaskSummary,
} from './types.js';
import { parseUpid } from './upid.js';

const TASK_LIMIT = 500;
/** Between two reads of a task that seems to have ended without a last line: it may just be writing it. */
const REREAD_MS = 1_000;

/** Throws `ProxmoxError` of kind Untrusted or Auth at once when the options cannot make a safe connection. */
export function createProxmoxClient(options: ProxmoxOptions): ProxmoxClient {
  const http = createProxmoxHttp(options);

  const read = async <T extends z.ZodType>(
    schema: T,
    path: string,
    query?: Record<string, string | number | undefined>,
  ) => parse(schema, path, await http.get(path, query));

  const startTask = async (path: string, form: Record<string, string | number>): Promise<string> => {
    const { data } = await http.post(path, form);
    if (typeof data === 'string' && parseUpid(data)) return data;
    throw new ProxmoxError(
      'OutcomeUnknown',
      `POST ${path}: accepted, but the answer names no task. Look for its task.`,
    );
  };

  const listTasks = async (
    node: string,
    query: Record<string, string | number | undefined>,
  ): Promise<TaskSummary[]> => {
    const rows = await read(tasksSchema, `/nodes/${segment(node)}/tasks`, { limit: TASK_LIMIT, ...query });
    return rows.map((row) => ({
      upid: row.upid,
      node: row.node,
      type: row.type,
      id: row.id,
      user: row.user,
      startTime: row.starttime,
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
      const paths = await read(permissionsSchema, '/access/permissions');
      return Object.fromEntries(Object.entries(paths).map(([path, privileges]) => [path, Object.keys(privileges)]));
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

    tasks: (node, filter) =>
      listTasks(node, { source: 'all', typefilter: filter.type, vmid: filter.vmid, since: filter.since }),

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
      const page = async (start: number): Promise<Answer> => http.get(path, { start, limit: lines });
      let answer = await page(0);
      const total = answer.total ?? 0;
      if (total > lines) answer = await page(total - lines);
      const texts = parse(taskLogSchema, path, answer).map((line) => line.t);
      // An empty log is told as this one line.
      return texts.length === 1 && texts[0] === 'no content' ? [] : texts;
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

    async reboot(node) {
      await http.post(`/nodes/${segment(node)}/status`, { command: 'reboot' });
    },

    close: () => http.close(),
  };
}

function parse<T extends z.ZodType>(schema: T, path: string, answer: Answer): z.output<T> {
  const parsed = schema.safeParse(answer.data);
  if (parsed.success) return parsed.data;
  const issue = parsed.error.issues[0];
  const where = issue?.path.join('.') || 'data';
  throw new ProxmoxError('Malformed', `GET ${path}: ${where}: ${issue?.message ?? 'not of the expected form'}`);
}

const segment = (name: string): string => encodeURIComponent(name);
const guestPath = (node: string, kind: GuestKind, vmid: number): string => `/nodes/${segment(node)}/${kind}/${vmid}`;

function taskPath(upid: string): string {
  const task = parseUpid(upid);
  if (!task) throw new ProxmoxError('Validation', `Not a Proxmox task id: ${upid.slice(0, 120)}`);
  // The node that runs the task answers for it, whichever node was asked to start it.
  return `/nodes/${segment(task.node)}/tasks/${encodeURIComponent(upid)}`;
}

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
