import https from 'node:https';
import { RESTORE } from '#lab/world/layout.js';
import { startSshServers } from '#lab/ssh/server.js';
import { CENTRAL } from '#lab/world/pbs/estate.js';
import { chunksOfSnapshot, timeText } from '#lab/world/pbs/datastore.js';
import type { PbsSim } from '#lab/world/pbs/pbs-sim.js';
import { READ_TOKEN } from '#lab/world/staging.js';
import { keyFileOf } from '#lab/world/storage-sim.js';
import type { StoreSpecInput } from '#lab/world/specs.js';
import type { StoreSim } from '#lab/world/store-sim.js';
import { until } from '../../../unit/lab/lab-support.js';
import { startPracticeStore, type PracticeStore } from '../pve/practice-store.js';
import { Shell, type Run } from '../ssh-shell.js';

export const VCL = '/etc/varnish/default.vcl';
const GUESTS: NonNullable<StoreSpecInput['guests']> = [
  { vmid: 101, name: 'pos', kind: 'qemu', role: 'pos', node: 'n1', ha: false },
  { vmid: 102, name: 'inventory', kind: 'lxc', role: 'inventory', node: 'n2', ha: false },
  {
    vmid: 103,
    name: 'cache',
    kind: 'lxc',
    role: 'cache',
    node: 'n2',
    ha: false,
    config: [{ file: 'varnish-vcl.vcl', target: VCL, reload: ['systemctl', 'reload', 'varnish'] }],
  },
];
/** Id of the storage that the worker adds for the store under test. */
export const STORAGE = 'test-store-001';
export const POOL = RESTORE.pool;
export const LAB_CARD = `virtio,bridge=${RESTORE.bridge}`;
const LAB_CARD_CT = `name=eth0,bridge=${RESTORE.bridge}`;

interface Ended {
  exit: string;
  log: string[];
}

interface Reply {
  status: number;
  /** As a client sees it: the data of an answer, the message of a refusal. */
  data: unknown;
  message: string;
  errors: Record<string, string> | undefined;
}

/** A store with backups, the central server with a copy of them, and the staging site, driven as its worker would. */
export class PracticeStaging {
  readonly lab: PracticeStore;
  readonly site: StoreSim;
  readonly central: PbsSim;
  readonly #agent: https.Agent;
  readonly #closeSsh: () => Promise<void>;
  readonly #shells: Shell[] = [];

  private constructor(lab: PracticeStore, ca: string, closeSsh: () => Promise<void>) {
    this.lab = lab;
    this.site = lab.world.staging as StoreSim;
    this.central = lab.world.pbs.get(CENTRAL) as PbsSim;
    this.#agent = new https.Agent({ ca, keepAlive: false });
    this.#closeSsh = closeSsh;
  }

  static async start(speed = 2_000): Promise<PracticeStaging> {
    const lab = await startPracticeStore({ speed, backup: true, staging: true, guests: GUESTS });
    const { world, authorities } = lab;
    const central = world.pbs.get(CENTRAL) as PbsSim;
    central.fingerprint = (await authorities.selfSigned(central.id, central.hostname, central.address)).fingerprint;
    const { caPem } = await authorities.storeAuthority('staging');
    const { close } = await startSshServers(world);
    return new PracticeStaging(lab, caPem, close);
  }

