import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createWorld, type World, type WorldOptions } from '#lab/world/world.js';
import type { StoreSpecInput } from '#lab/world/specs.js';

/** Fast enough that a whole reboot takes 24 ms. */
export const TEST_SPEED = 10_000;

export function aStoreSpec(changes: Partial<StoreSpecInput> = {}): StoreSpecInput {
  return {
    id: 'store-001',
    nodes: [1, 2, 3].map((n) => ({ name: `n${n}`, address: `127.61.1.${n}`, apiPort: 8006, sshPort: 2222 })),
    guests: [
      { vmid: 101, name: 'pos', kind: 'qemu', role: 'pos' },
      {
        vmid: 102,
        name: 'inventory',
        kind: 'lxc',
        role: 'inventory',
        config: [
          {
            file: 'inventory-api.yaml',
            target: '/etc/edge/inventory.yaml',
            check: ['edge-inventory', '--check', '{file}'],
            reload: ['systemctl', 'reload', 'edge-inventory'],
          },
        ],
      },
      {
        vmid: 103,
        name: 'cache',
        kind: 'lxc',
        role: 'cache',
        config: [
          {
            file: 'varnish-vcl.vcl',
            target: '/etc/varnish/default.vcl',
            check: ['varnishd', '-C', '-f', '{file}'],
            reload: ['systemctl', 'reload', 'varnish'],
          },
        ],
      },
    ],
    ...changes,
  };
}

export interface TestWorld {
  world: World;
  close(): void;
}

export function aWorld(options: Partial<WorldOptions> = {}): TestWorld {
  const stateDir = mkdtempSync(join(tmpdir(), 'edge-lab-'));
  const world = createWorld({ stores: [aStoreSpec()], speed: TEST_SPEED, ...options, stateDir });
  return {
    world,
    close: () => {
      world.close();
      rmSync(stateDir, { recursive: true, force: true });
    },
  };
}

/** Waits until the condition holds; fails with its name after ten seconds. */
export async function until(name: string, holds: () => boolean | Promise<boolean>): Promise<void> {
  const deadline = Date.now() + 10_000;
  while (!(await holds())) {
    if (Date.now() > deadline) throw new Error(`Waited ten seconds in vain until ${name}.`);
    await new Promise((resolve) => setTimeout(resolve, 2));
  }
}
