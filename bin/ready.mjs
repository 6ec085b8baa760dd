/** Set-up alone: for tools that need dist/ as the sources are now, and then start something of their own. */
import { enter, ready } from './lib/ready.mjs';

await enter(async () => {
  await ready();
  return 0;
});
