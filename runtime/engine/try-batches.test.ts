import fc from 'fast-check';
import { expect, test } from 'vitest';
import { gainfulBatchSize } from '../core/batch-gain.ts';
import type { Tensor } from '../core/tensor.ts';
import type { Instance } from './instance.ts';
import { type TrialVerdict, tryBatches } from './try-batches.ts';

const SHAPES = [{ name: 'x', datatype: 'FP32', shape: [1, 4] }] as const;

/** Answers with its input; how long a run of so many rows took is what `runMs` says. */
function echo(runMs: (rows: number) => number): Pick<Instance, 'run'> & { rows: number[] } {
  const rows: number[] = [];
  return {
    rows,
    run: async (inputs: readonly Tensor[]) => {
      const batchSize = inputs[0]?.shape[0] ?? 0;
      rows.push(batchSize);
      return { outputs: inputs.map((input) => ({ ...input, name: 'y' })), computeMs: runMs(batchSize) };
    },
  };
}

const trial = (runMs: (rows: number) => number): Promise<TrialVerdict> =>
  tryBatches(echo(runMs), SHAPES, new AbortController().signal);

/** 1 ms to read the weights, and little for each row. */
const gaining = (rows: number): number => 1 + rows * 0.02;

/** Runs `from` to `from + length` of a trial take 20 ms longer than they would. */
function disturbed(runMs: (rows: number) => number, from: number, length: number): (rows: number) => number {
  let run = -1;
  return (rows) => {
    run += 1;
    return runMs(rows) + (run >= from && run < from + length ? 20 : 0);
  };
}
const moments = [fc.nat(30), fc.integer({ min: 1, max: 12 })] as const;

test('a machine that was busy with something else for a while does not hide what a model gains', async () => {
  const quiet = await trial(gaining);
  expect(quiet.kind).toBe('gain');
  await fc.assert(
    fc.asyncProperty(...moments, async (from, length) => {
      expect(await trial(disturbed(gaining, from, length))).toEqual(quiet);
    }),
  );
});

test('nor does it make up a gain', async () => {
  await fc.assert(
    fc.asyncProperty(...moments, async (from, length) => {
      const busy = await trial(disturbed((rows) => rows, from, length));
      expect(busy.kind).toBe('none');
    }),
  );
});

test('each size counts with its shortest run, and sizes are timed in turn', async () => {
  const instance = echo((rows) => 40 + rows);
  const verdict = await tryBatches(instance, SHAPES, new AbortController().signal);
  expect(verdict.times).toEqual([
    { batchSize: 1, runMs: 41 },
    { batchSize: 2, runMs: 42 },
    { batchSize: 4, runMs: 44 },
    { batchSize: 8, runMs: 48 },
    { batchSize: 16, runMs: 56 },
  ]);
  expect(verdict).toMatchObject({ kind: 'gain', maxBatchSize: gainfulBatchSize(verdict.times) });
  const turns = instance.rows.filter((rows, index) => rows !== instance.rows[index - 1]);
  expect(turns.slice(0, 7)).toEqual([1, 2, 4, 8, 16, 1, 2]);
});
