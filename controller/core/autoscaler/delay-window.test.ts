import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { DelayEntry } from './delay-window.ts';
import { delayedCount, recordDelayed } from './delay-window.ts';

function follow(counts: readonly number[], delayMs: number): number[] {
  let entries: readonly DelayEntry[] = [];
  return counts.map((count, tick) => {
    entries = recordDelayed(entries, count, delayMs, tick * 2000);
    return delayedCount(entries);
  });
}

describe('the scale-down delay', () => {
  it('lets a rise through at once and a fall after 3 ticks of 2 s: 4 scrolls out, drops to 3', () => {
    expect(follow([1, 4, 3, 3, 3, 2], 6_000)).toEqual([1, 4, 4, 4, 3, 3]);
  });

  it('takes the higher of two answers within one tick', () => {
    const first = recordDelayed([], 5, 2_000, 10_000);
    const second = recordDelayed(first, 3, 2_000, 11_999);
    expect(delayedCount(second)).toBe(5);
    expect(delayedCount(recordDelayed(second, 3, 2_000, 12_000))).toBe(3);
  });

  it('rounds the delay up to whole ticks', () => {
    expect(follow([4, 1, 1], 2_001)).toEqual([4, 4, 1]);
  });

  it('is the maximum over the delay, and remembers no more than the ticks in it', () => {
    fc.assert(
      fc.property(
        fc.array(fc.nat(20), { minLength: 1 }),
        fc.integer({ min: 1, max: 12 }),
        (counts, ticks) => {
          const expected = counts.map((_, at) =>
            Math.max(...counts.slice(Math.max(0, at - ticks + 1), at + 1)),
          );
          expect(follow(counts, ticks * 2000)).toEqual(expected);
          let entries: readonly DelayEntry[] = [];
          for (const [tick, count] of counts.entries()) {
            entries = recordDelayed(entries, count, ticks * 2000, tick * 2000);
            expect(entries.length).toBeLessThanOrEqual(ticks);
          }
        },
      ),
    );
  });
});
