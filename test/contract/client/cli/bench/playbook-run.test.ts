import { chmod, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, it, onTestFinished, vi } from 'vitest';
import { createPlaybook } from '#client/cli/bench/playbook-run.js';
import { signalProcess } from '#systems/programs/signal.js';
import { isRunning, recordOf, type ProcessRecord } from '#workers/processes.js';
import { SOON } from '../../../../support/soon.js';
import { useTempDir } from '../../../../support/temp-dir.js';

/** Writes its own process id and those of what it starts: one beside it, one that leads a session of its own below. */
const PROGRAM = `#!/bin/sh
sleep 600 &
beside=$!
setsid sh -c 'sleep 600 & echo $$ $! >"$0.deep"; wait' "$PIDS" &
while ! [ -s "$PIDS.deep" ]; do sleep 0.05; done
echo $$ $beside $(cat "$PIDS.deep") >"$PIDS"
wait
`;

describe('a playbook', () => {
  const tempDir = useTempDir();

  /** A playbook whose program is a script. */
  const given = async (script: string) => {
    const dir = await tempDir();
    const program = join(dir, 'ansible-playbook');
    await writeFile(program, script.replaceAll('$PIDS', join(dir, 'pids')));
    await chmod(program, 0o755);
    const log = join(dir, 'log');
    const playbook = createPlaybook({ programs: dir, dir, inventory: 'none', log, env: process.env });
    return { playbook, pids: join(dir, 'pids'), log };
  };

  it('is killed with all that it started, also what left its process group', async () => {
    const { playbook, pids } = await given(PROGRAM);
    const run = playbook.run({}, 1);
    const records = await vi.waitFor(async (): Promise<ProcessRecord[]> => {
      const found = (await readFile(pids, 'utf8')).trim().split(' ').map(Number);
      expect(found).toHaveLength(4);
      return found.map(recordOf);
    }, SOON);
    onTestFinished(() => {
      for (const record of records) if (isRunning(record)) signalProcess(record.pid, 'SIGKILL');
    });
    expect(records.map(isRunning)).toEqual([true, true, true, true]);
    expect(playbook.kill()).toBe(true);
    expect(await run).toEqual({ code: 137, cpuSeconds: undefined });
    await vi.waitFor(() => expect(records.map(isRunning)).toEqual([false, false, false, false]), SOON);
    expect(playbook.kill()).toBe(false);
  });

  it('ends with the code of the program, and tells its CPU time', async () => {
    const { playbook, log } = await given('#!/bin/sh\necho "$@"\nexit 4\n');
    expect(await playbook.run({ stage: 'stage_canary' }, 7)).toMatchObject({
      code: 4,
      cpuSeconds: expect.any(Number) as number,
    });
    expect(await readFile(log, 'utf8')).toContain('--forks 7 --extra-vars {"stage":"stage_canary"}');
  });
});
