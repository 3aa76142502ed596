import { COLD_START_PHASES, type ColdStart, type ColdStartPhase } from '../../contracts/cold-start.ts';
import type { Style } from './style.ts';
import { formatMs } from './units.ts';

/** What happened in each phase, for a person who sees the word for the first time. */
const MEANING: Readonly<Record<ColdStartPhase, string>> = {
  decided: 'a request waits, the autoscaler wants a replica',
  claimed: 'a standby runtime takes the service',
  scheduled: 'a process of its own is begun',
  started: 'the process answers',
  fetched: 'the model file is at hand',
  created: 'the session is built from it',
  warmed: 'it has computed once',
  routed: 'the activator knows the replica',
  answered: 'the first byte of the answer is back',
};

const BAR_CELLS = 40;
/** Eighths of a cell, from the left: a bar that is drawn to an eighth of a character. */
const EIGHTHS = ['', '▏', '▎', '▍', '▌', '▋', '▊', '▉', '█'];

/**
 * A cold start as lines: one a phase with its duration, and on a terminal a bar that begins where the phase
 * before it ended. The phases that a start did not go through are left out.
 */
export function waterfallLines(start: ColdStart, style: Style, withBars: boolean): string[] {
  const shown = COLD_START_PHASES.flatMap((phase) => {
    const durationMs = start.phasesMs[phase];
    return durationMs === undefined ? [] : [{ phase, durationMs }];
  });
  const wholeMs = Math.max(
    start.totalMs,
    shown.reduce((sum, { durationMs }) => sum + durationMs, 0),
  );
  let fromMs = 0;
  return shown.map(({ phase, durationMs }) => {
    const label = `${phase.padEnd(9)} ${formatMs(durationMs).padStart(8)}`;
    const bar = withBars ? style.cyan(barBetween(fromMs, fromMs + durationMs, wholeMs)) : '';
    const padding = withBars
      ? ' '.repeat(Math.max(0, BAR_CELLS - visibleCells(fromMs, durationMs, wholeMs)))
      : '';
    fromMs += durationMs;
    return withBars
      ? `${label}  ${bar}${padding}  ${style.dim(MEANING[phase])}`
      : `${label}  ${MEANING[phase]}`;
  });
}

function visibleCells(fromMs: number, durationMs: number, wholeMs: number): number {
  return barBetween(fromMs, fromMs + durationMs, wholeMs).length;
}

/**
 * Blanks up to the start, then the bar. Its left end is on a whole cell (there are no glyphs for the right part
 * of a cell), its right end on an eighth; a phase that took any time has at least an eighth.
 */
export function barBetween(fromMs: number, toMs: number, wholeMs: number, cells: number = BAR_CELLS): string {
  if (wholeMs <= 0) return '';
  const from = Math.min(cells - 1, Math.floor((fromMs / wholeMs) * cells));
  const eighths = Math.min(
    (cells - from) * 8,
    Math.max(1, Math.round(((toMs - fromMs) / wholeMs) * cells * 8)),
  );
  return `${' '.repeat(from)}${'█'.repeat(Math.floor(eighths / 8))}${EIGHTHS[eighths % 8] ?? ''}`;
}

/** Sum of the phases over the whole: 1 when nothing is missing and nothing is counted twice. */
export function phaseCoverage(start: ColdStart): number {
  const sumMs = Object.values(start.phasesMs).reduce((sum, durationMs) => sum + durationMs, 0);
  return start.totalMs > 0 ? sumMs / start.totalMs : 0;
}
