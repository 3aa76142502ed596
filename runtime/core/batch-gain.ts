/** Times of runs of one model by the size of their batch, to decide whether batches pay. */
export interface BatchTime {
  readonly batchSize: number;
  /** Of one run, the shortest of a few: what else the machine does only makes them longer. */
  readonly runMs: number;
}

/** Handing a run to its thread and back takes 31 µs (engine/transfer.ts), saved for each request that goes with another. */
const HANDOVER_MS = 0.03;
/** An allowance for putting a request's tensors in and taking its own out: both take well below 1 µs for small ones. */
const JOIN_MS = 0.003;
/** Below this the first request of a batch waits for the others' work, and the throughput hardly grows. */
const LEAST_GAIN = 1.3;
/** Larger batches keep those waiting that come next; the last tenth of the throughput is not worth that. */
const ENOUGH_OF_THE_BEST = 0.9;
/** Twice the rows and no more throughput: still larger ones only take longer. */
const LEAST_STEP_GAIN = 1.05;
/** Whoever comes while a batch runs waits for it. */
export const LONGEST_RUN_MS = 100;
export const LARGEST_BATCH = 64;

/** Rows that are done in a ms. */
function throughput({ batchSize, runMs }: BatchTime): number {
  return batchSize / (runMs + HANDOVER_MS + (batchSize > 1 ? batchSize * JOIN_MS : 0));
}

/**
 * The size of the batch to try next: twice the last one, as long as it paid and a run stays short.
 *
 * @param times ascending, a batch of 1 first.
 * @returns undefined when enough is known.
 */
export function nextBatchSize(times: readonly BatchTime[]): number | undefined {
  const last = times.at(-1);
  if (last === undefined) return 1;
  const before = times.at(-2);
  // A quick run is mostly the way to its thread and back; the first steps of a larger one may gain little.
  const paid = before === undefined || throughput(last) >= throughput(before) * LEAST_STEP_GAIN;
  const next = last.batchSize * 2;
  return paid && next <= LARGEST_BATCH && last.runMs * 2 <= LONGEST_RUN_MS ? next : undefined;
}

/**
 * The smallest batch that gives nine tenths of the best throughput, where that is a gain at all.
 *
 * A batch may fill to any size up to it, which pays less than a full one but not less than none: throughput grew with
 * each size that was tried before the best.
 *
 * @returns undefined when batches don't pay.
 */
export function gainfulBatchSize(times: readonly BatchTime[]): number | undefined {
  const [alone] = times;
  if (alone === undefined) return undefined;
  const best = Math.max(...times.map(throughput));
  if (best < throughput(alone) * LEAST_GAIN) return undefined;
  return times.find((time) => throughput(time) >= best * ENOUGH_OF_THE_BEST)?.batchSize;
}
