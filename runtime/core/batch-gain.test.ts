import fc from 'fast-check';
import { expect, test } from 'vitest';
import {
  type BatchTime,
  gainfulBatchSize,
  LARGEST_BATCH,
  LONGEST_RUN_MS,
  nextBatchSize,
} from './batch-gain.ts';

/** Tries batches of a model that takes `runMs(size)` until enough is known. */
function trial(runMs: (batchSize: number) => number): { tried: number[]; size: number | undefined } {
  const times: BatchTime[] = [];
  for (let size = nextBatchSize(times); size !== undefined; size = nextBatchSize(times)) {
    times.push({ batchSize: size, runMs: runMs(size) });
  }
  return { tried: times.map(({ batchSize }) => batchSize), size: gainfulBatchSize(times) };
}

test('weights that are read once for a whole batch gain, up to where reckoning counts', () => {
  // 1 ms for the weights, 0.05 ms a row: 64 rows take 4.2 ms instead of 67.
  expect(trial((size) => 1 + 0.05 * size)).toEqual({ tried: [1, 2, 4, 8, 16, 32, 64], size: 64 });
});

test('a run that takes as long for each row as one alone does not', () => {
  expect(trial((size) => 2 * size)).toEqual({ tried: [1, 2], size: undefined });
});

test('a run that is little more than the way to its thread gains', () => {
  expect(trial((size) => 0.002 * size).size).toBeGreaterThanOrEqual(8);
});

test('the smallest batch that gives nearly all of the throughput is taken', () => {
  const { size } = trial((batch) => (batch <= 8 ? 1 : batch / 8));
  expect(size).toBe(8);
});

test('runs that would take too long are not tried', () => {
  expect(trial(() => LONGEST_RUN_MS)).toEqual({ tried: [1], size: undefined });
  expect(trial(() => LONGEST_RUN_MS / 2).tried).toContain(2);
  expect(gainfulBatchSize([])).toBeUndefined();
});

test('whatever the times, the trial ends, and a batch that is chosen was tried and has a higher throughput', () => {
  fc.assert(
    fc.property(
      fc.array(fc.double({ min: 0.001, max: 200, noNaN: true }), { minLength: 10, maxLength: 10 }),
      (ms) => {
        const { tried, size } = trial((batch) => ms[Math.log2(batch)] ?? 1);
        expect(tried.length).toBeLessThanOrEqual(7);
        expect(Math.max(...tried)).toBeLessThanOrEqual(LARGEST_BATCH);
        if (size === undefined) return;
        expect(tried).toContain(size);
        expect(size).toBeGreaterThan(1);
        const runMs = ms[Math.log2(size)] ?? 0;
        expect(size / (runMs + 0.03)).toBeGreaterThan(1 / ((ms[0] ?? 0) + 0.03));
      },
    ),
  );
});
