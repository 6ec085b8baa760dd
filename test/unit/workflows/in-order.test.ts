import { describe, expect, it } from 'vitest';
import { saidInOrder } from '#workflows/in-order.js';

/** Messages that arrive when the test says so. */
function post() {
  const sent: string[] = [];
  const arrivals: (() => void)[] = [];
  const send = (message: string) => () => {
    sent.push(message);
    return new Promise<void>((resolve) => arrivals.push(resolve));
  };
  const fail = (message: string) => async () => {
    sent.push(message);
    throw new Error('nobody there');
  };
  const settled = () => new Promise<void>((resolve) => setImmediate(resolve));
  return { sent, arrivals, send, fail, settled };
}

describe('what is said to a store', () => {
  it('waits until what was said to it before has arrived; nobody else does', async () => {
    const { sent, arrivals, send, settled } = post();
    const said = saidInOrder(() => true);
    said.say('store-001', send('pause'));
    said.say('store-001', send('resume'));
    said.say('store-002', send('pause'));
    await settled();
    expect(sent).toEqual(['pause', 'pause']);
    arrivals[0]?.();
    await settled();
    expect(sent).toEqual(['pause', 'pause', 'resume']);
  });

  it('goes out also when what was said before found nobody', async () => {
    const { sent, send, fail, settled } = post();
    const said = saidInOrder(() => true);
    said.say('store-001', fail('make way'));
    said.say('store-001', send('taken'));
    await settled();
    expect(sent).toEqual(['make way', 'taken']);
  });

  it('goes out at once in runs from before, which end when all has arrived', async () => {
    const { sent, arrivals, send, settled } = post();
    const said = saidInOrder(() => false);
    said.say('store-001', send('make way'));
    said.say('store-001', send('taken'));
    expect(sent).toEqual(['make way', 'taken']);
    let over = false;
    void said.arrived().then(() => {
      over = true;
    });
    arrivals[1]?.();
    await settled();
    expect(over).toBe(false);
    arrivals[0]?.();
    await settled();
    expect(over).toBe(true);
  });
});
