import { fstatSync } from 'node:fs';

const STDIN = 0;

/**
 * Calls `onGone` once when the process at the other end of stdin is gone, however it ended.
 * Only where stdin is a pipe: at a terminal, under systemd or in a container it is nobody's lifeline.
 */
export function exitWithParent(onGone: () => void): void {
  const stdin = fstatSync(STDIN);
  if (!stdin.isFIFO() && !stdin.isSocket()) return;
  let told = false;
  const tell = () => {
    if (!told) onGone();
    told = true;
  };
  // A parent that was killed closes the pipe; one that resets it is gone as well.
  for (const sign of ['end', 'close', 'error']) process.stdin.once(sign, tell);
  process.stdin.resume();
  // It must not keep a process alive that has nothing else to do.
  (process.stdin as { unref?: () => void }).unref?.();
}
