import type { ByteRange } from './storage-types.ts';

/**
 * A set of bytes as sorted, disjoint, non-adjacent ranges. Values are never changed in place.
 */
export type ByteRanges = readonly ByteRange[];

/** `ranges` with [first, last] added. */
export function addRange(ranges: ByteRanges, added: ByteRange): ByteRanges {
  if (added.last < added.first) return ranges;
  let { first, last } = added;
  const before: ByteRange[] = [];
  const after: ByteRange[] = [];
  for (const range of ranges) {
    if (range.last + 1 < first) before.push(range);
    else if (range.first > last + 1) after.push(range);
    else {
      first = Math.min(first, range.first);
      last = Math.max(last, range.last);
    }
  }
  return [...before, { first, last }, ...after];
}

/** What of [0, sizeBytes) is not in `ranges`. */
export function missingRanges(ranges: ByteRanges, sizeBytes: number): ByteRange[] {
  const missing: ByteRange[] = [];
  let next = 0;
  for (const { first, last } of ranges) {
    if (first > next) missing.push({ first: next, last: Math.min(first, sizeBytes) - 1 });
    next = Math.max(next, last + 1);
    if (next >= sizeBytes) break;
  }
  if (next < sizeBytes) missing.push({ first: next, last: sizeBytes - 1 });
  return missing;
}

/** Number of bytes in `ranges`. */
export function countBytes(ranges: ByteRanges): number {
  return ranges.reduce((sum, { first, last }) => sum + last - first + 1, 0);
}

/**
 * The next chunk to ask for: the first missing bytes that nobody is fetching, at most `chunkBytes` of them.
 * Undefined when everything is there or on its way.
 */
export function nextChunk(
  done: ByteRanges,
  inFlight: readonly ByteRange[],
  sizeBytes: number,
  chunkBytes: number,
): ByteRange | undefined {
  let taken = done;
  for (const range of inFlight) taken = addRange(taken, range);
  const gap = missingRanges(taken, sizeBytes)[0];
  return gap && { first: gap.first, last: Math.min(gap.last, gap.first + chunkBytes - 1) };
}

const MIN_CHUNK_BYTES = 1024 ** 2;
const MAX_CHUNK_BYTES = 64 * 1024 ** 2;
export const FIRST_CHUNK_BYTES = 8 * 1024 ** 2;
const TARGET_CHUNK_MS = 1_000;

/**
 * Chunk size after one that took `elapsedMs`: towards a second each, at most doubled or halved, within 1 to
 * 64 MiB, and never so large that the other `ranges - 1` connections would have nothing left to do. At 500 MB/s
 * that is 64 MiB, at 2 MB/s 2 MiB, so that a broken connection costs little.
 */
export function adaptChunkBytes(
  chunkBytes: number,
  measured: { bytes: number; elapsedMs: number },
  rest: { remainingBytes: number; ranges: number },
): number {
  const fitting = (measured.bytes * TARGET_CHUNK_MS) / Math.max(1, measured.elapsedMs);
  const stepped = Math.min(chunkBytes * 2, Math.max(chunkBytes / 2, fitting));
  const shared = Math.ceil(rest.remainingBytes / Math.max(1, rest.ranges));
  return Math.max(MIN_CHUNK_BYTES, Math.floor(Math.min(MAX_CHUNK_BYTES, stepped, shared)));
}
