/**
 * How long to wait after the n-th failure in a row (n from 1): doubles from `baseMs` up to `maxMs`, of which a
 * random half to the whole, so that many who failed together don't come back together.
 *
 * @param random from 0 up to 1
 */
export function backOffMs(failures: number, baseMs: number, maxMs: number, random: number): number {
  // 2^30 is beyond every maximum and keeps the product finite.
  const fullMs = Math.min(maxMs, baseMs * 2 ** Math.min(30, Math.max(0, failures - 1)));
  return fullMs * (0.5 + random / 2);
}
