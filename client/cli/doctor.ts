import { Client, type Connection } from '@temporalio/client';
import { plural } from '#domain/counted.js';
import { CONTROL_QUEUE, RELEASE_QUEUE, SEARCH_ATTRIBUTES, storeQueue } from '#domain/naming.js';
import { openLedger } from '#systems/ledger/client.js';
import { runProgram } from '#systems/programs/run.js';
import { controlVersions, whyNothingMoves } from '../control-versions.js';
import { isPolled, type QueueKind } from '../pollers.js';
import {
  answer,
  connectTemporal,
  repoOf,
  resolveTarget,
  withTargetOptions,
  type Target,
  type TargetOptions,
} from './context.js';
import type { Io } from './io.js';
import { createLabClient } from './lab-client.js';
import { databaseUrlOf } from './ledger.js';
import type { AddCommands } from './main.js';
import { renderDoctor, type Finding } from './render-doctor.js';
import { loadRepo, type LoadedRepo } from './repo.js';
import { listed } from './text.js';

const VERSION_TIMEOUT_MS = 20_000;

interface DoctorOptions extends TargetOptions {
  repo?: string;
}

export const addDoctorCommand: AddCommands = (program, io, result) => {
  withTargetOptions(program.command('doctor'))
    .description('Look at everything the service needs and say what is wrong; exit code 1 when something is.')
    .option('--repo <dir>', 'the GitOps repo (default: EDGE_REPO, else that of `edge up`)')
    .addHelpText('after', '\nExample:\n  edge doctor')
    .action(async (options: DoctorOptions) => {
      const findings = await examine(io, options);
      answer(io, options, findings, renderDoctor(findings));
      if (findings.some(({ state }) => state === 'problem')) result.exitCode = 1;
    });
};

async function examine(io: Io, options: DoctorOptions): Promise<Finding[]> {
  const repo = await tryTo(() => loadRepo(repoOf(io, options)));
  return [
    nodeFinding(process.versions.node),
    await gitFinding(),
    await binaryFinding(io.env['TEMPORAL_CLI'] || undefined),
    repoFinding(repo),
    ...(await serviceFindings(io, options, 'value' in repo ? repo.value : undefined)),
  ];
}

/** The versions of Node that package.json names: 20.20 and later of 20, and 22.12 and later. */
export function nodeFinding(version: string): Finding {
  const [major = 0, minor = 0] = version.split('.').map(Number);
  const isSupported = (major === 20 && minor >= 20) || (major === 22 && minor >= 12) || major > 22;
  return {
    name: 'Node',
    state: isSupported ? 'ok' : 'problem',
    text: `${version}.`,
    remedy: 'Take 20.20 or a later 20, or 22.12 or later.',
  };
}

async function gitFinding(): Promise<Finding> {
  const version = await versionOf('git');
  return version === undefined
    ? { name: 'git', state: 'problem', text: 'git does not run.', remedy: 'Install git.' }
    : { name: 'git', state: 'ok', text: `${version}.` };
}

/** Only looks: `edge up` is what fetches or builds one. It takes the one that is named, or none. */
export async function binaryFinding(named: string | undefined): Promise<Finding> {
  const name = 'Temporal binary';
  const program = named ?? 'temporal';
  const version = await versionOf(program);
  if (version !== undefined) return { name, state: 'ok', text: `${program}: ${version}.` };
  return named === undefined
    ? {
        name,
        state: 'warning',
        text: 'temporal is not on the PATH.',
        remedy: '`edge up` takes one from its cache, or fetches or builds one; name your own in TEMPORAL_CLI.',
      }
    : {
        name,
        state: 'problem',
        text: `${program}, which TEMPORAL_CLI names, does not run here.`,
        remedy: 'Name another one, or unset TEMPORAL_CLI.',
      };
}

async function versionOf(program: string): Promise<string | undefined> {
  const end = await runProgram(program, ['--version'], { timeoutMs: VERSION_TIMEOUT_MS });
  return end.kind === 'ended' && end.code === 0 ? end.stdout.toString().trimEnd() : undefined;
}

function repoFinding(repo: Attempt<LoadedRepo>): Finding {
  if ('error' in repo) return { name: 'repo', state: 'problem', text: repo.error };
  const { dir, commit, fleet, stores } = repo.value;
  return {
    name: 'repo',
    state: 'ok',
    text: `${dir} at ${commit.slice(0, 12)}: fleet ${fleet.fleet}, ${plural(stores.length, 'store')}.`,
  };
}

async function serviceFindings(io: Io, options: DoctorOptions, repo: LoadedRepo | undefined): Promise<Finding[]> {
  const target = await tryTo(async () => resolveTarget(io, options));
  if ('error' in target) return [{ name: 'Temporal', state: 'problem', text: target.error }];
  const ledger = await ledgerFinding(io, target.value);
  const lab = await labFindings(target.value);
  const connection = await tryTo(() => connectTemporal(target.value.address));
  if ('error' in connection) return [{ name: 'Temporal', state: 'problem', text: connection.error }, ledger, ...lab];
  try {
    return [...(await temporalFindings(connection.value, target.value, repo)), ledger, ...lab];
  } finally {
    await connection.value.close();
  }
}

