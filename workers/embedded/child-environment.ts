/** What every process may know of this one's environment. Nothing else goes on by itself. */
const PASSED_ON = ['PATH', 'HOME', 'TMPDIR', 'TZ', 'LANG', 'NODE_EXTRA_CA_CERTS'];

export function baseEnvironment(env: NodeJS.ProcessEnv): NodeJS.ProcessEnv {
  return Object.fromEntries(PASSED_ON.filter((name) => env[name] !== undefined).map((name) => [name, env[name]]));
}

/**
 * For the central workers: their settings (`EDGE_…`) as well. Never the release key, which only the release worker
 * is given, by its own line.
 */
export function centralEnvironment(env: NodeJS.ProcessEnv): NodeJS.ProcessEnv {
  const settings = Object.entries(env).filter(
    ([name]) => name.startsWith('EDGE_') && !name.startsWith('EDGE_RELEASE_KEY'),
  );
  return { ...baseEnvironment(env), ...Object.fromEntries(settings) };
}
