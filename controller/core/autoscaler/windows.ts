import { BUCKET_MS } from './spec.ts';

/**
 * A ring of one-second buckets, each with the integral of the load in that second (request-seconds, or
 * requests). Same averages as KPA's `TimedFloat64Buckets` when a sample fills a whole second; a sample
 * that covers less or more is shared out among the seconds that it touches.
 */
export interface LoadWindow {
  /** By second modulo length; length = seconds of the window. */
  readonly buckets: readonly number[];
  /** From the start of the first sample to the end of the last; `undefined` before there is one. */
  readonly covered: Span | undefined;
}

interface Span {
  readonly firstMs: number;
  readonly lastMs: number;
}

/** One value that held on average over `[endMs - intervalMs, endMs]`. */
export interface WindowSample {
  readonly endMs: number;
  readonly intervalMs: number;
  readonly value: number;
}

export interface Average {
  readonly value: number;
  /** How much of the window has been filled. */
  readonly overMs: number;
}

/** KPA's averages carry six digits, cut off: 0.1 + 0.2 = 0.30000000000000004 must not cost a replica. */
const PRECISION = 1e6;

export function emptyWindow(bucketCount: number): LoadWindow {
  return { buckets: zeros(bucketCount), covered: undefined };
}

/**
 * Adds samples. Seconds between two samples are zeros. When a whole window has passed without any, it
 * starts anew, and the average is over what has come since. What is older than the window is dropped.
 */
export function record(window: LoadWindow, samples: readonly WindowSample[]): LoadWindow {
  if (samples.length === 0) return window;
  const buckets = [...window.buckets];
  let covered = window.covered;
  for (const sample of samples) {
    // A sample without length has no integral.
    if (sample.endMs - sample.intervalMs < sample.endMs) covered = add(buckets, covered, sample);
  }
  return { buckets, covered };
}

function add(buckets: number[], covered: Span | undefined, sample: WindowSample): Span {
  const size = buckets.length;
  const endMs = sample.endMs;
  const lastBucket = bucketBefore(endMs);
  // Only the newest window's worth can ever count, whatever interval a sample claims.
  const startMs = Math.max(endMs - sample.intervalMs, (lastBucket - size + 1) * BUCKET_MS);
  let span = covered;
  if (span === undefined || bucketOf(startMs) - bucketBefore(span.lastMs) >= size) {
    buckets.fill(0);
    span = { firstMs: startMs, lastMs: endMs };
  } else {
    // Buckets that come into the window now still hold what they had one turn of the ring ago.
    for (let bucket = bucketBefore(span.lastMs) + 1; bucket <= lastBucket; bucket++) {
      buckets[slot(bucket, size)] = 0;
    }
    span = { firstMs: span.firstMs, lastMs: Math.max(span.lastMs, endMs) };
  }
  const oldest = bucketBefore(span.lastMs) - size + 1;
  if (lastBucket < oldest) return span;
  for (let bucket = Math.max(bucketOf(startMs), oldest); bucket <= lastBucket; bucket++) {
    const from = Math.max(startMs, bucket * BUCKET_MS);
    const to = Math.min(endMs, (bucket + 1) * BUCKET_MS);
    const at = slot(bucket, size);
    buckets[at] = (buckets[at] ?? 0) + (sample.value * (to - from)) / 1000;
  }
  return { firstMs: Math.min(span.firstMs, startMs), lastMs: span.lastMs };
}

/**
 * The average over the part of the window that has been filled; `undefined` when nothing has come for a
 * whole window: that is "don't know", not 0. After 10 samples of 6 in a 60 s window it is 6, not 1.
 */
export function average(window: LoadWindow, nowMs: number): Average | undefined {
  const { buckets, covered } = window;
  if (covered === undefined) return undefined;
  const size = buckets.length;
  const newest = bucketBefore(covered.lastMs);
  const end = Math.max(newest, bucketBefore(nowMs));
  if (end - newest >= size) return undefined;
  const startMs = Math.max(covered.firstMs, (end - size + 1) * BUCKET_MS);
  let total = 0;
  for (let bucket = bucketOf(startMs); bucket <= newest; bucket++) total += buckets[slot(bucket, size)] ?? 0;
  const overMs = covered.lastMs - startMs;
  return { value: Math.floor(((total * 1000) / overMs) * PRECISION) / PRECISION, overMs };
}

/** The same data in a window of another length: a longer one keeps all, a shorter one the newest. */
export function resize(window: LoadWindow, bucketCount: number): LoadWindow {
  const { buckets, covered } = window;
  if (buckets.length === bucketCount) return window;
  if (covered === undefined) return emptyWindow(bucketCount);
  const resized = zeros(bucketCount);
  const newest = bucketBefore(covered.lastMs);
  const oldest = newest - Math.min(bucketCount, buckets.length) + 1;
  for (let bucket = oldest; bucket <= newest; bucket++) {
    resized[slot(bucket, bucketCount)] = buckets[slot(bucket, buckets.length)] ?? 0;
  }
  return {
    buckets: resized,
    covered: { firstMs: Math.max(covered.firstMs, oldest * BUCKET_MS), lastMs: covered.lastMs },
  };
}

function bucketOf(ms: number): number {
  return Math.floor(ms / BUCKET_MS);
}

/** The bucket of the last instant before `ms`: a sample that ends at 11,000 ms belongs to second 10. */
function bucketBefore(ms: number): number {
  return Math.ceil(ms / BUCKET_MS) - 1;
}

function zeros(count: number): number[] {
  return Array.from({ length: count }, () => 0);
}

function slot(bucket: number, size: number): number {
  return ((bucket % size) + size) % size;
}