  async close(): Promise<void> {
    for (const shell of this.#shells) shell.end();
    this.#agent.destroy();
    await this.#closeSsh();
    await this.lab.close();
  }

  // What happens at the store

  /** Backs a guest up at its store, and copies it to the central server. Returns its volume id at the staging site. */
  backUp(vmid: number): string {
    const { store } = this.lab;
    const guest = store.guests.get(vmid);
    if (!guest) throw new Error(`There is no guest ${vmid}.`);
    const session = store.storages.pbs('pbs').backup(guest, () => undefined);
    session.write('first');
    session.write('second');
    session.finish(undefined, false);
    const { group, snapshot, datastore } = session;
    const copies = this.central.datastore('offsite');
    const copy = copies.groupFor({ ns: store.id, type: group.type, id: group.id, owner: 'edge-governor@pbs!worker' });
    copies.adopt(copy, { ...snapshot });
    for (const id of chunksOfSnapshot(snapshot)) copies.chunks.insert(id, Date.now(), datastore.chunks.payload(id));
    return `${STORAGE}:backup/${group.type}/${vmid}/${timeText(snapshot.time)}`;
  }

  /** Chunks of a copy at the central server. */
  chunksOf(volid: string): { all: string[]; damage(place: string): void; lose(place: string): void } {
    const [, type = '', id = '', time = ''] = volid.split('/');
    const copies = this.central.datastore('offsite');
    const { snapshot } = copies.snapshot('store-001', type, id, Date.parse(time) / 1_000);
    const all = chunksOfSnapshot(snapshot);
    const at = (place: string): string => all.find((each) => each.split(':').at(-2) === place) ?? '';
    return {
      all,
      damage: (place) => copies.chunks.damage(at(place)),
      lose: (place) => void (copies.chunks.damage(at(place)), copies.chunks.setAside(at(place))),
    };
  }

  // What the worker does

  call(method: string, path: string, params: Record<string, string | string[]> = {}, token?: string): Promise<Reply> {
    const form = new URLSearchParams();
    for (const [name, value] of Object.entries(params)) for (const each of [value].flat()) form.append(name, each);
    const isBody = method === 'POST' || method === 'PUT';
    const query = !isBody && form.size > 0 ? `?${form.toString()}` : '';
    const { id, secret } = this.site.token;
    const node = this.site.node('stg1');
    return new Promise((resolve, reject) => {
      const request = https.request(
        {
          host: node.address,
          port: node.apiPort,
          method,
          path: `/api2/json${path}${query}`,
          agent: this.#agent,
          headers: {
            authorization: `PVEAPIToken=${token ?? `${id}=${secret}`}`,
            ...(isBody
              ? {
                  'content-type': 'application/x-www-form-urlencoded',
                  'content-length': Buffer.byteLength(form.toString()),
                }
              : {}),
          },
        },
        (response) => {
          let text = '';
          response.on('data', (part: Buffer) => (text += part.toString()));
          response.on('error', reject);
          response.on('end', () => {
            const body = (text === '' ? {} : JSON.parse(text)) as Partial<Reply>;
            const message = (body.message ?? response.statusMessage ?? '').trim();
            resolve({ status: response.statusCode ?? 0, data: body.data, message, errors: body.errors });
          });
        },
      );
      request.on('error', reject);
      request.end(isBody ? form.toString() : undefined);
    });
  }

  async data<T>(method: string, path: string, params?: Record<string, string | string[]>): Promise<T> {
    const reply = await this.call(method, path, params);
    if (reply.status !== 200) throw new Error(`${method} ${path}: ${reply.status} ${reply.message}`);
    return reply.data as T;
  }

  /** Starts work, waits for its end and reads its log. */
  async work(method: string, path: string, params?: Record<string, string>): Promise<Ended> {
    return this.ended(await this.data<string>(method, path, params));
  }

  async ended(upid: string): Promise<Ended> {
    const path = `/nodes/${upid.split(':')[1] ?? ''}/tasks/${encodeURIComponent(upid)}`;
    let exit: string | undefined;
    await until('the task ended', async () => {
      exit = (await this.data<{ exitstatus?: string }>('GET', `${path}/status`)).exitstatus;
      return exit !== undefined;
    });
    const lines = await this.data<{ t: string }[]>('GET', `${path}/log`, { limit: '0' });
    return { exit: exit ?? '', log: lines.map(({ t }) => t) };
  }

  storageParams(changes: Record<string, string | undefined> = {}): Record<string, string> {
    const secret = this.central.tokens.find(({ id }) => id === READ_TOKEN)?.secret ?? '';
    const all = {
      storage: STORAGE,
      type: 'pbs',
      content: 'backup',
      server: this.central.address,
      datastore: 'offsite',
      namespace: 'store-001',
      username: READ_TOKEN,
      password: secret,
      fingerprint: this.central.fingerprint,
      'encryption-key': keyFileOf(this.lab.store),
      ...changes,
    };
    return Object.fromEntries(Object.entries(all).filter((entry): entry is [string, string] => entry[1] !== undefined));
  }

  addStorage(changes: Record<string, string | undefined> = {}): Promise<Reply> {
    return this.call('POST', '/storage', this.storageParams(changes));
  }

  /** What a careful worker sends; containers go to the second node. */
  restoreParams(
    volid: string,
    vmid: number,
    changes: Record<string, string | undefined> = {},
  ): [string, Record<string, string>] {
    const isCt = volid.includes('/ct/');
    const all = {
      vmid: String(vmid),
      ...(isCt ? { ostemplate: volid, restore: '1' } : { archive: volid }),
      storage: RESTORE.storage,
      pool: POOL,
      unique: '1',
      net0: isCt ? LAB_CARD_CT : LAB_CARD,
      onboot: '0',
      ...changes,
    };
    const given = Object.entries(all).filter((entry): entry is [string, string] => entry[1] !== undefined);
    return [isCt ? '/nodes/stg2/lxc' : '/nodes/stg1/qemu', Object.fromEntries(given)];
  }

  async restore(volid: string, vmid: number, changes?: Record<string, string | undefined>): Promise<Ended> {
    return this.work('POST', ...this.restoreParams(volid, vmid, changes));
  }

  /** Restored and started, and what is inside has come up. */
  async boot(volid: string, vmid: number): Promise<void> {
    const ended = await this.restore(volid, vmid);
    if (ended.exit !== 'OK') throw new Error(ended.log.join('\n'));
    const [base = ''] = this.restoreParams(volid, vmid);
    const { exit } = await this.work('POST', `${base}/${vmid}/status/start`);
    if (exit !== 'OK') throw new Error(exit);
    const { timing } = this.lab.world;
    await until('the guest is up', () => this.site.guests.get(vmid)?.agentAnswers(timing) ?? false);
  }

  /** A program in a VM, through its agent. */
  async exec(vmid: number, ...command: string[]): Promise<{ exitcode: number; out: string; err: string }> {
    const agent = `/nodes/stg1/qemu/${vmid}/agent`;
    const { pid } = await this.data<{ pid: number }>('POST', `${agent}/exec`, { command });
    const status = await this.data<Record<string, unknown>>('GET', `${agent}/exec-status`, { pid: String(pid) });
    return {
      exitcode: Number(status['exitcode']),
      out: String(status['out-data'] ?? ''),
      err: String(status['err-data'] ?? ''),
    };
  }

  async ssh(node: string, command: string): Promise<Run> {
    const shell = await new Shell().connect(this.site.node(node));
    this.#shells.push(shell);
    const run = await shell.run(command);
    shell.end();
    return run;
  }

  /** What the journal tells of the site. */
  journal(effect: string) {
    return this.lab.world.journal.entries.filter((entry) => entry.store === 'staging' && entry.effect === effect);
  }

  /** As if the installer had been careless. */
  grant(path: string, ...privileges: string[]): void {
    this.site.token.privileges[path] = [...(this.site.token.privileges[path] ?? []), ...privileges];
  }
}
