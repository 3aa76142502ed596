/** A value read from text, or the reason why it could not be read, fit to be shown to a user. */
export type Parsed<T> = { ok: true; value: T } | { ok: false; message: string };

const MS_PER_UNIT: Record<string, number> = { h: 3_600_000, m: 60_000, s: 1_000, ms: 1 };
const PART = /(\d+(?:\.\d+)?)(ms|h|m|s)/g;

/** The same grammar as a pattern for the API server (RE2): parts in any order, as Go's ParseDuration has it. */
export const DURATION_PATTERN = '^(0|([0-9]+([.][0-9]+)?(ms|h|m|s))+)$';
const DURATION = new RegExp(DURATION_PATTERN);

/** Longer durations than this (100 years) are typing errors and would overflow timers anyway. */
const MAX_DURATION_MS = 100 * 365 * 24 * 3_600_000;

/**
 * Reads a duration as Kubernetes writes it (`90s`, `2m`, `1h30m`, `1.5s`, `300ms`, `0`).
 * The value is in whole milliseconds; a fraction of one is refused rather than rounded.
 */
export function parseDuration(text: string): Parsed<number> {
  if (!DURATION.test(text)) {
    const hint = /^\d+$/.test(text) ? `; write "${text}s" for seconds` : '';
    return {
      ok: false,
      message: `expected a duration such as "90s", "2m" or "1h30m", got "${clip(text)}"${hint}`,
    };
  }
  let totalMs = 0;
  for (const [, amount = '', unit = ''] of text.matchAll(PART)) {
    // Milliseconds of a decimal fraction are rounded to the nearest microsecond first: 1.001 × 1000 is
    // 1000.9999999999999 in binary floating point.
    totalMs += Math.round(Number(amount) * (MS_PER_UNIT[unit] ?? Number.NaN) * 1_000) / 1_000;
  }
  if (!Number.isInteger(totalMs)) {
    return { ok: false, message: `expected a duration in whole milliseconds, got "${clip(text)}"` };
  }
  if (totalMs > MAX_DURATION_MS) {
    return { ok: false, message: `expected a duration of at most 100 years, got "${clip(text)}"` };
  }
  return { ok: true, value: totalMs };
}

/** Writes whole milliseconds as the shortest text that `parseDuration` reads back: 90000 → `1m30s`, 1500 → `1s500ms`. */
export function formatDuration(durationMs: number): string {
  if (durationMs === 0) return '0s';
  let rest = durationMs;
  let text = '';
  for (const [unit, unitMs] of Object.entries(MS_PER_UNIT)) {
    const count = Math.floor(rest / unitMs);
    if (count > 0) text += `${count}${unit}`;
    rest -= count * unitMs;
  }
  return text;
}

function clip(text: string): string {
  return text.length > 60 ? `${text.slice(0, 60)}…` : text;
}
