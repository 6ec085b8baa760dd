import { parse } from '#domain/messages/parse.js';
import { SHA256 } from '#domain/naming.js';
import { builtPointer, releaseRefSchema, type ReleaseRef } from '#domain/release.js';
import { openObjects } from '#systems/objects/open.js';
import type { Target } from './context.js';
import { CliFailure } from './failure.js';
import type { Io } from './io.js';
import { fromLedger } from './ledger.js';
import { printable } from './text.js';

const MAX_TRAINS = 200;
const MAX_POINTER_BYTES = 10_000;

/**
 * The release that was built before and is named by its version or manifest digest: the ledger knows of which commit it
 * was built, the registry what was built of that commit.
 */
export async function findRelease(io: Io, target: Target, fleet: string, name: string): Promise<ReleaseRef> {
  const trains = await fromLedger(io, target, (ledger) => ledger.trains(MAX_TRAINS));
  if (trains === undefined) {
    throw new CliFailure('An earlier release is looked up in the ledger: set EDGE_DATABASE_URL, or start `edge up`.');
  }
  const isMeant = SHA256.test(name)
    ? (train: { manifest?: string | undefined }) => train.manifest === name
    : (train: { release?: string | undefined }) => train.release === name;
  const found = trains.find((train) => train.fleet === fleet && train.commit !== undefined && isMeant(train));
  if (found?.commit === undefined) {
    const known = [
      ...new Set(trains.flatMap((train) => (train.fleet === fleet && train.release ? [train.release] : []))),
    ];
    const list = known.length === 0 ? 'No train has built one yet.' : `Known: ${known.slice(0, 10).join(', ')}.`;
    throw new CliFailure(`No train of fleet ${fleet} had release ${printable(name)}. ${printable(list)}`);
  }
  return readBuilt(io, target, builtPointer(fleet, found.commit), found.manifest);
}

async function readBuilt(io: Io, target: Target, pointer: string, manifest: string | undefined): Promise<ReleaseRef> {
  const registry = target.service?.registry ?? io.env['EDGE_OBJECTS'];
  if (registry === undefined) throw new CliFailure('Which registry? Set EDGE_OBJECTS, e.g. s3://bucket/edge.');
  const bytes = await openObjects(registry).getPointer(pointer, MAX_POINTER_BYTES);
  if (bytes === undefined) throw new CliFailure(`The registry ${registry} no longer has ${pointer}.`);
  const parsed = parse(releaseRefSchema, jsonOf(bytes));
  if (!parsed.ok) throw new CliFailure(`${pointer} in the registry is not a release: ${parsed.problems.join('; ')}.`);
  if (manifest !== undefined && parsed.value.manifest !== manifest) {
    throw new CliFailure(`${pointer} in the registry names another manifest than the ledger. Nothing was started.`);
  }
  return parsed.value;
}

function jsonOf(bytes: Buffer): unknown {
  try {
    return JSON.parse(bytes.toString('utf8'));
  } catch {
    return undefined;
  }
}
