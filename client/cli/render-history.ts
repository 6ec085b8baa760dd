import { plural } from '#domain/counted.js';
import type { TrainRow } from '#domain/messages/ledger.js';
import type { PastTrain } from '../operations.js';
import { columns, printable, timeOf, type Clock } from './text.js';

/** What `edge train history` says: rows of the ledger, or what Temporal alone remembers. Pure. */
export function renderHistory(fleet: string, trains: readonly (TrainRow | PastTrain)[], clock: Clock): string[] {
  return [
    `Last ${plural(trains.length, 'train')} of fleet ${printable(fleet)} (times in ${clock.zone}):`,
    ...columns(trains.map((train) => [timeOf(train.startedAt, clock), ...wordsOf(train), endOf(train, clock)])),
  ];
}

function wordsOf(train: TrainRow | PastTrain): string[] {
  if ('status' in train) return [printable(train.train ?? 'unnamed'), train.status];
  const why = train.reason === undefined ? '' : ` (${printable(train.reason)})`;
  return [printable(train.id), printable(train.release ?? 'no release'), printable(train.state) + why];
}

function endOf(train: TrainRow | PastTrain, clock: Clock): string {
  const summary = 'summary' in train && train.summary !== undefined ? printable(train.summary) : '';
  return [train.endedAt === undefined ? '' : `ended ${timeOf(train.endedAt, clock)}`, summary]
    .filter((part) => part !== '')
    .join(': ');
}
