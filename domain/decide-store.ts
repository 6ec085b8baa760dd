import { blockingChecks, foreignFlags, isClean, missingDaemons } from './ceph-health.js';
import { differing, kernelFor, packagesFor, type Pins } from './downgrade.js';
import type { GuestFacts, NodeFacts, StagedNode, StoreFacts } from './facts.js';
import type { NodeWork, Ours } from './messages/store.js';
import type { Reason, Stop } from './reasons.js';

/**
 * May this store, or this node of it, be worked on now? Each list below is the policy: one named check a line, judged
 * from facts alone. The workflow asks before it goes on, and the store worker asks the same functions again
 * immediately before each disruptive effect, because a task can wait for hours behind a cut link.
 */

export type StoreDecision = { kind: 'proceed' } | { kind: 'stop'; stop: Stop };

export interface StoreContext extends Pins {
  /** Node names of the store as its file says. */
  expectedNodes: string[];
  ours: Ours;
  /** Nodes that still have to be worked on; memory and ok-to-stop are asked for these. */
  work: string[];
}

interface Finding {
  reason: Reason;
  message: string;
}
type Check = (facts: StoreFacts, context: StoreContext) => Finding[];
type NodeCheck = (facts: StoreFacts, context: StoreContext, node: NodeFacts) => Finding[];

/** Bytes. A node keeps so much of its root file system free for packages and a second kernel. */
export const MIN_ROOT_FREE = 5 * 1024 ** 3;
/** Per OSD, percent: when an OSD goes, its data move to the other OSDs of the same host. */
const MAX_OSD_UTILIZATION = 75;
/** A tenth of a node's memory stays free for Ceph and the hypervisor. */
const USABLE_MEMORY = 0.9;

/** Before the operation changes anything. */
const readyChecks: Check[] = [
  everythingRead,
  (facts) =>
    facts.missingPrivileges.map((privilege) => finding('PermissionsMissing', `the API token lacks ${privilege}`)),
  quorate,
  allNodesOnline,
  noForeignMaintenance,
  haSettled,
  cephAllows,
  cephComplete,
  cephClean,
  cephHasRoom,
  poolsAreReplicated,
  noForeignFlags,
  noGuestLocked,
  nothingRunning,
  packagesSound,
  bootLoadersAreFree,
  diskHasRoom,
  othersHoldTheGuests,
  cephLetsEachHostStop,
];

/** Immediately before guests are moved off a node: all of the above for this node, and no other one is out of service. */
const drainChecks: Check[] = [...readyChecks, noOtherNodeOut];

/** Immediately before packages change on `node`: it is ours, empty, and everything else is whole. */
const packageChecks: NodeCheck[] = [
  everythingRead,
  quorate,
  allNodesOnline,
  noForeignMaintenance,
  cephAllows,
  cephComplete,
  cephClean,
  noForeignFlags,
  inOurMaintenance,
  nodeIsEmpty,
  nodePackagesSound,
];

/** Immediately before `node` goes down. */
const rebootChecks: NodeCheck[] = [
  ...packageChecks,
  nooutIsSet,
  inventoryMatches,
  kernelIsBootable,
  bootLoaderIsFree,
  cephLetsThisHostStop,
];

/** After the reboot, before the node takes guests again. A miss is waited for, not failed on at once. */
const rejoinedChecks: Check[] = [everythingRead, quorate, allNodesOnline, cephAllows, cephComplete, cephClean];

/** After the last node: the store is as it was, with the release, and nothing of ours is left. */
const verifiedChecks: Check[] = [...rejoinedChecks, haSettled, nothingLeftSet, everyNodeHasTheRelease];

export const decideReady = (facts: StoreFacts, context: StoreContext): StoreDecision =>
  judge(readyChecks, facts, context, 'preflight');
export const decideDrain = (facts: StoreFacts, context: StoreContext, node: string): StoreDecision =>
  judge(drainChecks, facts, { ...context, work: [node] }, `drain ${node}`);
