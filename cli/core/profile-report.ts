import type { StartMeasure } from '../../contracts/model-tools.ts';
import type { MeasuredConfiguration, Recommendation } from './recommendation.ts';
import type { Style } from './style.ts';
import { formatBytes, formatMs, formatRate } from './units.ts';
import { barBetween } from './waterfall.ts';

/** Starts of one class, fastest first. */
export interface StartClass {
  readonly name: string;
  readonly meaning: string;
  readonly measures: readonly StartMeasure[];
}

export interface Profile {
  readonly model: string;
  readonly sizeBytes: number;
  readonly cpus: number;
  readonly takesBatches: boolean;
  readonly starts: readonly StartClass[];
  readonly measured: readonly MeasuredConfiguration[];
  readonly recommendation: Recommendation;
  readonly manifest: string;
}

/** What stands before and behind a bar. */
const TEXT_COLUMNS = 52;
/** Name, time and gaps of a start. */
const START_COLUMNS = 37;
const LEAST_CELLS = 8;
const MOST_CELLS = 60;

/** The middle one of a class. */
export function medianStart({ measures }: StartClass): StartMeasure | undefined {
  const sorted = [...measures].sort((a, b) => a.totalMs - b.totalMs);
  return sorted[(sorted.length - 1) >> 1];
}

/** A profile for a person, as wide as `columns`: starts by class, throughput by batch, memory. */
export function profileLines(profile: Profile, style: Style, columns: number): string[] {
  const cells = Math.max(LEAST_CELLS, Math.min(MOST_CELLS, columns - TEXT_COLUMNS));
  return [
    style.bold(`${profile.model}, ${formatBytes(profile.sizeBytes)}, on ${profile.cpus} CPU(s)`),
    '',
    ...startLines(profile.starts, style, cells, columns),
    '',
    ...loadLines(profile.measured, style, cells),
    '',
    ...profile.recommendation.reasons,
  ];
}

function startLines(starts: readonly StartClass[], style: Style, cells: number, columns: number): string[] {
  const known = starts.flatMap((one) => {
    const start = medianStart(one);
    return start === undefined ? [] : [{ ...one, start }];
  });
  const longest = Math.max(1, ...known.map(({ start }) => start.totalMs));
  return [
    style.dim('START'.padEnd(24) + 'MEDIAN'.padStart(9)),
    ...known.map(({ name, meaning, start }) => {
      const bar = barBetween(0, start.totalMs, longest, cells);
      const padding = ' '.repeat(Math.max(0, cells - bar.length));
      const line = `${name.padEnd(24)}${formatMs(start.totalMs).padStart(9)}  ${style.cyan(bar)}`;
      const isRoom = START_COLUMNS + cells + meaning.length <= columns;
      return isRoom ? `${line}${padding}  ${style.dim(meaning)}` : line;
    }),
  ];
}

function loadLines(measured: readonly MeasuredConfiguration[], style: Style, cells: number): string[] {
  const most = Math.max(1, ...measured.flatMap(({ rows }) => rows.map((row) => row.itemsPerSecond)));
  return measured.flatMap(({ threads, instances, rows, anonymousBytes, mappedBytes }) => [
    style.dim(
      `${threads} thread(s) × ${instances} instance(s): ${formatBytes(anonymousBytes)} of its own, ${formatBytes(mappedBytes)} mapped`,
    ),
    ...rows.map(({ batch, p50Ms, p95Ms, itemsPerSecond }) => {
      const bar = barBetween(0, itemsPerSecond, most, cells);
      const rate = `${formatRate(itemsPerSecond)}/s`.padStart(11);
      return `  batch ${String(batch).padStart(2)} ${rate}  p50 ${formatMs(p50Ms).padStart(8)}  p95 ${formatMs(p95Ms).padStart(8)}  ${style.green(bar)}`;
    }),
  ]);
}
