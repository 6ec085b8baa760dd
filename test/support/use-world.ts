import { inject, onTestFinished } from 'vitest';
import { openWorld, type World } from './workflow-harness.js';

/** A world for this test alone, closed when the test ends. */
export async function useWorld(): Promise<World> {
  const world = await openWorld({ address: inject('temporalAddress'), codePath: inject('workflowBundlePath') });
  onTestFinished(() => world.close());
  return world;
}
