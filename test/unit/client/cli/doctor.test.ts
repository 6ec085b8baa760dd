import { describe, expect, it, onTestFinished, vi } from 'vitest';
import { binaryFinding, nodeFinding } from '#client/cli/doctor.js';
import { renderDoctor } from '#client/cli/render-doctor.js';

describe('the version of Node', () => {
  const cases: Record<string, 'ok' | 'problem'> = {
    '20.20.0': 'ok',
    '20.19.9': 'problem',
    '21.7.3': 'problem',
    '22.11.0': 'problem',
    '22.12.0': 'ok',
    '24.1.0': 'ok',
    '18.20.4': 'problem',
  };
  for (const [version, state] of Object.entries(cases)) {
    it(`${version} is ${state === 'ok' ? 'taken' : 'refused'}`, () => expect(nodeFinding(version).state).toBe(state));
  }
});

describe('the Temporal binary', () => {
  it('that is named and does not run is a problem: `edge up` takes no other', async () => {
    expect(await binaryFinding('/nowhere/temporal')).toMatchObject({
      state: 'problem',
      text: '/nowhere/temporal, which TEMPORAL_CLI names, does not run here.',
    });
  });

  it('need not be on the PATH', async () => {
    vi.stubEnv('PATH', '/nowhere');
    onTestFinished(() => void vi.unstubAllEnvs());
    expect(await binaryFinding(undefined)).toMatchObject({ state: 'warning', text: 'temporal is not on the PATH.' });
  });
});

describe('renderDoctor', () => {
  it('says the remedy of what is not well, and nothing more of what is', () => {
    expect(
      renderDoctor([
        { name: 'git', state: 'ok', text: 'git version 2.39.5.', remedy: 'Install git.' },
        { name: 'ledger', state: 'warning', text: 'No database is named.', remedy: 'Set EDGE_DATABASE_URL.' },
        { name: 'Temporal', state: 'problem', text: 'Cannot reach it\u001b[2J.' },
      ]),
    ).toEqual([
      'ok       git       git version 2.39.5.',
      'note     ledger    No database is named. Set EDGE_DATABASE_URL.',
      'PROBLEM  Temporal  Cannot reach it.',
      '1 problem.',
    ]);
  });
});
