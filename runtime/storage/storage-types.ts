import type { Readable } from 'node:stream';

/** A file at a source. `path` is relative to what the URI names (or to the folder of the file that it names). */
export interface StoredFile {
  path: string;
  /** Undefined when the server would not say (chunked answer without a length). */
  sizeBytes: number | undefined;
  /**
   * What tells this content from any other at the same place: an ETag as the server writes it, or
   * `last-modified:<date>`, or `mtime:<ms>` for a local file. Undefined when the server offers none.
   */
  version: string | undefined;
}

export interface Listing {
  /** The URI names this one file, not a folder that holds it. */
  single: boolean;
  files: StoredFile[];
}

/** First and last byte, both included, as in a Range header. */
export interface ByteRange {
  first: number;
  last: number;
}

/** An open answer. The reader must consume `body` or destroy it. */
export interface RangeBody {
  /** `range`: exactly the bytes asked for. `whole`: the server ignores ranges and sends all from byte 0. */
  kind: 'range' | 'whole';
  /** Size of the whole file, where the answer says it. */
  totalBytes: number | undefined;
  version: string | undefined;
  body: Readable;
}

/** Where a model comes from. All methods throw PilotlightErrors and honour the signal. */
export interface ModelSource {
  /** For messages and logs: the URI without credentials. */
  readonly label: string;
  /**
   * For who knows from before what the URI leads to, and calls `stat` or `fetchRange` without `list`: whether it names
   * the model itself or a folder above shows in the model's path.
   */
  assume?(modelPath: string): void;
  /** The file that the URI names, or every file below the folder or prefix that it names. */
  list(signal: AbortSignal): Promise<Listing>;
  /** One file by relative path: external data beside a model. */
  stat(path: string, signal: AbortSignal): Promise<StoredFile>;
  /**
   * Bytes of a file; the whole of it without `range`. Where `file.version` is known the answer is that version's
   * or a ModelChangedError.
   */
  fetchRange(file: StoredFile, range: ByteRange | undefined, signal: AbortSignal): Promise<RangeBody>;
}

export interface FetchProgress {
  bytesDone: number;
  /** Grows when further files turn out to belong to the model. */
  bytesTotal: number;
}

export interface StorageLimits {
  /** Largest model, all of its files together. */
  modelBytes: number;
  /** Bound of the cache folder; least recently used models not in use make room. */
  cacheBytes: number;
  /** Parallel ranges of one file. */
  ranges: number;
  connectTimeoutMs: number;
  /** Longest silence on an open connection. */
  idleTimeoutMs: number;
  /** The whole of openModel, waiting for another process included. */
  overallTimeoutMs: number;
  /** Tries in a row without a single byte of progress before a fetch gives up. */
  attempts: number;
  /** Base of the jittered back-off: try n waits at most `backoffMs · 2^(n-1)`. */
  backoffMs: number;
  redirects: number;
  /** Most files that a listing may hold. */
  listedFiles: number;
}

export const DEFAULT_STORAGE_LIMITS: StorageLimits = {
  modelBytes: 64 * 1024 ** 3,
  cacheBytes: 128 * 1024 ** 3,
  ranges: 4,
  connectTimeoutMs: 5_000,
  idleTimeoutMs: 15_000,
  overallTimeoutMs: 15 * 60_000,
  attempts: 5,
  backoffMs: 100,
  redirects: 5,
  listedFiles: 100_000,
};
