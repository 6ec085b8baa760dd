import { defineConfig } from 'vitest/config';

const resolve = { conditions: ['source'] };
// Not `import`: vitest hands these to Node, where `require('long')` would then get an ES module and protobufjs lose its 64-bit numbers.
const ssr = { resolve: { conditions: ['source', 'node'] } };

export default defineConfig({
  test: {
    projects: [
      {
        resolve,
        ssr,
        test: {
          name: 'unit',
          include: ['test/unit/**/*.test.ts'],
          // A limit against hanging, not a figure: property tests take seconds on a busy machine.
          testTimeout: 60_000,
          sequence: { groupOrder: 0 },
        },
      },
      {
        resolve,
        ssr,
        test: {
          name: 'contract',
          sequence: { groupOrder: 1 },
          include: ['test/contract/**/*.test.ts'],
          testTimeout: 60_000,
          hookTimeout: 60_000,
          maxWorkers: 2,
        },
      },
      {
        resolve,
        ssr,
        test: {
          name: 'workflows',
          sequence: { groupOrder: 2 },
          include: ['test/workflows/**/*.test.ts', 'test/replay/**/*.test.ts'],
          globalSetup: ['test/support/temporal-setup.ts'],
          testTimeout: 60_000,
          hookTimeout: 120_000,
          // They wait for timers more than they compute.
          maxWorkers: 4,
        },
      },
      {
        resolve,
        ssr,
        test: {
          name: 'acceptance',
          sequence: { groupOrder: 3 },
          include: ['test/acceptance/**/*.test.ts'],
          testTimeout: 300_000,
          hookTimeout: 180_000,
          maxWorkers: 2,
        },
      },
      {
        resolve,
        ssr,
        test: {
          name: 'chaos',
          sequence: { groupOrder: 4 },
          include: ['test/chaos/**/*.test.ts'],
          testTimeout: 600_000,
          hookTimeout: 60_000,
          maxWorkers: 1,
        },
      },
      {
        resolve,
        ssr,
        test: {
          name: 'real',
          // Real Ceph waits as well. Projects of one group have one number of workers.
          sequence: { groupOrder: 2 },
          include: ['test/real/**/*.test.ts'],
          testTimeout: 180_000,
          hookTimeout: 180_000,
          maxWorkers: 4,
          // The kernel ends the daemons of a test file with the process that runs it.
          pool: 'forks',
        },
      },
    ],
  },
});
