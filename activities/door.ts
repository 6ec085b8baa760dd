import { ApplicationFailure } from '@temporalio/activity';
import type { z } from 'zod';
import { parse } from '#domain/messages/parse.js';

/** Judges a task before anything is done with it. Throws `InvalidInput`, which no retry mends. */
export type Door = <T extends { store: string }>(schema: z.ZodType<T>, raw: unknown) => T;

/** `refuse` says why the worker has nothing to do with a store; undefined when it has. */
export function doorFor(refuse: (store: string) => string | undefined): Door {
  return (schema, raw) => {
    const task = admit(schema, raw);
    const why = refuse(task.store);
    if (why !== undefined) throw misdirected(why);
    return task;
  };
}

/** The door of a worker that everybody may ask. Throws `InvalidInput`. */
export function admit<T>(schema: z.ZodType<T>, raw: unknown): T {
  const parsed = parse(schema, raw);
  if (!parsed.ok) throw misdirected(`The task is not valid. ${parsed.problems.join('; ')}`);
  return parsed.value;
}

/** The door of a store's own worker. */
export const doorOf = (own: string): Door =>
  doorFor((store) => (store === own ? undefined : `The task is for ${store}; this is the worker of ${own}.`));

const misdirected = (message: string) =>
  ApplicationFailure.create({ type: 'InvalidInput', nonRetryable: true, message });
