#!/usr/bin/env node
import { enter, ready } from './lib/ready.mjs';

process.setSourceMapsEnabled(true);
await enter(async () => {
  await ready();
  const { main } = await import('../dist/client/cli/main.js');
  return main(process.argv.slice(2));
});
