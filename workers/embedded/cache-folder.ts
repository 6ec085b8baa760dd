import { homedir } from 'node:os';
import { isAbsolute, join } from 'node:path';

/** Where things are kept that are made once for a user: each can be deleted, and is then made again. */
export function cacheFolder(env: NodeJS.ProcessEnv): string {
  const base = env.XDG_CACHE_HOME && isAbsolute(env.XDG_CACHE_HOME) ? env.XDG_CACHE_HOME : join(homedir(), '.cache');
  return join(base, 'edge-governor');
}
