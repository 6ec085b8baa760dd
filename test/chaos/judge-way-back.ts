import { isCeph } from '#lab/check/release-rules.js';
import { compareVersions } from '#lab/world/mirror.js';
import { found, isOfWayBack, lastOf, newestRows, type Finding } from './findings.js';
import { secondId, type Operation, type Seen, type TrainSeen } from './seen.js';
import type { WayBackSeen } from './way-back-seen.js';

/** Of a train that was to be taken back. Its stores ran another release before, which is where they go. */
export function judgeWayBack(seen: Seen, train: TrainSeen, wayBack: WayBackSeen): Finding[] {
  const own = train.operations.filter(({ workflowId, store }) => workflowId !== secondId(store));
  const back = own.filter(isOfWayBack);
  const areBack = seen.stores.flatMap((store) => {
    const last = lastOf(own.filter((operation) => operation.store === store));
    return last?.outcome === 'rolledBack' ? [last] : [];
  });
  return [
    ...found('goes-back', goesBack(seen, train, own)),
    ...found(
      'went-back',
      areBack.flatMap((operation) => [
        ...runsWhatItRanBefore(operation, seen, wayBack),
        ...wayInTheJournal(operation, seen),
      ]),
    ),
    ...found('desired', desiredIsWhatIsThere(seen, train, wayBack)),
    ...found('permit', permittedAsApproved(back, train, wayBack)),
  ];
}

/** Whoever was taken at his word that the train is to go back gets that, unless he ends it. */
function goesBack({ said }: Seen, { report, wayBack }: TrainSeen, own: readonly Operation[]): string[] {
  if (!report) return [];
  const isAsked = said.includes('rollback: taken') || wayBack?.approvals.some(isApproval) === true;
  const isDone = said.includes(TAKEN_BACK_WHEN_DONE) && own.some(({ outcome }) => outcome === 'succeeded');
  const isEnded = said.some((what) => what.startsWith('abort:'));
  const isRight = report.state === 'rolled back' || (report.state === 'aborted' && isEnded);
  return (isAsked || isDone) && !isRight
    ? [`The train was to be taken back and ended ${report.state}: ${report.summary}`]
    : [];
}
export const TAKEN_BACK_WHEN_DONE = 'take back the train that is done';

const isApproval = ({ accepted, decision }: WayBackSeen['approvals'][number]): boolean =>
  accepted && decision === 'approve';

/** Packages, kernel and config files. Ceph stays as new as it is. */
function runsWhatItRanBefore(
  { store, operationId, release }: Operation,
  { now, journal }: Seen,
  { before }: WayBackSeen,
): string[] {
  const wrong = release === before.version ? [] : [`${operationId} went back to ${release}, not to ${before.version}`];
  for (const { name, kernel, packages } of now.find(({ id }) => id === store)?.nodes ?? []) {
    const others = Object.entries(before.packages).filter(([each, version]) => {
      const order = compareVersions(packages[each] ?? '', version);
      return isCeph(each) ? order < 0 : order !== 0;
    });
    wrong.push(
      ...others.map(
        ([each, version]) => `${name} of ${store} is back and has ${each} ${packages[each]}, not ${version}`,
      ),
      ...(kernel === before.kernel ? [] : [`${name} of ${store} is back and runs ${kernel}, not ${before.kernel}`]),
    );
  }
  const switched = new Map(
    journal
      .filter((entry) => entry.store === store && entry.effect === 'guest.config.switch')
      .map((entry) => [`${entry.guest} ${String(entry.detail?.['path'])}`, entry['after']]),
  );
  for (const [place, digest] of switched)
    if (before.configs[store]?.includes(String(digest)) !== true)
      wrong.push(`Guest ${place} of ${store} is back and has a config that is not of ${before.version}`);
  return wrong;
}

/**
 * A node that got newer packages got the older ones, and then booted, if it had booted with the newer ones; one that got
 * none was left alone. What an upgrade that broke off has unpacked is configured; what is of the older release by then,
 * or of Ceph, stays.
 */
function wayInTheJournal({ store, operationId }: Operation, { journal, now }: Seen): string[] {
  const own = journal.filter((entry) => entry.store === store);
  return (now.find(({ id }) => id === store)?.nodes ?? []).flatMap(({ name }) => {
    const entries = own.filter(({ node }) => node === name);
    const changed = entries.findLast(({ effect }) => CHANGES.includes(effect));
    if (!changed) return [];
    const newer = entries.findLast(({ effect, seq }) => effect === 'packages.install' && seq < changed.seq);
    const boots = entries.filter(({ effect }) => effect === 'node.up').map(({ seq }) => seq);
    const ranNewer = newer === undefined || boots.some((seq) => seq > newer.seq && seq < changed.seq);
    const isProven =
      changed.effect === 'packages.install'
        ? !ranNewer || boots.some((seq) => seq > changed.seq)
        : entries.some(({ effect, seq }) => effect === 'packages.configure' && seq > changed.seq);
    return isProven
      ? []
      : [`${operationId} took ${name} back, but the journal does not show it changed and then booted`];
  });
}
const CHANGES = ['packages.begin', 'packages.install', 'packages.fail'];

/** Of who is back, and of who was never started and has nothing to go back from. */
function desiredIsWhatIsThere({ now }: Seen, { rows, report }: TrainSeen, { before, desired }: WayBackSeen): string[] {
  if (report?.state !== 'rolled back') return [];
  const isBack = newestRows(rows).filter(
    ({ outcome, reason }) => outcome === 'rolledBack' || (outcome === 'skipped' && reason === 'RolledBack'),
  );
  return isBack.flatMap(({ store, outcome }) => {
    const record = desired.find((each) => each.store === store);
    const wrong: string[] = [];
    if (record?.release?.version !== before.version)
      wrong.push(`${store} is back, and is to run ${record?.release?.version ?? 'nothing'}`);
    if (outcome === 'rolledBack' && !record?.permit) wrong.push(`The desired record of ${store} names no permit`);
    for (const { name, packages } of now.find(({ id }) => id === store)?.nodes ?? [])
      for (const [each, version] of Object.entries(before.packages))
        if (!isCeph(each) && compareVersions(packages[each] ?? '', version) > 0)
          wrong.push(`${name} of ${store} has ${each} ${packages[each]}, which is newer than it is to run`);
    return wrong;
  });
}

function permittedAsApproved(
  back: readonly Operation[],
  { release }: TrainSeen,
  { approvals, plans, permits, before }: WayBackSeen,
): string[] {
  const wrong: string[] = [];
  for (const { approval, stores, from, to } of permits) {
    const decision = approvals.find(({ id }) => id === approval.id);
    const isThat = decision?.planHash === approval.planHash && decision.by === approval.by;
    if (!decision || !isApproval(decision) || !isThat)
      wrong.push(`A permit for ${stores.join(', ')} rests on ${approval.id}, which is no approval of its plan`);
    const group = plans[approval.planHash]?.groups.find((each) => each.to.manifest === to.manifest);
    const outside = stores.filter((store) => !group?.stores.includes(store));
    if (outside.length > 0) wrong.push(`A permit takes ${outside.join(', ')} back, which nobody approved`);
    if (from.version !== release || to.manifest !== before.manifest)
      wrong.push(`A permit leads from ${from.version} to ${to.version}, not from ${release} to ${before.version}`);
  }
  for (const { store, operationId, begunAt } of back) {
    const own = permits.filter(({ stores }) => stores.includes(store));
    if (!own.some(({ approval }) => approval.at <= begunAt))
      wrong.push(`${operationId} was begun at ${begunAt} without an approved permit`);
  }
  return wrong;
}
