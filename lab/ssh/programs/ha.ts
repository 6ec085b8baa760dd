import { NodeGone } from '../../world/node-gone.js';
import { fail, ok, type Program } from '../result.js';

export const haManager: Program = ({ node, args, by }) => {
  const { ha } = node.store;
  const [a, b, verb, name] = args;
  if (a === 'status' && args.length === 1) {
    const time = new Date().toUTCString();
    const lrm = Object.entries(ha.managerStates()).map(([host, state]) => `lrm ${host} (${state}, ${time})\n`);
    const services = ha.managed.map(
      (guest) =>
        `service ${guest.kind === 'qemu' ? 'vm' : 'ct'}:${guest.vmid} (${guest.node}, ${ha.serviceState(guest)})\n`,
    );
    const quorum = node.store.quorate ? 'quorum OK\n' : 'quorum No quorum on node\n';
    return ok(`${quorum}master ${ha.master ?? '?'} (active, ${time})\n${lrm.join('')}${services.join('')}`);
  }
  if (a !== 'crm-command' || b !== 'node-maintenance' || name === undefined) {
    return fail(255, `ERROR: unknown command 'ha-manager ${args.join(' ')}'\n`);
  }
  try {
    if (verb === 'enable' || verb === 'disable') node.enter(`ha.maintenance.${verb}`, name);
    if (verb === 'enable') ha.enableMaintenance(name, by);
    else if (verb === 'disable') ha.disableMaintenance(name, by);
    else return fail(255, `ERROR: unknown command 'ha-manager ${args.join(' ')}'\n`);
    return ok();
  } catch (error) {
    if (error instanceof NodeGone) throw error;
    return fail(2, `${(error as Error).message}\n`);
  }
};