export const decidePackages = (facts: StoreFacts, context: StoreContext, node: string): StoreDecision =>
  judgeNode(packageChecks, facts, context, node, `upgrade ${node}`);
export const decideReboot = (facts: StoreFacts, context: StoreContext, node: string): StoreDecision =>
  judgeNode(rebootChecks, facts, context, node, `reboot ${node}`);
export const decideRejoined = (facts: StoreFacts, context: StoreContext, node: string): StoreDecision =>
  judge(rejoinedChecks, facts, context, `rejoin ${node}`);
export const decideVerified = (facts: StoreFacts, context: StoreContext): StoreDecision =>
  judge(verifiedChecks, facts, context, 'verify');

/**
 * What each node needs, in the order in which to do it: the node that leads the HA managers last, and first of all a
 * node that was taken over out of service, since no other node may leave before it is back.
 */
export function planNodes(facts: StoreFacts, context: Pins & { ours: Ours }): NodeWork[] {
  const isOut = (name: string) =>
    facts.ha.nodeStatus[name] === 'maintenance' && context.ours.maintenance.includes(name);
  const work = facts.nodes.map((node) => {
    const packages = lacking(node, context).length > 0;
    // Going back disturbs no more than it must: what is older was running here before.
    const reboot = (packages && !context.back) || node.runningKernel !== kernelFor(node, context);
    return { node: node.name, packages, reboot, out: isOut(node.name) };
  });
  const rank = ({ node, out }: NodeWork) => (out ? -1 : node === facts.ha.master ? 1 : 0);
  return work.sort((a, b) => rank(a) - rank(b) || a.node.localeCompare(b.node));
}

/** What apt would do, held against what the release pins. Removing anything, or installing anything unpinned, is a mismatch. */
export function decideManifest(node: StagedNode, context: Pins): StoreDecision {
  const step = `stage packages ${node.name}`;
  if (!node.simulation)
    return stop(step, [finding('FactsUnreadable', `${node.name}: the upgrade could not be simulated`)]);
  const { install, remove } = node.simulation;
  const packages = packagesFor(node, context);
  const findings = [
    ...remove.map((name) => finding('ManifestMismatch', `${node.name}: apt would remove ${name}`)),
    ...install
      .filter(({ name, version }) => packages[name] !== version)
      .map(({ name, version }) =>
        finding(
          'ManifestMismatch',
          `${node.name}: apt would install ${name} ${version}, the release pins ${packages[name] ?? 'nothing of that name'}`,
        ),
      ),
    ...differing(node, packages)
      .filter((name) => !install.some((planned) => planned.name === name))
      .map((name) =>
        finding(
          'ManifestMismatch',
          `${node.name}: the release pins ${name} ${packages[name]}, apt would not install it`,
        ),
      ),
  ];
  return findings.length === 0 ? { kind: 'proceed' } : stop(step, findings);
}

/** Packages that the node shall have in another version than it has. */
export const lacking = (node: Pick<NodeFacts, 'installed'>, context: Pins): string[] =>
  differing(node, packagesFor(node, context));

// The checks.

/** Unknown is not healthy. What cannot be read because its node is off is told as that, first. */
function everythingRead({ unreadable, cluster }: StoreFacts): Finding[] {
  if (unreadable.length === 0) return [];
  const off = cluster.nodes.filter(({ online }) => !online);
  return [...off.map(({ name }) => notOnline(name)), ...unreadable.map((what) => finding('FactsUnreadable', what))];
}

function quorate({ cluster }: StoreFacts): Finding[] {
  return cluster.quorate ? [] : [finding('NoQuorum', 'the cluster is not quorate')];
}

function allNodesOnline({ cluster }: StoreFacts, { expectedNodes }: StoreContext): Finding[] {
  return expectedNodes
    .filter((name) => !cluster.nodes.some((node) => node.name === name && node.online))
    .map(notOnline);
}

const notOnline = (name: string): Finding => finding('NodeOffline', `${name} is not online`);

