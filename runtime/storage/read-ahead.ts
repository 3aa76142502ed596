import { readSync } from 'node:fs';
import { type FileHandle, open } from 'node:fs/promises';

/** Below this a first pass over cold pages is short anyway. */
const SMALL_BYTES = 8 * 1024 ** 2;
const BUFFER_BYTES = 4 * 1024 ** 2;
/** In sequence together: one alone leaves a disk idle while it copies, and more find no thread of Node's pool. */
const READERS = 2;
const SAMPLES = 15;
/** One byte from the page cache took 3–20 µs (median 4), from an NVMe disk 31–108 (median 40). */
const RESIDENT_MEDIAN_MS = 0.02;
/** The samples are synchronous, so a slow disk must not hold up the event loop: it has shown itself by then. */
const SAMPLING_MS = 5;

export type ReadAhead =
  | { read: 'nothing'; because: 'small' | 'resident' | 'memory' }
  | { read: 'all'; sizeBytes: number };

/**
 * Brings a file that is about to be mapped into the page cache. 700 MB whose pages had fallen out took 1.2 s to
 * touch through the mapping and 0.4 s to read in sequence; where they are still there, reading would cost 0.3 s
 * for nothing, so a few bytes are sampled first.
 *
 * @param availableBytes memory that the page cache may still take; a file above half of it would push itself out
 */
export async function readAhead(
  path: string,
  availableBytes: number,
  signal: AbortSignal,
): Promise<ReadAhead> {
  const handle = await open(path, 'r');
  try {
    const { size } = await handle.stat();
    if (size < SMALL_BYTES) return { read: 'nothing', because: 'small' };
    if (size > availableBytes / 2) return { read: 'nothing', because: 'memory' };
    if (isResident(sampleLatencies(handle, size))) return { read: 'nothing', because: 'resident' };
    let next = 0;
    const readOn = async (): Promise<void> => {
      const buffer = Buffer.allocUnsafeSlow(BUFFER_BYTES);
      while (next < size) {
        signal.throwIfAborted();
        const position = next;
        next += BUFFER_BYTES;
        await handle.read(buffer, 0, BUFFER_BYTES, position);
      }
    };
    await Promise.all(Array.from({ length: READERS }, readOn));
    return { read: 'all', sizeBytes: size };
  } finally {
    await handle.close();
  }
}

/** True when most of the samples came too fast for a disk. Milliseconds; no sample at all is no proof. */
export function isResident(latenciesMs: readonly number[]): boolean {
  const median = latenciesMs.toSorted((a, b) => a - b)[Math.floor(latenciesMs.length / 2)];
  return median !== undefined && median < RESIDENT_MEDIAN_MS;
}

function sampleLatencies(handle: FileHandle, size: number): number[] {
  const byte = Buffer.allocUnsafe(1);
  const latencies: number[] = [];
  const startedAtMs = performance.now();
  for (let sample = 1; sample <= SAMPLES; sample += 1) {
    const beforeMs = performance.now();
    readSync(handle.fd, byte, 0, 1, Math.floor((size * sample) / (SAMPLES + 1)));
    const nowMs = performance.now();
    latencies.push(nowMs - beforeMs);
    if (nowMs - startedAtMs > SAMPLING_MS) break;
  }
  return latencies;
}
