import type { Row } from './report.ts';

export interface BenchmarkContext {
  /** A tenth of the work, to see that a benchmark runs: its figures mean little. */
  readonly isQuick: boolean;
  /** A line on standard error, so that the table can be piped. */
  readonly say: (line: string) => void;
  /** A sentence that goes into the results beside the figures. */
  readonly note: (sentence: string) => void;
}

export interface Benchmark {
  /** What it answers, in a line. */
  readonly summary: string;
  readonly run: (context: BenchmarkContext) => Promise<Row[]>;
}

/** How often to do something: as often as said, or a tenth of it, at least twice. */
export function rounds(context: BenchmarkContext, count: number): number {
  return context.isQuick ? Math.max(2, Math.round(count / 10)) : count;
}