function noForeignMaintenance({ ha }: StoreFacts, { ours }: StoreContext): Finding[] {
  return Object.entries(ha.nodeStatus)
    .filter(([name, status]) => status === 'maintenance' && !ours.maintenance.includes(name))
    .map(([name]) => finding('NodeInMaintenance', `${name} is in maintenance that this operation did not set`));
}

function noOtherNodeOut({ ha }: StoreFacts, { ours, work }: StoreContext): Finding[] {
  return ours.maintenance
    .filter((name) => !work.includes(name) && ha.nodeStatus[name] === 'maintenance')
    .map((name) => finding('NodeInMaintenance', `${name} is still in maintenance; one node at a time`));
}

function haSettled({ ha }: StoreFacts): Finding[] {
  const settled = new Set(['started', 'stopped', 'ignored', 'disabled']);
  return [
    ...(ha.quorumOk ? [] : [finding('HaUnhealthy', 'the HA stack reports no quorum')]),
    ...ha.services
      .filter(({ state }) => !settled.has(state))
      .map(({ sid, node, state }) => finding('HaUnhealthy', `${sid} on ${node} is ${state}`)),
    ...(ha.managers ? [] : [finding('FactsUnreadable', 'the HA resource managers were not looked at')]),
    ...Object.entries(ha.managers ?? {})
      .filter(([, status]) => /old timestamp|dead|lost/i.test(status))
      .map(([name, status]) => finding('HaUnhealthy', `the resource manager of ${name} is stale: ${status}`)),
    ...Object.entries(ha.nodeStatus)
      .filter(([, status]) => status !== 'online' && status !== 'maintenance')
      .map(([name, status]) => finding('HaUnhealthy', `${name} is ${status} for HA`)),
  ];
}

function cephAllows({ ceph }: StoreFacts): Finding[] {
  return blockingChecks(ceph).map(({ code, message }) => finding('CephBlocked', `${code}: ${message}`));
}

function cephComplete({ ceph }: StoreFacts): Finding[] {
  return missingDaemons(ceph).map((what) => finding('CephUnclean', what));
}

function cephClean({ ceph }: StoreFacts): Finding[] {
  if (isClean(ceph)) return [];
  const states = ceph.pgs.states.map(({ state, count }) => `${count} ${state}`).join(', ');
  return [finding('CephUnclean', `not all placement groups are active and clean: ${states || 'none reported'}`)];
}

function cephHasRoom({ ceph }: StoreFacts): Finding[] {
  return ceph.osds
    .filter(({ utilization }) => utilization === undefined || utilization >= MAX_OSD_UTILIZATION)
    .map(({ id, utilization }) =>
      utilization === undefined
        ? finding('FactsUnreadable', `nobody looked how full osd.${id} is`)
        : finding(
            'CephBlocked',
            `osd.${id} is ${utilization.toFixed(0)} % full, the limit is ${MAX_OSD_UTILIZATION} %`,
          ),
    );
}

function poolsAreReplicated({ ceph }: StoreFacts): Finding[] {
  return ceph.pools
    .filter(({ size, minSize }) => size < 3 || minSize < 2)
    .map(({ name, size, minSize }) =>
      finding('CephBlocked', `pool ${name} has size ${size}/${minSize}; a reboot needs 3/2`),
    );
}

function noForeignFlags({ ceph }: StoreFacts, { ours }: StoreContext): Finding[] {
  return foreignFlags(ceph, ours.noout).map((flag) =>
    finding('ForeignFlags', `Ceph flag ${flag} is set by someone else`),
  );
}

function noGuestLocked({ guests }: StoreFacts): Finding[] {
  return guests
    .filter(({ lock }) => lock)
    .map(({ vmid, name, lock }) => finding('GuestLocked', `guest ${vmid} (${name}) is locked: ${lock}`));
}

function nothingRunning({ runningTasks }: StoreFacts): Finding[] {
  if (!runningTasks) return [finding('FactsUnreadable', 'nobody looked which tasks run')];
  return runningTasks.map(({ type, node }) => finding('TasksRunning', `a ${type} task runs on ${node}`));
}

