import { readFileSync } from 'node:fs';
import { availableParallelism, totalmem } from 'node:os';
import { affinityCount, cgroupFolders, knownLimits, limitFiles } from '../core/cpu-limit.ts';

export interface ProcessLimits {
  /** CPUs that this process may use at once; may be a fraction. */
  cpus: number;
  /** Memory that this process may use before the kernel ends it, in bytes; the machine's where nothing else limits it. */
  memoryBytes: number;
}

/**
 * What this process may use, by its control group (version 1 or 2), its CPU affinity and the machine. A few small
 * reads, for use once at start. Where there is no `/proc` (not Linux), what Node reports. `readText` is for tests.
 */
export function processLimits(
  readText: (path: string) => string | undefined = readTextIfThere,
): ProcessLimits {
  const groups = cgroupFolders(readText('/proc/self/cgroup') ?? '', readText('/proc/self/mountinfo') ?? '');
  const texts = new Map<string, string>();
  for (const path of groups.flatMap(limitFiles)) {
    const text = readText(path);
    if (text !== undefined) texts.set(path, text);
  }
  const allowedCpus = affinityCount(readText('/proc/self/status') ?? '') ?? availableParallelism();
  const { cpus, memoryBytes } = knownLimits(groups, texts, allowedCpus);
  return { cpus, memoryBytes: Math.min(memoryBytes ?? Number.POSITIVE_INFINITY, totalmem()) };
}

/** A file that is missing or forbidden sets no limit that could be known. */
function readTextIfThere(path: string): string | undefined {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return undefined;
  }
}
