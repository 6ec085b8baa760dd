import type { IncomingMessage } from 'node:http';

/** The answer left, and never arrived. */
export class AnswerLost extends Error {}

/** Keeps whoever asked waiting, for as long as he is there. */
export function keepWaiting(incoming: IncomingMessage, ms: number): Promise<void> {
  return new Promise((resolve) => {
    const timer = setTimeout(resolve, ms);
    incoming.socket.once('close', () => {
      clearTimeout(timer);
      resolve();
    });
  });
}