function packagesSound(facts: StoreFacts, context: StoreContext): Finding[] {
  return facts.nodes.flatMap((node) => nodePackagesSound(facts, context, node));
}

function diskHasRoom({ nodes }: StoreFacts): Finding[] {
  return nodes
    .filter(({ rootFreeBytes }) => rootFreeBytes < MIN_ROOT_FREE)
    .map(({ name, rootFreeBytes }) =>
      finding(
        'DiskFull',
        `${name} has ${(rootFreeBytes / 1024 ** 3).toFixed(1)} GiB free on /, needs ${MIN_ROOT_FREE / 1024 ** 3}`,
      ),
    );
}

function othersHoldTheGuests(facts: StoreFacts, { work, expectedNodes }: StoreContext): Finding[] {
  const used = (name: string) => runningOn(facts, name).reduce((sum, guest) => sum + guest.maxMemory, 0);
  return work.flatMap((name) => {
    const others = expectedNodes.filter((other) => other !== name);
    const unknown = others.filter((other) => facts.memory[other] === undefined);
    if (unknown.length > 0) return unknown.map((other) => finding('FactsUnreadable', `${other}: memory is unknown`));
    const room = others.reduce((sum, other) => sum + (facts.memory[other] ?? 0) * USABLE_MEMORY - used(other), 0);
    const missing = used(name) - room;
    return missing <= 0
      ? []
      : [finding('NotEnoughMemory', `the other nodes lack ${gib(missing)} GiB for the guests of ${name}`)];
  });
}

function cephLetsEachHostStop(facts: StoreFacts, { work }: StoreContext): Finding[] {
  return work.flatMap((name) => okToStop(facts, name));
}

function inOurMaintenance({ ha }: StoreFacts, { ours }: StoreContext, node: NodeFacts): Finding[] {
  const set = ha.nodeStatus[node.name] === 'maintenance' && ours.maintenance.includes(node.name);
  return set ? [] : [finding('FactsChanged', `${node.name} is not in the maintenance that this operation set`)];
}

function nodeIsEmpty(facts: StoreFacts, _: StoreContext, node: NodeFacts): Finding[] {
  return runningOn(facts, node.name).map(({ vmid, name }) =>
    finding('FactsChanged', `guest ${vmid} (${name}) runs on ${node.name}`),
  );
}

function nodePackagesSound(_: StoreFacts, __: StoreContext, node: NodeFacts): Finding[] {
  return [
    ...node.dpkgAudit.map((line) => finding('PackagesBroken', `${node.name}: dpkg --audit: ${line}`)),
    ...node.held.map((name) => finding('PackagesBroken', `${node.name}: ${name} is on hold`)),
  ];
}

function nooutIsSet({ ceph }: StoreFacts, { ours }: StoreContext, node: NodeFacts): Finding[] {
  const set = ceph.hostFlags[node.name]?.includes('noout') === true && ours.noout.includes(node.name);
  return set ? [] : [finding('FactsChanged', `noout is not set on ${node.name}`)];
}

/** A pin of someone else's would bring the node back with another kernel than the release names. */
function bootLoadersAreFree(facts: StoreFacts, context: StoreContext): Finding[] {
  return facts.nodes.flatMap((node) => bootLoaderIsFree(facts, context, node));
}

function bootLoaderIsFree(_: StoreFacts, context: StoreContext, node: NodeFacts): Finding[] {
  const { name, pinnedKernel } = node;
  const harmless = [undefined, context.ours.pins?.[name], kernelFor(node, context)].includes(pinnedKernel);
  return harmless ? [] : [finding('WrongKernel', `${name}: someone else has pinned kernel ${pinnedKernel}`)];
}

function inventoryMatches(_: StoreFacts, context: StoreContext, node: NodeFacts): Finding[] {
  return lacking(node, context).map((name) =>
    finding(
      'InventoryMismatch',
      `${node.name}: ${name} is ${node.installed[name] ?? 'not installed'}, the release pins ${context.packages[name]}`,
    ),
  );
}

