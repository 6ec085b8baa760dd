import { describe, expect, it } from 'vitest';
import { renderVersions } from '#client/cli/render-versions.js';
import { whyNothingMoves, type ControlVersions } from '#client/control-versions.js';

const versions = (change: Partial<Extract<ControlVersions, { kind: 'supported' }>>): ControlVersions => ({
  kind: 'supported',
  current: undefined,
  polling: [],
  unversioned: false,
  ...change,
});

describe('whyNothingMoves', () => {
  const well: Record<string, ControlVersions> = {
    'nothing, when the current build polls': versions({ current: 'b2', polling: ['b2'] }),
    'nothing, when another build polls beside it': versions({ current: 'b1', polling: ['b1', 'b2'] }),
    'nothing, when no build is current and a worker without one polls': versions({ unversioned: true }),
    'nothing, on a server that has no versions': { kind: 'unsupported' },
  };
  it.each(Object.entries(well))('says %s', (_sentence, facts) => expect(whyNothingMoves(facts)).toBeUndefined());

  const stalled: Record<string, [facts: ControlVersions, text: string, remedy: string]> = {
    'that only a build polls that is not current': [
      versions({ current: 'b1', polling: ['b2'] }),
      'Workflows stand still: build b1 is current and only build b2 polls.',
      'edge workers make-current b2',
    ],
    'that no build was ever made current': [
      versions({ polling: ['b2'] }),
      'Workflows stand still: no build is current and only build b2 polls.',
      'edge workers make-current b2',
    ],
    'that people have to choose between builds': [
      versions({ polling: ['b2', 'b3'] }),
      'Workflows stand still: no build is current and only build b2 and build b3 poll.',
      'edge workers make-current BUILD',
    ],
    'that a worker without a version gets nothing beside a current build': [
      versions({ current: 'b1', unversioned: true }),
      'Workflows stand still: build b1 is current and only one without a version polls.',
      'Start the control worker of build b1.',
    ],
    'that nobody polls': [
      versions({ current: 'b1' }),
      'Workflows stand still: build b1 is current and no control worker polls.',
      'Start the control worker of build b1.',
    ],
  };
  it.each(Object.entries(stalled))('says %s', (_sentence, [facts, text, remedy]) =>
    expect(whyNothingMoves(facts)).toEqual({ text, remedy }),
  );
});

describe('renderVersions', () => {
  it('names each build, what it is and whether it polls, and then what is wrong', () => {
    expect(renderVersions(versions({ current: 'b1', polling: ['b2'] }))).toEqual([
      'b1  current  does not poll',
      'b2  waits    polls',
      'Workflows stand still: build b1 is current and only build b2 polls. edge workers make-current b2',
    ]);
  });
});
