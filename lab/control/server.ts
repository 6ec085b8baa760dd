import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { checkJournal } from '../check/check.js';
import { gatherEvidence, type EvidenceSources } from '../check/evidence.js';
import { FAULT_TABLE } from '../world/fault-table.js';
import type { StoreSim } from '../world/store-sim.js';
import type { World } from '../world/world.js';
import { BadInput, checked, parseFault, parseFaults, powerSchema, wanSchema } from './schemas.js';
import { pbsSnapshotOf, snapshotOf, type StoreSnapshot } from './snapshot.js';

export interface Control {
  url: string;
  close(): Promise<void>;
}

interface ControlOptions {
  port: number;
  /** The sites when the journal began. */
  atStart: StoreSnapshot[];
  evidence: EvidenceSources;
}

interface Answer {
  status: number;
  body: unknown;
}

const MAX_BODY = 100_000;
const ok = (body: unknown): Answer => ({ status: 200, body });
const missing = (error: string): Answer => ({ status: 404, body: { error } });

/** The practice fleet's own switchboard, on 127.0.0.1: HTTP with JSON. For people, demos and tests; never for the service. */
export async function startControl(world: World, options: ControlOptions): Promise<Control> {
  const { atStart } = options;

  const route = async (method: string, url: URL, body: () => Promise<unknown>): Promise<Answer> => {
    const [first = '', second, third, fourth, fifth] = url.pathname.split('/').filter(Boolean).map(decodeURIComponent);
    switch (`${method} ${first}`) {
      case 'GET health':
        return ok({
          ok: true,
          stores: world.stores.size,
          speed: world.timing.speed,
          entries: world.journal.entries.length,
        });
      case 'GET timing':
        return ok({ speed: world.timing.speed, durations: world.timing.table() });
      case 'GET state':
        return state(world, url.searchParams.get('store'));
      case 'GET pbs': {
        const pbs = world.pbs.get(second ?? '');
        return pbs ? ok(pbsSnapshotOf(pbs)) : missing(`There is no backup server ${second ?? ''}.`);
      }
      case 'GET journal': {
        const after = Number(url.searchParams.get('after') ?? 0);
        if (!Number.isInteger(after) || after < 0)
          throw new BadInput('The journal cannot be read', ['after: not a number']);
        return ok(world.journal.after(after));
      }
      case 'GET faults':
        return ok(second === 'table' ? FAULT_TABLE : world.faults.list());
      case 'POST faults':
        return { status: 201, body: addFaults(world, await body()) };
      case 'DELETE faults':
        return world.faults.remove(second ?? '')
          ? ok({ removed: second })
          : missing(`There is no fault ${second ?? ''}.`);
      case 'POST stores':
        return act(world, { id: second ?? '', what: third ?? '', node: fourth, verb: fifth }, await body());
      case 'POST check':
        return ok(
          checkJournal(world.journal.entries, {
            atStart,
            now: [...world.stores.values()].map(snapshotOf),
            staging: world.staging && snapshotOf(world.staging),
            evidence: await gatherEvidence(world, options.evidence),
          }),
        );
      default:
        return missing(`There is no ${method} ${url.pathname} here.`);
    }
  };

  const server = createServer((request, response) => {
    void serve(route, request, response);
  });
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject);
    server.listen(options.port, '127.0.0.1', () => {
      server.removeListener('error', reject);
      resolve();
    });
  });
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
      }),
  };
}

function state(world: World, id: string | null): Answer {
  if (id === null) return ok([...world.stores.values()].map(snapshotOf));
  const store = world.site(id);
  return store ? ok(snapshotOf(store)) : missing(`There is no store ${id}.`);
}

/** One fault, or a plan of many: then all or none. */
function addFaults(world: World, value: unknown): unknown {
  if (!Array.isArray(value)) return world.faults.add(parseFault(value, world.places));
  const plan = parseFaults(value, world.places);
  const taken = new Set(world.faults.list().map(({ id }) => id));
  const twice: string[] = [];
  for (const [i, { id }] of plan.entries()) {
    if (id === undefined) continue;
    if (taken.has(id)) twice.push(`[${i}].id: there is a fault ${id} already`);
    taken.add(id);
  }
  if (twice.length > 0) throw new BadInput('The list of faults is not valid', twice);
  return plan.map((fault) => world.faults.add(fault));
}

function act(
  world: World,
  { id, what, node, verb }: { id: string; what: string; node: string | undefined; verb: string | undefined },
  value: unknown,
): Answer {
  const store = world.site(id);
  if (!store) return missing(`There is no store ${id}.`);
  if (what === 'wan') {
    const { up, silent } = checked(wanSchema, value, 'The link cannot be switched');
    store.setWan(up, 'lab', silent);
    return ok({ store: id, up: store.wanUp });
  }
  if (what === 'nodes' && verb === 'power') return power(store, node ?? '', value);
  return missing(`There is no ${what} of a store here.`);
}

function power(store: StoreSim, name: string, value: unknown): Answer {
  const node = store.nodes.get(name);
  if (!node) return missing(`Store ${store.id} has no node ${name}.`);
  const { on } = checked(powerSchema, value, 'The power cannot be switched');
  if (on) node.powerOn('lab');
  else node.powerOff('lab');
  return ok({ store: store.id, node: name, state: node.state });
}

async function serve(
  route: (method: string, url: URL, body: () => Promise<unknown>) => Promise<Answer>,
  request: IncomingMessage,
  response: ServerResponse,
): Promise<void> {
  let answer: Answer;
  try {
    const url = new URL(request.url ?? '/', 'http://127.0.0.1');
    answer = await route(request.method ?? 'GET', url, () => readBody(request));
  } catch (error) {
    answer =
      error instanceof BadInput
        ? { status: 400, body: { error: error.message, problems: error.problems } }
        : { status: 500, body: { error: error instanceof Error ? error.message : String(error) } };
  }
  response.writeHead(answer.status, { 'content-type': 'application/json' });
  response.end(JSON.stringify(answer.body));
}

async function readBody(request: IncomingMessage): Promise<unknown> {
  const parts: Buffer[] = [];
  let size = 0;
  for await (const part of request as AsyncIterable<Buffer>) {
    size += part.length;
    if (size > MAX_BODY) throw new BadInput('The body is too long', [`more than ${MAX_BODY} bytes`]);
    parts.push(part);
  }
  if (size === 0) return undefined;
  try {
    return JSON.parse(Buffer.concat(parts).toString('utf8'));
  } catch {
    throw new BadInput('The body is not JSON', ['value: not JSON']);
  }
}
