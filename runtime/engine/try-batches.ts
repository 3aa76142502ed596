import { type BatchTime, gainfulBatchSize, nextBatchSize } from '../core/batch-gain.ts';
import { areClose } from '../core/close-tensors.ts';
import { splitTensors } from '../core/tensor-batch.ts';
import type { Instance } from './instance.ts';
import { type InputShape, rowBytes, trialInputs } from './trial-inputs.ts';

export type TrialVerdict =
  | { kind: 'gain'; maxBatchSize: number; times: readonly BatchTime[] }
  | { kind: 'none'; reason: string; times: readonly BatchTime[] };

/** Of each size; the first one is not counted. */
const RUNS = 4;
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
  const endsMs = performance.now() + BUDGET_MS;
  const none = (reason: string): TrialVerdict => ({ kind: 'none', reason, times });
  try {
    for (let size = nextBatchSize(times); size !== undefined; size = nextBatchSize(times)) {
      if (size * rowBytes(shapes) > MOST_INPUT_BYTES || performance.now() > endsMs) break;
      times.push({ batchSize: size, runMs: await shortestRunMs(instance, shapes, size, signal) });
    }
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
