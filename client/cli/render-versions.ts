import { whyNothingMoves, type ControlVersions } from '../control-versions.js';
import { columns, printable } from './text.js';

/** What `edge workers show` says. Pure. */
export function renderVersions(versions: ControlVersions): string[] {
  if (versions.kind === 'unsupported')
    return ['This Temporal server has no versions of workers: whichever build polls gets the workflows.'];
  const { current, polling, unversioned } = versions;
  const builds = [...new Set([...(current === undefined ? [] : [current]), ...polling])];
  const rows = [
    ...builds.map((build) => [
      printable(build),
      build === current ? 'current' : 'waits',
      polling.includes(build) ? 'polls' : 'does not poll',
    ]),
    ...(unversioned ? [['no version', current === undefined ? 'current' : 'gets nothing', 'polls']] : []),
  ];
  const trouble = whyNothingMoves(versions);
  return [...columns(rows, 0), ...(trouble ? [`${printable(trouble.text)} ${printable(trouble.remedy)}`] : [])];
}
