/** Milliseconds for which it ran since they were last taken. */
export function stopwatch(runs: boolean) {
  let since = runs ? Date.now() : undefined;
  let sum = 0;
  const watch = {
    run(on: boolean): void {
      if (since !== undefined) sum += Date.now() - since;
      since = on ? Date.now() : undefined;
    },
    hasRun: (): boolean => since !== undefined || sum > 0,
    taken(): number {
      watch.run(since !== undefined);
      const taken = sum;
      sum = 0;
      return taken;
    },
  };
  return watch;
}
