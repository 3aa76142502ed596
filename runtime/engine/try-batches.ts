import { type BatchTime, gainfulBatchSize, nextBatchSize } from '../core/batch-gain.ts';
import { areClose } from '../core/close-tensors.ts';
import { splitTensors } from '../core/tensor-batch.ts';
import type { Instance } from './instance.ts';
import { type InputShape, rowBytes, trialInputs } from './trial-inputs.ts';

export type TrialVerdict =
  | { kind: 'gain'; maxBatchSize: number; times: readonly BatchTime[] }
  | { kind: 'none'; reason: string; times: readonly BatchTime[] };

/** Of each size in each round; the first one is not counted. */
const RUNS = 3;
/**
 * Sizes are timed in turn, and then again: what else the machine does for a few ms would be taken for one size's own
 * slowness if its runs came in a row. In single rounds the size chosen for one model varied between 4 and 32; in three
 * and more it is 16 or 32.
 */
const LEAST_ROUNDS = 3;
/** Quick runs are timed oftener: they cost little and vary most. */
const QUICK_ROUNDS = 8;
const QUICK_MS = 150;
/** All runs of a trial together. */
const BUDGET_MS = 1_000;
/** Made-up inputs are written by the main thread: some 2 ms for so much. */
const MOST_INPUT_BYTES = 4 * 1024 ** 2;

/**
 * Runs the model on made-up inputs of a request's own shapes, in growing batches, for as long as they pay; and then
 * once more row by row: a batch counts only where each row of it is what it is alone. Models that reckon over all
 * rows (a dynamic quantisation, a normalisation over the batch) show themselves here.
 *
 * @param instance which nobody waits for.
 */
export async function tryBatches(
  instance: Pick<Instance, 'run'>,
  shapes: readonly InputShape[],
  signal: AbortSignal,
): Promise<TrialVerdict> {
  const times: BatchTime[] = [];
  const none = (reason: string): TrialVerdict => ({ kind: 'none', reason, times });
  try {
    await timeInRounds(instance, shapes, times, signal);
    const maxBatchSize = gainfulBatchSize(times);
    if (maxBatchSize === undefined)
      return none('its runs take as long for each row of a batch as for one alone');
    const isSame = await givesTheSame(instance, shapes, maxBatchSize, signal);
    if (!isSame) return none('a row of a batch is not what it is alone');
    return { kind: 'gain', maxBatchSize, times };
  } catch (error) {
    signal.throwIfAborted();
    return none(
      `it does not run on made-up inputs: ${error instanceof Error ? error.message : String(error)}`,
    );
  }
}

/** @param times filled; each size's shortest run of all rounds. A later round goes on to sizes that an earlier one gave up too soon. */
async function timeInRounds(
  instance: Pick<Instance, 'run'>,
  shapes: readonly InputShape[],
  times: BatchTime[],
  signal: AbortSignal,
): Promise<void> {
  const beganMs = performance.now();
  const tookMs = (): number => performance.now() - beganMs;
  for (let round = 0; round < LEAST_ROUNDS || (round < QUICK_ROUNDS && tookMs() < QUICK_MS); round += 1) {
    for (let index = 0; ; index += 1) {
      const before = times[index];
      const batchSize = before?.batchSize ?? nextBatchSize(times);
      if (batchSize === undefined) break;
      if (batchSize * rowBytes(shapes) > MOST_INPUT_BYTES) break;
      if (tookMs() > BUDGET_MS) return;
      const runMs = await shortestRunMs(instance, shapes, batchSize, signal);
      times[index] = { batchSize, runMs: Math.min(runMs, before?.runMs ?? runMs) };
    }
  }
}

async function shortestRunMs(
  instance: Pick<Instance, 'run'>,
  shapes: readonly InputShape[],
  size: number,
  signal: AbortSignal,
): Promise<number> {
  let shortestMs = Number.POSITIVE_INFINITY;
  for (let run = 0; run < RUNS; run += 1) {
    signal.throwIfAborted();
    const { computeMs } = await instance.run(trialInputs(shapes, size), undefined);
    if (run > 0) shortestMs = Math.min(shortestMs, computeMs);
  }
  return shortestMs;
}

/** The first and the last row, and one in between: neighbours differ. */
async function givesTheSame(
  instance: Pick<Instance, 'run'>,
  shapes: readonly InputShape[],
  size: number,
  signal: AbortSignal,
): Promise<boolean> {
  const { outputs } = await instance.run(trialInputs(shapes, size), undefined);
  const rows = splitTensors(
    outputs,
    Array.from({ length: size }, () => 1),
  );
  if (rows === undefined) return false;
  for (const row of new Set([0, Math.floor(size / 2), size - 1])) {
    signal.throwIfAborted();
    const alone = await instance.run(trialInputs(shapes, 1, row), undefined);
    if (!areClose(alone.outputs, rows[row] ?? [])) return false;
  }
  return true;
}
