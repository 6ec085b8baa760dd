import { execFileSync } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { z } from 'zod';
import { signalGroup } from '#systems/programs/signal.js';

/** A process as remembered in a file. Ids are used again, so the start time is part of who it is. */
const processRecordSchema = z.object({ pid: z.number().int().positive(), started: z.string().optional() });
export type ProcessRecord = z.infer<typeof processRecordSchema>;

export const recordOf = (pid: number): ProcessRecord => ({ pid, started: startOf(pid) });

/** Undefined for text that is not a record. */
export function parseRecord(text: string): ProcessRecord | undefined {
  try {
    return processRecordSchema.parse(JSON.parse(text));
  } catch {
    return undefined;
  }
}

/** Whether the very process of the record still runs, not merely one with its id. */
export function isRunning(record: ProcessRecord): boolean {
  if (!exists(record.pid)) return false;
  const started = startOf(record.pid);
  if (started === undefined) return false;
  return record.started === undefined || started === record.started;
}

/**
 * Ends what is left of the process group that the recorded process led. False when nothing was left.
 * As long as a member lives, the system gives the group's number to no other process.
 */
export function endGroup(record: ProcessRecord): boolean {
  const reused = exists(record.pid) && !isRunning(record);
  return !reused && signalGroup(record.pid, 'SIGKILL');
}

function exists(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    // EPERM: it is there and belongs to someone else.
    return (error as NodeJS.ErrnoException).code !== 'ESRCH';
  }
}

/** Opaque; equal for the same process, different for a later one with the same id. Undefined for a dead one. */
function startOf(pid: number): string | undefined {
  if (!existsSync('/proc/self/stat')) return startByPs(pid);
  try {
    const fields = readFileSync(`/proc/${pid}/stat`, 'utf8').split(') ').at(-1)?.split(' ');
    // A zombie keeps its id until it is reaped, but runs no more.
    return fields?.[0] === 'Z' ? undefined : fields?.[19];
  } catch {
    return undefined;
  }
}

function startByPs(pid: number): string | undefined {
  try {
    return execFileSync('ps', ['-o', 'lstart=', '-p', String(pid)], { encoding: 'utf8' }).trim() || undefined;
  } catch {
    return undefined;
  }
}
