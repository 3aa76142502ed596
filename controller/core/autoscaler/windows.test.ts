import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { LoadWindow, WindowSample } from './windows.ts';
import { average, emptyWindow, record, resize } from './windows.ts';

const second = (endS: number, value: number): WindowSample => ({
  endMs: endS * 1000,
  intervalMs: 1000,
  value,
});
const valueAt = (window: LoadWindow, nowS: number): number | undefined => average(window, nowS * 1000)?.value;

describe('a window of load', () => {
  it('knows nothing before the first sample, which is not the same as 0', () => {
    expect(average(emptyWindow(60), 1000)).toBeUndefined();
    expect(valueAt(record(emptyWindow(60), [second(1, 0)]), 1)).toBe(0);
  });

  it('averages over the seconds that are filled, not over the whole window', () => {
    const window = record(
      emptyWindow(60),
      [1, 2, 3, 4].map((at) => second(at, 6)),
    );
    expect(average(window, 4000)).toEqual({ value: 6, overMs: 4000 });
  });

  it('counts seconds between two samples as 0', () => {
    // 6 in second 1, 6 in second 4: 12 over 4 seconds.
    expect(valueAt(record(emptyWindow(60), [second(1, 6), second(4, 6)]), 4)).toBe(3);
  });

  it('lets old seconds scroll out: 4 scrolls out, drops to 3', () => {
    let window = record(emptyWindow(3), [second(1, 4), second(2, 3), second(3, 3)]);
    expect(valueAt(window, 3)).toBe(3.333333);
    window = record(window, [second(4, 3)]);
    expect(valueAt(window, 4)).toBe(3);
  });

  it('drops what scrolls out while nothing comes in, and divides by what is left', () => {
    const window = record(emptyWindow(3), [second(1, 9), second(2, 3), second(3, 3)]);
    // At second 4 the window is 2..4, of which 2 and 3 are filled.
    expect(valueAt(window, 4)).toBe(3);
    expect(valueAt(window, 5)).toBe(3);
  });

  it('does not know any more when a whole window has passed without a sample', () => {
    const window = record(emptyWindow(3), [second(1, 9)]);
    expect(valueAt(window, 3)).toBe(9);
    expect(valueAt(window, 4)).toBeUndefined();
  });

  it('starts anew after a whole window of silence: what was before does not water down what comes', () => {
    const before = record(emptyWindow(3), [second(1, 0), second(2, 0), second(3, 0)]);
    expect(average(record(before, [second(100, 8)]), 100_000)).toEqual({ value: 8, overMs: 1000 });
  });

  it('counts a request that begins and ends within one interval', () => {
    // 20 ms of work in 2 s is 0.01 at once; over 10 s of which 8 are idle 0.002.
    const burst = { endMs: 2000, intervalMs: 2000, value: 0.01 };
    expect(valueAt(record(emptyWindow(10), [burst, { ...second(10, 0), intervalMs: 8000 }]), 10)).toBe(0.002);
  });

  it('shares a sample out among the seconds that it covers', () => {
    // 4 at once from 0.5 s to 2.5 s: 2, 4, 2 request-seconds; over the 2 s covered it is 4.
    const window = record(emptyWindow(10), [{ endMs: 2500, intervalMs: 2000, value: 4 }]);
    expect(window.buckets.slice(0, 3)).toEqual([2, 4, 2]);
    expect(average(window, 2500)).toEqual({ value: 4, overMs: 2000 });
  });

  it('gives a burst of 100 ms its full height', () => {
    expect(valueAt(record(emptyWindow(60), [{ endMs: 5100, intervalMs: 100, value: 50 }]), 5.1)).toBe(50);
  });

  it('adds up samples of several sources over the same time', () => {
    expect(valueAt(record(emptyWindow(6), [second(1, 2), second(1, 3)]), 1)).toBe(5);
  });

  it('takes a late sample into its own second and drops one that is older than the window', () => {
    const window = record(emptyWindow(3), [second(10, 3), second(9, 6), second(2, 1000)]);
    expect(average(window, 10_000)).toEqual({ value: 4.5, overMs: 2000 });
  });

  it('ignores a sample without length', () => {
    const window = emptyWindow(3);
    expect(record(window, [{ endMs: 1000, intervalMs: 0, value: 7 }]).covered).toBeUndefined();
  });

  it('takes no more than its own length of a sample that claims to cover a year', () => {
    const window = record(emptyWindow(60), [{ endMs: 4e10, intervalMs: 3.2e10, value: 2 }]);
    expect(average(window, 4e10)).toEqual({ value: 2, overMs: 60_000 });
  });

  it('does not let rounding in binary fractions cost a replica', () => {
    const window = record(emptyWindow(6), [second(1, 0.1), second(1, 0.2)]);
    expect(valueAt(window, 1)).toBe(0.3);
  });

  it('keeps the newest seconds when it is made shorter, all when longer', () => {
    const window = record(
      emptyWindow(4),
      [1, 2, 3, 4].map((at) => second(at, at)),
    );
    expect(valueAt(resize(window, 2), 4)).toBe(3.5);
    expect(valueAt(resize(window, 9), 4)).toBe(2.5);
    expect(valueAt(resize(resize(window, 2), 9), 4)).toBe(3.5);
  });
});

