import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import { Deadline } from './deadline.ts';
import { Watchdog } from './watchdog.ts';

let watchdog: Watchdog;
beforeEach(() => {
  vi.useFakeTimers();
  watchdog = new Watchdog();
});
afterEach(() => {
  watchdog.stop();
  vi.useRealTimers();
});

test.each([1, 20, 999, 1001, 1700, 60_000])('a deadline in %i ms passes then and not before', (delayMs) => {
  const passed = vi.fn();
  const deadline = new Deadline(watchdog, performance.now() + delayMs, passed);
  vi.advanceTimersByTime(delayMs - 1);
  expect(passed).toHaveBeenCalledTimes(0);
  vi.advanceTimersByTime(2);
  expect(passed).toHaveBeenCalledTimes(1);
  vi.advanceTimersByTime(5000);
  expect(passed).toHaveBeenCalledTimes(1);
  deadline.stop();
});

test.each([20, 60_000])('a deadline in %i ms that is stopped never passes', (delayMs) => {
  const passed = vi.fn();
  new Deadline(watchdog, performance.now() + delayMs, passed).stop();
  vi.advanceTimersByTime(120_000);
  expect(passed).not.toHaveBeenCalled();
});