async function temporalFindings(
  connection: Connection,
  target: Target,
  repo: LoadedRepo | undefined,
): Promise<Finding[]> {
  const { namespace } = target;
  const client = new Client({ connection, namespace });
  const queues: [name: string, queue: string, kinds: QueueKind[], who: string][] = [
    ['control worker', CONTROL_QUEUE, ['workflow', 'activity'], 'workflows stand still'],
    ['release worker', RELEASE_QUEUE, ['activity'], 'no release can be built'],
  ];
  return [
    await serverFinding(connection, target),
    await attributesFinding(connection, namespace),
    ...(await Promise.all(
      queues.map(async ([name, queue, kinds, consequence]): Promise<Finding> => {
        const polling = await Promise.all(kinds.map((kind) => isPolled(client, queue, kind)));
        return polling.every(Boolean)
          ? { name, state: 'ok', text: `polls ${queue}.` }
          : {
              name,
              state: 'problem',
              text: `Nobody polls ${queue}: ${consequence}.`,
              remedy: 'Start one, or `edge up`.',
            };
      }),
    )),
    await versionsFinding(client),
    ...(repo === undefined ? [] : [await storeWorkersFinding(client, repo)]),
  ];
}

async function serverFinding(connection: Connection, { address, namespace }: Target): Promise<Finding> {
  const found = await tryTo(async () => {
    const { serverVersion } = await connection.workflowService.getSystemInfo({});
    await connection.workflowService.describeNamespace({ namespace });
    return serverVersion;
  });
  return 'value' in found
    ? { name: 'Temporal', state: 'ok', text: `server ${found.value} at ${address}, namespace ${namespace}.` }
    : { name: 'Temporal', state: 'problem', text: `${address} does not serve namespace ${namespace}: ${found.error}` };
}

async function attributesFinding(connection: Connection, namespace: string): Promise<Finding> {
  const name = 'search attributes';
  const found = await tryTo(() => connection.operatorService.listSearchAttributes({ namespace }));
  if ('error' in found) return { name, state: 'warning', text: `They cannot be listed: ${found.error}` };
  const wanted = Object.values(SEARCH_ATTRIBUTES);
  const missing = wanted.filter((attribute) => !(attribute in found.value.customAttributes));
  return missing.length === 0
    ? { name, state: 'ok', text: `all ${wanted.length} are there.` }
    : {
        name,
        state: 'problem',
        text: `Missing: ${missing.join(', ')}.`,
        remedy: 'temporal operator search-attribute create --name NAME --type Keyword',
      };
}

/** Whether the workers that poll are those that get the tasks. */
async function versionsFinding(client: Client): Promise<Finding> {
  const name = 'workflow build';
  const found = await tryTo(() => controlVersions(client));
  if ('error' in found) return { name, state: 'problem', text: `It cannot be read: ${found.error}` };
  const versions = found.value;
  if (versions.kind === 'unsupported') {
    return {
      name,
      state: 'warning',
      text: 'This server has no versions of workers: whichever build polls gets the workflows.',
      remedy: 'Run one build of the control worker at a time.',
    };
  }
  const trouble = whyNothingMoves(versions);
  if (trouble) return { name, state: 'problem', ...trouble };
  const waiting = versions.polling.filter((build) => build !== versions.current);
  const beside = waiting.length === 0 ? '' : ` Beside it, for \`edge workers make-current\`: ${listed(waiting, 10)}.`;
  return { name, state: 'ok', text: `${versions.current ?? 'one without a version'} runs the workflows.${beside}` };
}

const AT_ONCE = 20;

async function storeWorkersFinding(client: Client, { stores }: LoadedRepo): Promise<Finding> {
  const name = 'store workers';
  const silent: string[] = [];
  const found = await tryTo(async () => {
    for (let start = 0; start < stores.length; start += AT_ONCE) {
      const some = stores.slice(start, start + AT_ONCE);
      const polled = await Promise.all(some.map(({ id }) => isPolled(client, storeQueue(id), 'activity')));
      silent.push(...some.filter((_, index) => !polled[index]).map(({ id }) => id));
    }
  });
  if ('error' in found) return { name, state: 'warning', text: `They cannot be counted: ${found.error}` };
  const there = stores.length - silent.length;
  const polling = `${there} of ${plural(stores.length, 'store')} ${there === 1 ? 'polls its queue' : 'poll their queues'}.`;
  return silent.length === 0
    ? { name, state: 'ok', text: polling }
    : { name, state: 'warning', text: `${polling} Silent: ${listed(silent, 10)}.`, remedy: 'They count as offline.' };
}

async function ledgerFinding(io: Io, target: Target): Promise<Finding> {
  const url = databaseUrlOf(io, target);
  if (url === undefined) {
    return { name: 'ledger', state: 'warning', text: 'No database is named.', remedy: 'Set EDGE_DATABASE_URL.' };
  }
  const found = await tryTo(async () => {
    const ledger = await openLedger(url, { connections: 1 });
    try {
      return (await ledger.trains(1)).length;
    } finally {
      await ledger.close();
    }
  });
  return 'value' in found
    ? { name: 'ledger', state: 'ok', text: found.value === 0 ? 'answers; no train yet.' : 'answers.' }
    : { name: 'ledger', state: 'problem', text: `The ledger does not answer: ${found.error}` };
}

async function labFindings({ service }: Target): Promise<Finding[]> {
  if (service?.lab === undefined) return [];
  const { control } = service.lab;
  const found = await tryTo(() => createLabClient(control).faults());
  return [
    'value' in found
      ? {
          name: 'practice fleet',
          state: 'ok',
          text: `answers at ${control}; ${plural(found.value.length, 'fault')} set.`,
        }
      : { name: 'practice fleet', state: 'problem', text: found.error },
  ];
}

type Attempt<T> = { value: T } | { error: string };

/** A check that cannot be made is a finding, not the end of the others. */
async function tryTo<T>(work: () => Promise<T>): Promise<Attempt<T>> {
  try {
    return { value: await work() };
  } catch (error) {
    return { error: (error as Error).message };
  }
}