describe('against KPA written down naively', () => {
  /** KPA's `TimedFloat64Buckets`, one value a whole second, from its description. */
  function kpaAverage(values: ReadonlyMap<number, number>, size: number, now: number): number | undefined {
    let first: number | undefined;
    let last: number | undefined;
    for (const at of [...values.keys()].toSorted((a, b) => a - b)) {
      if (last === undefined || at - last >= size) first = at;
      last = at;
    }
    if (first === undefined || last === undefined || now - last >= size) return undefined;
    let total = 0;
    for (let at = Math.max(first, now - size + 1); at <= last; at++) total += values.get(at) ?? 0;
    return Math.floor((total / Math.min(last - first + 1, size - (now - last))) * 1e6) / 1e6;
  }

  it('gives the same averages for any whole-second samples, gaps and all', () => {
    fc.assert(
      fc.property(
        fc.integer({ min: 1, max: 20 }),
        fc.uniqueArray(fc.integer({ min: 0, max: 80 }), { maxLength: 40 }),
        fc.infiniteStream(fc.integer({ min: 0, max: 64 })),
        fc.integer({ min: 0, max: 25 }),
        (size, unsorted, loads, later) => {
          const values = new Map<number, number>();
          let window = emptyWindow(size);
          for (const at of unsorted.toSorted((a, b) => a - b)) {
            const value = loads.next().value as number;
            values.set(at, value);
            window = record(window, [second(at + 1, value)]);
            expect(valueAt(window, at + 1)).toBe(kpaAverage(values, size, at));
          }
          const now = Math.max(0, ...unsorted) + later;
          expect(valueAt(window, now + 1)).toBe(kpaAverage(values, size, now));
        },
      ),
    );
  });

  it('never grows, never gives a negative or endless average, and stays between least and most', () => {
    const sample = fc.record({
      endMs: fc.integer({ min: -10_000, max: 1e6 }),
      intervalMs: fc.double({ min: 0, max: 1e5, noNaN: true }),
      value: fc.double({ min: 0, max: 1e6, noNaN: true }),
    });
    fc.assert(
      fc.property(fc.array(fc.array(sample)), fc.integer({ min: -10_000, max: 1e6 }), (batches, nowMs) => {
        let window = emptyWindow(7);
        for (const batch of batches) window = record(window, batch);
        expect(window.buckets.length).toBe(7);
        const found = average(window, nowMs);
        if (found === undefined) return;
        expect(found.value).toBeGreaterThanOrEqual(0);
        expect(found.overMs).toBeGreaterThan(0);
        expect(found.overMs).toBeLessThanOrEqual(7000);
      }),
    );
  });
});
