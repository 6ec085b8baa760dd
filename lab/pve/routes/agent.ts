import { hasProgram, runInGuest } from '../../ssh/guest-shell.js';
import type { Result } from '../../ssh/result.js';
import type { GuestSim } from '../../world/guest-sim.js';
import { LIST, param, type ParamSpecs } from '../params.js';
import { guestOf, text, type Call, type Route } from '../route.js';

/**
 * The agent inside a VM. What a program in the guest printed is told once: an agent forgets it with the answer, and with
 * the guest. A restart of the lab is one to it as well.
 */
const ids: ParamSpecs = { node: param.node, vmid: param.vmid };
const on = (...anyOf: string[]) => ({ path: '/vms/{vmid}', anyOf });
const base = '/nodes/{node}/qemu/{vmid}/agent';

interface Process {
  result: Result | undefined;
}

const processes = new WeakMap<GuestSim, Map<number, Process>>();

export const agentRoutes: Route[] = [
  {
    method: 'POST',
    path: `${base}/ping`,
    params: ids,
    permission: on('VM.GuestAgent.Audit', 'VM.GuestAgent.Unrestricted'),
    step: 'agent.read',
    run: (call) => {
      answering(call);
      return { result: {} };
    },
  },
  {
    method: 'POST',
    path: `${base}/exec`,
    params: { ...ids, command: { type: 'array' }, 'input-data': param.text },
    permission: on('VM.GuestAgent.Unrestricted'),
    step: 'agent.read',
    run: start,
  },
  {
    method: 'GET',
    path: `${base}/exec-status`,
    params: { ...ids, pid: { type: 'integer' } },
    permission: on('VM.GuestAgent.Unrestricted'),
    run: (call) => {
      const pid = Number(call.params['pid']);
      const all = processes.get(answering(call));
      const found = all?.get(pid);
      if (!found) throw new Error(`can't get exec status for '${pid}': PID ${pid} does not exist`);
      if (!found.result) return { exited: 0 };
      all?.delete(pid);
      const { code, stdout, stderr } = found.result;
      return {
        exited: 1,
        exitcode: code,
        ...(stdout === '' ? {} : { 'out-data': stdout }),
        ...(stderr === '' ? {} : { 'err-data': stderr }),
      };
    },
  },
];

function answering(call: Call): GuestSim {
  const guest = guestOf(call, 'qemu');
  if (guest.status !== 'running') throw new Error(`VM ${guest.vmid} is not running`);
  if (/^(0|enabled=0)/.test(guest.options?.['agent'] ?? '1')) throw new Error('No QEMU guest agent configured');
  if (!guest.agentAnswers(call.store.world.timing)) throw new Error('QEMU guest agent is not running');
  return guest;
}

function start(call: Call): { pid: number } {
  const { node, actor, params } = call;
  const guest = answering(call);
  const argv = text(params['command']).split(LIST);
  const [program = ''] = argv;
  if (!hasProgram(guest, program)) {
    throw new Error(
      `can't execute command '${argv.join(' ')}': Failed to execute child process \u201c${program}\u201d (No such file or directory)`,
    );
  }
  const all = processes.get(guest) ?? new Map<number, Process>();
  processes.set(guest, all);
  const pid = 700 + (lastPid += 1);
  const process: Process = { result: undefined };
  all.set(pid, process);
  const stdin = (): Promise<string> => Promise.resolve(text(params['input-data'] ?? ''));
  const work = runInGuest({ node, guest, by: actor.by, argv, stdin });
  if (work instanceof Promise)
    void work.then(
      (result) => (process.result = result),
      () => all.delete(pid),
    );
  else process.result = work;
  return { pid };
}

let lastPid = 0;
