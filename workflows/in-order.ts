/**
 * Signals from one workflow to another may arrive in another order than they were sent in. What is said to a store here
 * goes out when what was said to it before has arrived: else a pause could come after its end, or a thank-you before
 * the request. Runs from before this was so (`waits` says no) go on as they began.
 */
export function saidInOrder(waits: () => boolean) {
  const onTheirWay = new Map<string, Promise<void>>();
  return {
    /** `send` ends when the message has arrived, or cannot. */
    say(store: string, send: () => Promise<void>): void {
      const before = onTheirWay.get(store);
      const after = before && waits() ? before.then(send) : Promise.all([before, send()]);
      const sent = after
        .catch(() => undefined)
        .then(() => {
          if (onTheirWay.get(store) === sent) onTheirWay.delete(store);
        });
      onTheirWay.set(store, sent);
    },
    /** Ends when all that was said has arrived. */
    async arrived(): Promise<void> {
      if (onTheirWay.size > 0) await Promise.all(onTheirWay.values());
    },
  };
}
