import { readFileSync } from 'node:fs';
import type { PilotlightError } from '../../contracts/errors.ts';
import { memoryError } from './load-errors.ts';

export interface MemoryNeed {
  /** All files of the model. */
  sizeBytes: number;
  /** Weights in external data that are mapped and not prepacked: pages of the file, which the kernel can drop. */
  mapped: boolean;
  instances: number;
  /** What the process has now, without pages of files, which the kernel can drop. */
  residentBytes: number;
  limitBytes: number;
}

/**
 * What a session needs of its model's size in memory of its own. An inline file is parsed into a copy and its
 * constants are packed into another: 400 MB took 754. Mapped weights took 2 to 19 MB for 400.
 */
const INLINE_FACTOR = 2.2;
const MAPPED_FACTOR = 0.2;
/** Of one session, for its arena, its graph and its threads. */
const SESSION_BYTES = 16 * 1024 * 1024;

/** How many instances of a model fit; 0 when not even one does. */
export function fittingInstances(need: MemoryNeed): number {
  const freeBytes = need.limitBytes - need.residentBytes;
  return Math.max(0, Math.min(need.instances, Math.floor(freeBytes / bytesPerInstance(need))));
}

/** Why a model is refused before the kernel ends the process for it. */
export function doesNotFit(need: MemoryNeed): PilotlightError {
  const megabytes = (bytes: number): string => `${Math.ceil(bytes / 1e6)} MB`;
  return memoryError(
    `the model of ${megabytes(need.sizeBytes)} needs about ${megabytes(bytesPerInstance(need))} for each of ${need.instances} instance(s), and of the memory limit of ${megabytes(need.limitBytes)} ${megabytes(need.residentBytes)} are taken`,
  );
}

function bytesPerInstance(need: MemoryNeed): number {
  return need.sizeBytes * (need.mapped ? MAPPED_FACTOR : INLINE_FACTOR) + SESSION_BYTES;
}

/** Memory of this process that isn't pages of files; all of it where the system doesn't tell them apart. */
export function anonymousBytes(): number {
  try {
    const kilobytes = /^RssAnon:\s+(\d+)/m.exec(readFileSync('/proc/self/status', 'utf8'))?.[1];
    if (kilobytes !== undefined) return Number(kilobytes) * 1024;
  } catch {
    // Not Linux.
  }
  return process.memoryUsage.rss();
}
