import { afterEach } from 'vitest';
import { givenFleet, type FleetGiven, type Practice } from './practice.js';

/** A fleet that ends with its test, also when the test fails. */
export function useFleet(): (given: FleetGiven) => Promise<Practice> {
  const started: Practice[] = [];
  afterEach(async () => {
    for (const practice of started.splice(0)) await practice.end();
  }, 60_000);
  return async (given) => {
    const practice = await givenFleet(given);
    started.push(practice);
    return practice;
  };
}
