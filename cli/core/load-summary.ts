import { formatMs, formatRate, plural, quantile } from './units.ts';

/**
 * A load in one line: `312 requests, p50 8.1 ms, p99 12.4 ms, 118 requests/s`.
 *
 * @param sortedMs latencies, ascending.
 */
export function loadLine(sortedMs: readonly number[], elapsedMs: number): string {
  if (sortedMs.length === 0) return 'no request was answered';
  const perSecond = (sortedMs.length / elapsedMs) * 1000;
  return [
    plural(sortedMs.length, 'request'),
    `p50 ${formatMs(quantile(sortedMs, 0.5))}`,
    `p99 ${formatMs(quantile(sortedMs, 0.99))}`,
    `${formatRate(perSecond)} requests/s`,
  ].join(', ');
}

export interface ReplicaSample {
  /** Since the load began. */
  readonly atMs: number;
  readonly ready: number;
}

/** When each new number of ready replicas was first seen: `1 → 2 after 0.81 s → 4 after 2.10 s`. */
export function scaleOutLine(samples: readonly ReplicaSample[]): string {
  let most = samples[0]?.ready ?? 0;
  const steps = [String(most)];
  for (const { atMs, ready } of samples) {
    if (ready <= most) continue;
    most = ready;
    steps.push(`${ready} after ${formatMs(atMs)}`);
  }
  return steps.join(' → ');
}
