/** How a model is run: sessions side by side, and threads of each. */
export interface Configuration {
  readonly threads: number;
  readonly instances: number;
}

/** Enough to see a curve. */
const BATCHES = [1, 2, 4, 8, 16, 32, 64];
/** Less says nothing about a latency, more is no better. */
const LEAST_SLICE_MS = 100;
const LONGEST_SLICE_MS = 2_000;
/** Of the time, for starts; the rest is for load. */
const STARTS_SHARE = 0.3;

/** All CPUs for one session, all for sessions of one thread each, one of one, and what lies between by halves. */
export function configurations(cpus: number): Configuration[] {
  const whole = Math.max(1, Math.floor(cpus));
  const found: Configuration[] = [{ threads: 1, instances: 1 }];
  for (let threads = whole; threads >= 1; threads = Math.floor(threads / 2)) {
    found.push({ threads, instances: Math.floor(whole / threads) });
    if (threads === 1) break;
  }
  return found.filter(
    (one, index) =>
      found.findIndex((other) => other.threads === one.threads && other.instances === one.instances) ===
      index,
  );
}

export interface ProfilePlan {
  readonly configurations: readonly Configuration[];
  readonly batches: readonly number[];
  /** For each batch size of each configuration. */
  readonly sliceMs: number;
  /** For all starts together. */
  readonly startsMs: number;
}

/** What to measure in the time that there is. Batches only where the model takes them. */
export function profilePlan(cpus: number, takesBatches: boolean, seconds: number): ProfilePlan {
  const all = configurations(cpus);
  const batches = takesBatches ? BATCHES : [1];
  const loadMs = seconds * 1000 * (1 - STARTS_SHARE);
  const sliceMs = Math.min(
    LONGEST_SLICE_MS,
    Math.max(LEAST_SLICE_MS, loadMs / (all.length * batches.length)),
  );
  return { configurations: all, batches, sliceMs, startsMs: seconds * 1000 * STARTS_SHARE };
}
