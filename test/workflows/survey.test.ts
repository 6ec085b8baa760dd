import { ApplicationFailure } from '@temporalio/common';
import { describe, expect, it } from 'vitest';
import type { SurveyInput, SurveyTask } from '#domain/messages/survey.js';
import { KERNEL, PACKAGES } from '../support/builders.js';
import { aSurvey, storeNames } from '../support/workflow-builders.js';
import { useWorld } from '../support/use-world.js';

describe('a survey', () => {
  it('asks each store what the release would do there, and nothing else', async () => {
    const world = await useWorld();
    const asked: SurveyTask[] = [];
    const first = await world.store('s001', {
      surveyStore: async (task) => {
        asked.push(task);
        return { release: '2026.47.0', packages: 7, reboots: 3, guestsMoved: 2 };
      },
    });
    await world.store('s002');
    expect(await (await world.startSurvey(aSurvey(['s001', 's002']))).result()).toEqual([
      { kind: 'answered', store: 's001', release: '2026.47.0', packages: 7, reboots: 3, guestsMoved: 2 },
      { kind: 'answered', store: 's002', packages: 2, reboots: 3, guestsMoved: 1 },
    ]);
    expect(asked).toEqual([
      {
        protocol: 1,
        store: 's001',
        fleet: 'acme',
        nodes: ['n1', 'n2', 'n3'],
        wanted: { packages: PACKAGES, kernel: KERNEL },
      },
    ]);
    expect(first.calls).toEqual(['surveyStore']);
  });

  it('waits for no silent store, and names one that cannot say', async () => {
    const world = await useWorld();
    await world.store('s002', {
      surveyStore: async () => {
        throw ApplicationFailure.nonRetryable('The task is for s003.');
      },
    });
    expect(await (await world.startSurvey(aSurvey(['s001', 's002']))).result()).toEqual([
      { kind: 'offline', store: 's001' },
      { kind: 'failed', store: 's002', why: 'The task is for s003.' },
    ]);
  });

  it('asks a fleet of more than 250 stores in parts, and gives one answer', async () => {
    const world = await useWorld();
    await world.store('s252');
    const found = await (await world.startSurvey(aSurvey(storeNames(252), { offlineAfter: 300 }))).result();
    expect(found).toHaveLength(252);
    expect(found.filter(({ kind }) => kind === 'offline')).toHaveLength(251);
    expect(found.at(-1)).toMatchObject({ kind: 'answered', store: 's252' });
  });

  it('refuses an input that is not one, with every problem by its path', async () => {
    const world = await useWorld();
    const wrong = { ...aSurvey(['s001']), stores: [{ store: '../x', nodes: [] }], kernel: 'x' };
    const survey = await world.startSurvey(wrong as unknown as SurveyInput);
    await expect(survey.result()).rejects.toMatchObject({
      cause: { message: expect.stringMatching(/stores\[0\]\.store: .*stores\[0\]\.nodes: /) as unknown },
    });
  });
});
