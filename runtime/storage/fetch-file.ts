import { createHash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { adaptChunkBytes, FIRST_CHUNK_BYTES, nextChunk } from './byte-ranges.ts';
import { ModelDigestMismatchError, ModelTooLargeError, ModelUnreachableError } from './errors.ts';
import { networkError } from './http-client.ts';
import { PartFile } from './part-file.ts';
import { PrefixDigest } from './prefix-digest.ts';
import { pauseBeforeRetry } from './retry.ts';
import type { ByteRange, ModelSource, RangeBody, StorageLimits, StoredFile } from './storage-types.ts';

export interface FetchFileOptions {
  source: ModelSource;
  file: StoredFile;
  /** Where the bytes go, and where the record of those that are there is kept. */
  destination: { path: string; sidecar: string };
  limits: StorageLimits;
  signal: AbortSignal;
  /** Lower-case hex; taken of the bytes on disk while they arrive, and checked before this returns. */
  sha256?: string | undefined;
  /** Bytes of this file that are on disk, what an earlier try left included. */
  onProgress?: ((bytesDone: number) => void) | undefined;
  /** Bytes that are on disk without a gap from the start. Not checked yet: the digest may still be wrong. */
  onPrefix?: ((prefixBytes: number) => void) | undefined;
  random?: () => number;
}

/** The server turned out to ignore ranges; carries its answer, which is the whole file. */
class WholeFileAnswer extends Error {
  readonly answer: RangeBody;
  constructor(answer: RangeBody) {
    super('whole file instead of a range');
    this.answer = answer;
  }
}

const WRITE_BYTES = 1024 ** 2;
/** Less than this before a connection breaks is no progress: a server that sends a byte at a time would never end. */
const PROGRESS_BYTES = 64 * 1024;

/**
 * Fetches one file: several ranges at once, each failure retried from the byte that it reached, resumed where
 * an earlier process stopped, one plain stream where the server knows no ranges. Returns once all bytes are on
 * disk, their number checked and their digest where one is given. Leaves a part file that the next call resumes
 * when it fails.
 *
 * @returns size in bytes, and how many of them this call fetched
 * @throws PilotlightError; the signal's reason when aborted
 */
export async function fetchFile(
  options: FetchFileOptions,
): Promise<{ sizeBytes: number; fetchedBytes: number }> {
  const { source, file, limits, signal } = options;
  refuseLarge(file.sizeBytes, source.label, limits);
  const part = await PartFile.open(options.destination, file);
  const digest = options.sha256 === undefined ? undefined : new PrefixDigest(part.path, signal);
  const onPrefix = (prefixBytes: number): void => {
    digest?.advance(prefixBytes);
    options.onPrefix?.(prefixBytes);
  };
  const fetch = new FileFetch({ ...options, onPrefix }, part);
  try {
    const sizeBytes = await fetch.run();
    await part.complete(sizeBytes);
    const found = await digest?.finish();
    if (found !== options.sha256) {
      // Forgotten at once: a resume would only find them again.
      await part.restart();
      throw new ModelDigestMismatchError(
        `${source.label} has the sha256 ${found}; expected ${options.sha256}`,
      );
    }
    return { sizeBytes, fetchedBytes: fetch.fetchedBytes };
  } catch (error) {
    // The first fault is the one to report, not that the record of progress failed as well.
    await part.save().catch(() => undefined);
    throw error;
  } finally {
    await part.close();
  }
}

class FileFetch {
  fetchedBytes = 0;
  private readonly options: FetchFileOptions;
  private readonly part: PartFile;
  private readonly inFlight = new Set<ByteRange>();
  private chunkBytes: number;
  private failuresInARow = 0;
  private resumable = true;
  private lastChunk = { bytes: 1, elapsedMs: 1 };

  constructor(options: FetchFileOptions, part: PartFile) {
    this.options = options;
    this.part = part;
    const { sizeBytes = 0 } = options.file;
    this.chunkBytes = Math.min(FIRST_CHUNK_BYTES, Math.max(1, Math.ceil(sizeBytes / options.limits.ranges)));
  }

  async run(): Promise<number> {
    const { sizeBytes } = this.options.file;
    this.tell();
    if (sizeBytes === 0) return 0;
    if (sizeBytes === undefined) return this.whole(undefined);
    const stop = new AbortController();
    const signal = AbortSignal.any([this.options.signal, stop.signal]);
    const worker = () =>
      this.ranges(sizeBytes, signal).catch((error: unknown) => {
        stop.abort(error);
        throw error;
      });
    const outcomes = await Promise.allSettled(Array.from({ length: this.options.limits.ranges }, worker));
    this.options.signal.throwIfAborted();
    // The fault that stopped the others is the reason of the abort.
    if (stop.signal.aborted) {
      const fault: unknown = stop.signal.reason;
      for (const outcome of outcomes) {
        if (
          outcome.status === 'rejected' &&
          outcome.reason instanceof WholeFileAnswer &&
          outcome.reason !== fault
        ) {
          outcome.reason.answer.body.destroy();
        }
      }
      if (fault instanceof WholeFileAnswer) return this.whole(fault.answer);
      throw fault;
    }
    return sizeBytes;
  }

  private tell(): void {
    this.options.onProgress?.(this.part.bytesDone);
    this.options.onPrefix?.(this.part.prefixBytes);
  }

  /** One connection's work: chunk after chunk until nothing is left to take. */
  private async ranges(sizeBytes: number, signal: AbortSignal): Promise<void> {
    for (;;) {
      const chunk = nextChunk(this.part.done, [...this.inFlight], sizeBytes, this.chunkBytes);
      if (chunk === undefined) return;
      this.inFlight.add(chunk);
      try {
        await this.untilDone(chunk, signal);
      } finally {
        this.inFlight.delete(chunk);
      }
      const remainingBytes = sizeBytes - this.part.bytesDone;
      this.chunkBytes = adaptChunkBytes(this.chunkBytes, this.lastChunk, {
        remainingBytes,
        ranges: this.options.limits.ranges,
      });
    }
  }

  private async untilDone(chunk: ByteRange, signal: AbortSignal): Promise<void> {
    let next = chunk.first;
    const startedAtMs = performance.now();
    await this.retrying(signal, async () => {
      const range = { first: next, last: chunk.last };
      const answer = await this.options.source.fetchRange(this.options.file, range, signal);
      if (answer.kind === 'whole') throw new WholeFileAnswer(answer);
      await this.store(answer, next, chunk.last + 1, signal, (bytes) => {
        next += bytes;
      });
      if (next <= chunk.last) {
        throw new ModelUnreachableError(
          `${this.options.source.label}: the answer for bytes ${range.first}-${range.last} ended at byte ${next}`,
        );
      }
    });
    this.failuresInARow = 0;
    this.lastChunk = { bytes: chunk.last - chunk.first + 1, elapsedMs: performance.now() - startedAtMs };
  }

  /** The whole file as one stream, from the start at each try: a server without ranges cannot resume. */
  private async whole(first: RangeBody | undefined): Promise<number> {
    const { source, file, signal, limits } = this.options;
    this.resumable = false;
    this.failuresInARow = 0;
    let ready = first;
    let size = 0;
    await this.retrying(signal, async () => {
      const answer = ready ?? (await source.fetchRange(file, undefined, signal));
      ready = undefined;
      try {
        await this.part.restart();
        this.options.onPrefix?.(0);
        const expected = file.sizeBytes ?? answer.totalBytes;
        refuseLarge(expected, source.label, limits);
        size = 0;
        await this.store(answer, 0, expected ?? Number.POSITIVE_INFINITY, signal, (bytes) => {
          size += bytes;
          refuseLarge(size, source.label, limits);
        });
        if (expected !== undefined && size !== expected) {
          throw new ModelUnreachableError(`${source.label}: the answer ended at byte ${size} of ${expected}`);
        }
      } finally {
        answer.body.destroy();
      }
    });
    return size;
  }

  /** Writes a body from `position` on, a mebibyte at a time. Bytes at or beyond `end` are an error. */
  private async store(
    answer: RangeBody,
    position: number,
    end: number,
    signal: AbortSignal,
    onBytes: (bytes: number) => void,
  ): Promise<void> {
    let at = position;
    let held: Buffer[] = [];
    let heldBytes = 0;
    const flush = async () => {
      if (heldBytes === 0) return;
      const written = await this.part.write(held, at);
      held = [];
      heldBytes = 0;
      at += written;
      this.fetchedBytes += written;
      if (this.resumable && written >= PROGRESS_BYTES) this.failuresInARow = 0;
      onBytes(written);
      this.tell();
    };
    try {
      for await (const chunk of bytesOf(answer, this.options.source.label, signal)) {
        if (at + heldBytes + chunk.length > end) {
          throw new ModelUnreachableError(
            `${this.options.source.label}: the server sent more bytes than it said`,
          );
        }
        held.push(chunk);
        heldBytes += chunk.length;
        if (heldBytes >= WRITE_BYTES) await flush();
      }
    } catch (error) {
      // What came before the connection broke is kept: the next try starts behind it.
      if (error instanceof ModelUnreachableError) await flush();
      throw error;
    }
    await flush();
  }

  /** Tries until one succeeds, or `attempts` in a row (over all connections) have brought not one byte. */
  private async retrying(signal: AbortSignal, work: () => Promise<void>): Promise<void> {
    const { limits, random } = this.options;
    for (;;) {
      signal.throwIfAborted();
      try {
        return await work();
      } catch (error) {
        signal.throwIfAborted();
        if (!(error instanceof ModelUnreachableError) || !error.retryable) throw error;
        this.failuresInARow += 1;
        // Parallel connections fail together: a server that is gone takes `attempts` rounds of them.
        const round = Math.ceil(this.failuresInARow / (this.resumable ? limits.ranges : 1));
        if (round >= limits.attempts) throw error;
        await pauseBeforeRetry(round, error, {
          attempts: limits.attempts,
          backoffMs: limits.backoffMs,
          signal,
          ...(random === undefined ? {} : { random }),
        });
      }
    }
  }
}

async function* bytesOf(answer: RangeBody, label: string, signal: AbortSignal): AsyncGenerator<Buffer> {
  try {
    for await (const chunk of answer.body) {
      if (Buffer.isBuffer(chunk)) yield chunk;
    }
  } catch (error) {
    signal.throwIfAborted();
    throw networkError(error, 'the server', label);
  }
}

function refuseLarge(sizeBytes: number | undefined, label: string, limits: StorageLimits): void {
  if (sizeBytes !== undefined && sizeBytes > limits.modelBytes) {
    throw new ModelTooLargeError(
      `${label} is larger than the limit of ${limits.modelBytes} bytes for a model`,
    );
  }
}

/** SHA-256 of a file as lower-case hex. */
export async function sha256OfFile(path: string, signal: AbortSignal): Promise<string> {
  const hash = createHash('sha256');
  for await (const chunk of createReadStream(path, { highWaterMark: WRITE_BYTES, signal })) {
    if (Buffer.isBuffer(chunk)) hash.update(chunk);
  }
  return hash.digest('hex');
}
