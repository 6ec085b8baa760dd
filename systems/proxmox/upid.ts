/** A Proxmox VE task id, taken apart. Times are epoch seconds. (A backup server's has one field more and does not match.) */
export interface Upid {
  node: string;
  pid: number;
  startTime: number;
  type: string;
  id: string;
  user: string;
}

const UPID =
  /^UPID:([a-zA-Z0-9](?:[a-zA-Z0-9-]*[a-zA-Z0-9])?):([0-9A-Fa-f]{8}):([0-9A-Fa-f]{8,9}):([0-9A-Fa-f]{8}):([^:\s/]+):([^:\s/]*):([^:\s/]+):$/;

/** Undefined when the text is no task id. */
export function parseUpid(text: string): Upid | undefined {
  const match = UPID.exec(text);
  if (!match) return undefined;
  const [, node = '', pid = '', , start = '', type = '', id = '', user = ''] = match;
  return { node, pid: parseInt(pid, 16), startTime: parseInt(start, 16), type, id, user };
}
