/** `0.42 ms`, `8.3 ms`, `87 ms`, `1.24 s`: three digits at most, so that columns stay narrow. */
export function formatMs(durationMs: number): string {
  if (durationMs >= 60_000) return `${(durationMs / 60_000).toFixed(1)} min`;
  if (durationMs >= 999.5) return `${(durationMs / 1000).toFixed(2)} s`;
  if (durationMs >= 99.5) return `${durationMs.toFixed(0)} ms`;
  return `${durationMs.toFixed(durationMs >= 9.95 ? 1 : 2)} ms`;
}

/** `0`, `0.4`, `12.3`, `1,840`. */
export function formatRate(perSecond: number): string {
  if (perSecond === 0) return '0';
  return perSecond < 99.95 ? perSecond.toFixed(1) : formatCount(Math.round(perSecond));
}

/** `12,345`. */
const formatCount = (count: number): string => String(count).replace(/\B(?=(\d{3})+$)/g, ',');

/** `1 replica`, `3 replicas`. */
export const plural = (count: number, noun: string): string =>
  `${formatCount(count)} ${noun}${count === 1 ? '' : 's'}`;

/** `512 B`, `42.3 KB`, `10.8 MB`; decimal, as disks and networks count. */
export function formatBytes(sizeBytes: number): string {
  if (sizeBytes < 1000) return `${sizeBytes} B`;
  if (sizeBytes < 999_500) return `${(sizeBytes / 1e3).toFixed(1)} KB`;
  return sizeBytes < 999_500_000
    ? `${(sizeBytes / 1e6).toFixed(1)} MB`
    : `${(sizeBytes / 1e9).toFixed(2)} GB`;
}

/**
 * The value that a share of the samples does not exceed, by the nearest rank.
 *
 * @param sorted ascending, not empty.
 * @param share 0 to 1.
 */
export function quantile(sorted: readonly number[], share: number): number {
  const rank = Math.min(sorted.length, Math.max(1, Math.ceil(share * sorted.length)));
  return sorted[rank - 1] ?? Number.NaN;
}
