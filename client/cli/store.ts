import { answer, clockOf, withSession, withTargetOptions, type TargetOptions } from './context.js';
import type { AddCommands } from './main.js';
import { renderStore } from './render-store.js';

export const addStoreCommands: AddCommands = (program, io) => {
  const store = program.command('store').description('One store: what runs on it and what ran before.');

  withTargetOptions(store.command('show'))
    .description('Show the operation that runs on a store, node by node, and its last operations.')
    .argument('<id>', 'id of the store, e.g. store-014')
    .addHelpText('after', '\nExample:\n  edge store show store-014 --zone Europe/Berlin')
    .action(async (id: string, options: TargetOptions) => {
      const clock = clockOf(io, options);
      await withSession(io, options, async ({ operations }) => {
        const found = await operations.storeView(id);
        answer(io, options, found, renderStore(found, clock));
      });
    });
};
