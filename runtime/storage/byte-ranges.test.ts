import fc from 'fast-check';
import { expect, test } from 'vitest';
import {
  adaptChunkBytes,
  addRange,
  type ByteRanges,
  countBytes,
  missingRanges,
  nextChunk,
} from './byte-ranges.ts';

const SIZE = 60;
const range = fc
  .tuple(fc.integer({ min: 0, max: SIZE - 1 }), fc.integer({ min: 0, max: SIZE - 1 }))
  .map(([a, b]) => ({ first: Math.min(a, b), last: Math.max(a, b) }));
const bytesIn = (ranges: ByteRanges) => {
  const bytes = new Set<number>();
  for (const { first, last } of ranges) for (let byte = first; byte <= last; byte += 1) bytes.add(byte);
  return bytes;
};

test('a set of ranges is sorted, disjoint and holds exactly the bytes that were added', () => {
  fc.assert(
    fc.property(fc.array(range), (added) => {
      const ranges = added.reduce(addRange, [] as ByteRanges);
      expect(bytesIn(ranges)).toEqual(bytesIn(added));
      expect(countBytes(ranges)).toBe(bytesIn(added).size);
      for (const [index, { first }] of ranges.entries()) {
        if (index > 0) expect(first).toBeGreaterThan((ranges[index - 1]?.last ?? 0) + 1);
      }
    }),
  );
});

test('what is there and what is missing are the whole file, without overlap', () => {
  fc.assert(
    fc.property(fc.array(range), (added) => {
      const ranges = added.reduce(addRange, [] as ByteRanges);
      const missing = missingRanges(ranges, SIZE);
      expect(countBytes(ranges) + countBytes(missing)).toBe(SIZE);
      expect(missing.reduce(addRange, ranges)).toEqual([{ first: 0, last: SIZE - 1 }]);
    }),
  );
});

test('chunks taken one after the other cover the file, and no byte is fetched twice', () => {
  fc.assert(
    fc.property(fc.array(range), fc.integer({ min: 1, max: 20 }), (added, chunkBytes) => {
      const done = added.reduce(addRange, [] as ByteRanges);
      const taken: { first: number; last: number }[] = [];
      for (;;) {
        const chunk = nextChunk(done, taken, SIZE, chunkBytes);
        if (chunk === undefined) break;
        expect(chunk.last - chunk.first + 1).toBeLessThanOrEqual(chunkBytes);
        taken.push(chunk);
      }
      expect(countBytes(taken)).toBe(SIZE - countBytes(done));
      expect(taken.reduce(addRange, done)).toEqual([{ first: 0, last: SIZE - 1 }]);
    }),
  );
});

test('chunks grow to a second each, at most doubling, and shrink on a slow line', () => {
  const MIB = 1024 ** 2;
  const rest = { remainingBytes: 10_000 * MIB, ranges: 4 };
  expect(adaptChunkBytes(8 * MIB, { bytes: 8 * MIB, elapsedMs: 20 }, rest)).toBe(16 * MIB);
  expect(adaptChunkBytes(64 * MIB, { bytes: 64 * MIB, elapsedMs: 100 }, rest)).toBe(64 * MIB);
  expect(adaptChunkBytes(8 * MIB, { bytes: 8 * MIB, elapsedMs: 4_000 }, rest)).toBe(4 * MIB);
  expect(adaptChunkBytes(1 * MIB, { bytes: MIB, elapsedMs: 60_000 }, rest)).toBe(MIB);
  expect(
    adaptChunkBytes(64 * MIB, { bytes: 64 * MIB, elapsedMs: 1 }, { remainingBytes: 40 * MIB, ranges: 4 }),
  ).toBe(10 * MIB);
});
