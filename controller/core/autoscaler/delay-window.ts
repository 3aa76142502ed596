import { TICK_MS } from './spec.ts';

/** The highest count of one tick's time that no later, higher count has outdone. */
export interface DelayEntry {
  readonly tick: number;
  readonly count: number;
}

/**
 * Running maximum over the scale-down delay (KPA's `max.TimeWindow`): a delay of 10 s is 5 ticks, the
 * present one included. Entries are in falling order of count, so the first is the maximum, and there
 * are never more than ticks in the delay.
 */
export function recordDelayed(
  entries: readonly DelayEntry[],
  count: number,
  delayMs: number,
  nowMs: number,
): readonly DelayEntry[] {
  const tick = Math.floor(nowMs / TICK_MS);
  const ticks = Math.max(1, Math.ceil(delayMs / TICK_MS));
  const kept = entries.filter((entry) => tick - entry.tick < ticks && entry.count > count);
  // Asked twice within one tick, the higher answer stands.
  return kept.at(-1)?.tick === tick ? kept : [...kept, { tick, count }];
}

/** The highest count within the delay. */
export function delayedCount(entries: readonly DelayEntry[]): number {
  return entries[0]?.count ?? 0;
}
