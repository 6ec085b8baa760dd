import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import type { WorkflowHandle } from '@temporalio/client';

export const HISTORIES = join(import.meta.dirname, 'histories');
export type History = Awaited<ReturnType<WorkflowHandle['fetchHistory']>>;
type HistoryEvent = NonNullable<History['events']>[number];

/**
 * A recorded history as the worker wants it. The SDK reads such JSON by itself only when npm gives all its packages one
 * copy of protobufjs, which it does not here; so it is read with the copy that the message types come from.
 */
export function readHistory(shape: string): History {
  const json: unknown = JSON.parse(readFileSync(join(HISTORIES, `${shape}.json`), 'utf8'));
  return fromJson(root.lookupType('temporal.api.history.v1.History'), json, {
    ignoreUnknownFields: true,
  });
}

/** The changes of which a history went the new way, by the names that the workflows give to `patched()`. */
export const patchesOf = (events: readonly HistoryEvent[]): string[] =>
  events.flatMap(({ markerRecordedEventAttributes: marker }) => {
    const data = marker?.markerName === 'core_patch' ? marker.details?.['patch-data']?.payloads?.[0]?.data : undefined;
    return data ? [(JSON.parse(Buffer.from(data).toString()) as { id: string }).id] : [];
  });

const sdk = createRequire(createRequire(import.meta.url).resolve('@temporalio/common'));
const { patchProtobufRoot } = sdk('@temporalio/proto/lib/patch-protobuf-root') as {
  patchProtobufRoot: (root: unknown) => { lookupType(name: string): unknown };
};
const root = patchProtobufRoot(sdk('@temporalio/proto'));
const { fromJson } = createRequire(sdk.resolve('@temporalio/proto'))('protobufjs/ext/protojson') as {
  fromJson: (type: unknown, json: unknown, options: { ignoreUnknownFields: boolean }) => History;
};
