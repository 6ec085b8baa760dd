import { type StdioOptions, spawn } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { beforeAll, describe, expect, it } from 'vitest';
import { ROOT, buildOnce } from '../../support/build.js';

const MODULE = JSON.stringify(join(ROOT, 'dist', 'workers', 'exit-with-parent.js'));

describe('exitWithParent', () => {
  beforeAll(buildOnce, 120_000);

  /** A process that says what it is told, and ends by itself when `ends` is given. */
  function aProcess(stdin: 'pipe' | 'ignore', then: string) {
    const program = `import { exitWithParent } from ${MODULE}; exitWithParent(() => { console.log('gone'); process.exit(7); }); ${then}`;
    const stdio: StdioOptions = [stdin, 'pipe', 'inherit'];
    return spawn(process.execPath, ['--input-type=module', '-e', program], { stdio });
  }

  it('tells when the other end of stdin closes', async () => {
    const child = aProcess('pipe', `console.log('up'); setInterval(() => {}, 1000);`);
    await once(child.stdout!, 'data');
    child.stdin!.end();
    expect((await once(child, 'exit'))[0]).toBe(7);
  });

  it('takes no notice of a stdin that is nobody’s lifeline', async () => {
    const child = aProcess('ignore', `setTimeout(() => process.exit(3), 200);`);
    expect((await once(child, 'exit'))[0]).toBe(3);
  });

  it('does not keep a process alive that has nothing else to do', async () => {
    const child = aProcess('pipe', '');
    expect((await once(child, 'exit'))[0]).toBe(0);
  });
});
