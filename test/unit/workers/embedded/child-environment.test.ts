import { describe, expect, it } from 'vitest';
import { baseEnvironment, centralEnvironment } from '#workers/embedded/child-environment.js';

const env = {
  PATH: '/bin',
  HOME: '/home/kim',
  AWS_SECRET_ACCESS_KEY: 'canary',
  TEMPORAL_ADDRESS: 'elsewhere:7233',
  EDGE_LOG_LEVEL: 'debug',
  EDGE_RELEASE_KEY_FILE: '/keys/key.pem',
};

describe('the environment of a child', () => {
  it('holds only what any program needs', () => {
    expect(baseEnvironment(env)).toEqual({ PATH: '/bin', HOME: '/home/kim' });
  });

  it('holds the settings of the service for central workers, but not the release key', () => {
    expect(centralEnvironment(env)).toEqual({ PATH: '/bin', HOME: '/home/kim', EDGE_LOG_LEVEL: 'debug' });
  });
});