function kernelIsBootable(_: StoreFacts, { kernel }: StoreContext, node: NodeFacts): Finding[] {
  return node.bootableKernels.includes(kernel)
    ? []
    : [finding('WrongKernel', `${node.name}: the boot loader does not know kernel ${kernel}`)];
}

function cephLetsThisHostStop(facts: StoreFacts, _: StoreContext, node: NodeFacts): Finding[] {
  return okToStop(facts, node.name);
}

/** Nothing is ours any more: whoever set it, the next disk or node failure would meet a store that cannot heal. */
function nothingLeftSet({ ceph, ha, nodes }: StoreFacts): Finding[] {
  return [
    ...foreignFlags(ceph, []).map((flag) => finding('VerifyFailed', `Ceph flag ${flag} is still set`)),
    ...Object.entries(ha.nodeStatus)
      .filter(([, status]) => status === 'maintenance')
      .map(([name]) => finding('VerifyFailed', `${name} is still in maintenance`)),
    ...nodes
      .filter(({ upgradeUnit }) => upgradeUnit)
      .map(({ name, upgradeUnit }) => finding('VerifyFailed', `unit ${upgradeUnit?.name} is left on ${name}`)),
  ];
}

function everyNodeHasTheRelease({ nodes }: StoreFacts, context: StoreContext): Finding[] {
  const unknown = context.expectedNodes.filter((name) => !nodes.some((node) => node.name === name));
  const wrong = nodes.flatMap((node) => [
    ...lacking(node, context).map((name) =>
      finding('InventoryMismatch', `${node.name}: ${name} is ${node.installed[name] ?? 'not installed'}`),
    ),
    ...(node.runningKernel === kernelFor(node, context)
      ? []
      : [finding('WrongKernel', `${node.name} runs ${node.runningKernel}, the release names ${context.kernel}`)]),
  ]);
  return [...unknown.map((name) => finding('FactsUnreadable', `nothing is known of ${name}`)), ...wrong];
}

// Their tools.

const finding = (reason: Reason, message: string): Finding => ({ reason, message });
const gib = (bytes: number) => (bytes / 1024 ** 3).toFixed(1);

const runningOn = (facts: StoreFacts, node: string): GuestFacts[] =>
  facts.guests.filter((guest) => guest.node === node && guest.status === 'running' && !guest.template);

function okToStop(facts: StoreFacts, node: string): Finding[] {
  const answer = facts.okToStop[node];
  if (!answer) return [finding('FactsUnreadable', `Ceph was not asked whether ${node} may stop`)];
  return answer.osds && answer.mon ? [] : [finding('CephNotOkToStop', `${node}: ${answer.detail}`)];
}

function judge(checks: Check[], facts: StoreFacts, context: StoreContext, step: string): StoreDecision {
  const findings = checks.flatMap((check) => check(facts, context));
  return findings.length === 0 ? { kind: 'proceed' } : stop(step, findings);
}

function judgeNode(
  checks: NodeCheck[],
  facts: StoreFacts,
  context: StoreContext,
  name: string,
  step: string,
): StoreDecision {
  const node = facts.nodes.find((candidate) => candidate.name === name);
  if (!node) return stop(step, [finding('FactsUnreadable', `nothing is known of ${name}`)]);
  const findings = checks.flatMap((check) => check(facts, context, node));
  return findings.length === 0 ? { kind: 'proceed' } : stop(step, findings);
}

function stop(step: string, found: Finding[]): StoreDecision {
  const findings = [...new Map(found.map((each) => [`${each.reason}: ${each.message}`, each])).values()];
  const first = findings[0] as Finding;
  const more = findings.length > 1 ? ` (and ${findings.length - 1} more)` : '';
  return {
    kind: 'stop',
    stop: {
      reason: first.reason,
      step,
      summary: `${first.message}${more}`,
      detail: findings.map(({ reason, message }) => `${reason}: ${message}`).slice(0, 20),
    },
  };
}
