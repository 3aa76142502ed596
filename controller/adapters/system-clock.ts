import type { Clock } from '../ports.ts';

/** Epoch ms with fractions, as wall clock and yet monotonic within the process. */
export const systemClock: Clock = {
  nowMs: () => performance.timeOrigin + performance.now(),
  after: (delayMs, callback) => {
    const timer = setTimeout(callback, delayMs);
    return () => clearTimeout(timer);
  },
};
