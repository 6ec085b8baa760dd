import { createHash } from 'node:crypto';
import type { Disk } from '../disks.js';

/**
 * What a guest's disk holds, as the chunks that a backup of it consists of. Derived, so that nothing of it need be kept:
 * the same moment of the same guest is always the same chunks, and two moments share what did not change between them.
 */
export interface DiskContent {
  /** Whose data: `store/vmid`. */
  origin: string;
  kind: 'qemu' | 'lxc';
  /** Rises while the guest runs: each time another chunk of the disk is written. */
  revision: number;
  /** The guest's files that matter here, as text; a chunk of their own. */
  files: string;
  /** When that revision was written, milliseconds since the epoch. Absent in what an older lab kept. */
  writtenAt?: number | undefined;
  /** What a backup of it brings back beside its first disk. */
  disks?: Disk[] | undefined;
}

/** Of data; what else a disk has is zeros, which are one chunk. */
const DATA_CHUNKS = 48;
/** Those that every guest of a kind has from its template until it writes them. */
const TEMPLATE_CHUNKS = 16;
export const CHUNK_BYTES = 4 * 1024 ** 2;
export const DISK_BYTES = { qemu: 32 * 1024 ** 3, lxc: (DATA_CHUNKS + 1) * CHUNK_BYTES } as const;

const ZEROS = 'zeros:0:0';

const sha256 = (text: string): string => createHash('sha256').update(text).digest('hex');

/** Ids of the chunks, each once: `<origin>:<place>:<version>`. With a key they are others: what is encrypted shares nothing with what is not. */
export function chunksOf(content: DiskContent, key: string | undefined): string[] {
  const { origin, kind, revision, files } = content;
  const chunks = Array.from({ length: DATA_CHUNKS }, (_, place) => {
    const written = lastWritten(place, revision);
    return written === 0 && place < TEMPLATE_CHUNKS ? `template/${kind}:${place}:0` : `${origin}:${place}:${written}`;
  });
  chunks.push(filesChunk(origin, files));
  if (kind === 'qemu') chunks.push(ZEROS);
  return key === undefined ? chunks : chunks.map((id) => `${key.slice(0, 11)}/${id}`);
}

/** The chunk that the files lie in. */
export const filesChunk = (origin: string, files: string): string => `${origin}:files:${sha256(files).slice(0, 16)}`;

/** One place is written at each revision, round and round. Zero: not since the guest was made. */
function lastWritten(place: number, revision: number): number {
  const last = revision - ((((revision - 1 - place) % DATA_CHUNKS) + DATA_CHUNKS) % DATA_CHUNKS);
  return Math.max(0, last);
}

/** Bytes on the disk of the backup server: compressed, so each chunk has its own. */
export function chunkBytes(id: string): number {
  if (id.endsWith(ZEROS)) return 200;
  let hash = 0x811c9dc5;
  for (let i = 0; i < id.length; i += 1) hash = Math.imul(hash ^ id.charCodeAt(i), 0x01000193) >>> 0;
  return 1_400_000 + (hash % 2_400_000);
}

/** Which part of a guest a chunk holds: its place among the data, `files`, or `zeros`. */
export function placeOf(id: string): string {
  return id.endsWith(ZEROS) ? 'zeros' : (id.split(':').at(-2) ?? '');
}

/**
 * The record that a guest writes with each revision of its disk, at the place that the revision wrote. A backup holds
 * the record of its moment, so nothing of it need be kept.
 */
export const CANARY_FILE = '/var/lib/edge-canary.json';

export const canaryPlace = (revision: number): string => String((revision - 1) % DATA_CHUNKS);

export function canaryText(revision: number, writtenAt: number): string {
  const at = new Date(writtenAt).toISOString();
  return `${JSON.stringify({ at, sequence: revision, sha256: sha256(`${at}${revision}`) })}\n`;
}

/** As the backup server names it. */
export const digestOf = (id: string): string => sha256(id);
