/** For `vi.waitFor` and `vi.waitUntil`, which give up after a second: a busy machine takes longer for what is sound. */
export const SOON = { timeout: 30_000 };
