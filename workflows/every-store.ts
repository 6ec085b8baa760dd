/** Stores that are looked at in the same moment. */
const LANES = 20;

/** Looks at one store after another, in so many lanes. For looks only: what changes a store goes through a wave. */
export async function everyStore<T>(stores: readonly T[], look: (store: T) => Promise<void>): Promise<void> {
  const waiting = [...stores];
  const lane = async () => {
    for (let store = waiting.shift(); store !== undefined; store = waiting.shift()) await look(store);
  };
  await Promise.all(Array.from({ length: LANES }, lane));
}
