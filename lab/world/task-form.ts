import type { Task } from './tasks.js';

/** How a product writes its tasks: the same list behind two dialects. */
export interface TaskForm {
  upid(task: Omit<Task, 'upid' | 'log'>): string;
  /** A line as it stands in the log file. */
  line(text: string, at: number): string;
  /** Exit status of a task whose last line is missing: the process died. */
  readonly lost: string;
  /** Exit status after somebody stopped it. */
  readonly stopped: string;
}

const hex = (value: number): string => value.toString(16).toUpperCase().padStart(8, '0');

export const PVE_TASKS: TaskForm = {
  upid: ({ node, pid, pstart, starttime, type, id, user }) =>
    `UPID:${node}:${hex(pid)}:${hex(pstart)}:${hex(starttime)}:${type}:${id}:${user}:`,
  line: (text) => text,
  lost: 'unexpected status',
  stopped: 'interrupted by signal',
};

/** One part more than Proxmox VE has, and the id of the work escaped as systemd escapes unit names. */
export const PBS_TASKS: TaskForm = {
  upid: ({ node, pid, pstart, starttime, type, id, user }) =>
    `UPID:${node}:${hex(pid)}:${hex(pstart)}:${hex(0)}:${hex(starttime)}:${type}:${escapeUnit(id)}:${user}:`,
  line: (text, at) => `${new Date(at).toISOString().slice(0, 19)}+00:00: ${text}`,
  lost: 'unknown',
  stopped: 'abort requested - aborting task',
};

/** As systemd does: a slash becomes a dash, whatever is not a letter, a digit, `_` or an inner dot its code. */
export function escapeUnit(text: string): string {
  return [...Buffer.from(text, 'utf8')]
    .map((byte, index) => {
      const char = String.fromCharCode(byte);
      if (char === '/') return '-';
      if (/[A-Za-z0-9_]/.test(char) || (char === '.' && index > 0)) return char;
      return `\\x${byte.toString(16).padStart(2, '0')}`;
    })
    .join('');
}
