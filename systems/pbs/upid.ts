/**
 * A backup server's task id, taken apart. It has one field more than one of Proxmox VE, which does not match.
 * Times are epoch seconds.
 */
export interface PbsUpid {
  /** The server's own host name: who ran the task. */
  node: string;
  startTime: number;
  type: string;
  /** What it was about, e.g. `store:vm/100`; empty when the task has none. */
  id: string;
  authId: string;
}

const UPID =
  /^UPID:([a-zA-Z0-9](?:[a-zA-Z0-9-]*[a-zA-Z0-9])?):[0-9A-Fa-f]{8}:[0-9A-Fa-f]{8,9}:[0-9A-Fa-f]{8,16}:([0-9A-Fa-f]{8}):([^:\s]+):([^:\s]*):([^:\s]+):$/;
const MAX_LENGTH = 1_000;

/** Undefined when the text is no task id of a backup server. */
export function parsePbsUpid(text: string): PbsUpid | undefined {
  const match = text.length <= MAX_LENGTH ? UPID.exec(text) : null;
  if (!match) return undefined;
  const [, node = '', start = '', type = '', id = '', authId = ''] = match;
  return { node, startTime: parseInt(start, 16), type, id: unescapeUnit(id), authId };
}

/** As systemd writes names of units: `-` stands for `/`, `\x3a` for the byte 3a. */
function unescapeUnit(escaped: string): string {
  const bytes = escaped
    .replaceAll('-', '/')
    .replaceAll(/\\x([0-9a-fA-F]{2})/g, (_, hex: string) => String.fromCharCode(parseInt(hex, 16)));
  return Buffer.from(bytes, 'latin1').toString('utf8');
}
