import { enter, ready } from './lib/ready.mjs';

await enter(async () => {
  await ready({ always: true });
  return 0;
});
