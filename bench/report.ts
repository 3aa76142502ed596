import { mkdirSync, renameSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import Table from 'cli-table3';
import { z } from 'zod';

const rowSchema = z.strictObject({
  metric: z.string().min(1),
  unit: z.string(),
  value: z.number(),
  /** What it is compared with, measured in the same run unless the text says otherwise. */
  peer: z.string().nullable(),
  peerValue: z.number().nullable(),
  /** value / peerValue. */
  ratio: z.number().nullable(),
  /** Such as `<= 100`, in the row's unit; null for a figure that is told for information. */
  goal: z.string().nullable(),
  met: z.boolean().nullable(),
  /** Each measurement that the value was taken from, in the order of the run. */
  values: z.array(z.number()).optional(),
});
export type Row = z.infer<typeof rowSchema>;

/** A file in `bench/results/`: one run of one benchmark. */
export const resultsSchema = z.strictObject({
  name: z.string().min(1),
  /** What to type to run it again. */
  command: z.string(),
  machine: z.strictObject({
    cpu: z.string(),
    cores: z.number().int().positive(),
    memoryBytes: z.number().int().positive(),
    kernel: z.string(),
    node: z.string(),
    /** Processes that wanted a core during the minute before the run: well above 0 means a noisy machine. */
    loadBefore: z.number().nonnegative(),
  }),
  date: z.iso.datetime(),
  commit: z.strictObject({
    id: z.string(),
    /** Sources differed from the commit. */
    dirty: z.boolean(),
  }),
  rows: z.array(rowSchema).min(1),
  /** What one has to know to read the figures: what stands behind them, and what could not be measured. */
  notes: z.array(z.string()).optional(),
});
export type Results = z.infer<typeof resultsSchema>;

export interface Measured {
  metric: string;
  unit: string;
  value: number;
  peer?: string;
  peerValue?: number;
  goal?: string;
  values?: readonly number[];
}

/**
 * A row from what was measured: `ratio` and `met` follow from the rest.
 * @throws RangeError when the value is no finite number: a measurement that failed is no figure.
 */
export function row(measured: Measured): Row {
  const { metric, unit, peer, peerValue, goal } = measured;
  if (!Number.isFinite(measured.value)) {
    throw new RangeError(`expected a number for "${metric}", got ${measured.value}`);
  }
  const value = rounded(measured.value);
  const against = peerValue === undefined ? null : rounded(peerValue);
  return {
    metric,
    unit,
    value,
    peer: peer ?? null,
    peerValue: against,
    ratio: against === null || against === 0 ? null : rounded(value / against),
    goal: goal ?? null,
    // By the figure as it was measured: rounding may not lift it over the bar.
    met: goal === undefined ? null : meets(measured.value, goal),
    ...(measured.values && { values: measured.values.map(rounded) }),
  };
}

const GOAL = /^(<=|>=|<|>|=) (-?\d+(?:\.\d+)?)$/;

/**
 * Whether a value is what a goal such as `<= 100` asks for.
 * @throws SyntaxError for a goal that is not of the form `<= number` (also `>=`, `<`, `>`, `=`).
 */
export function meets(value: number, goal: string): boolean {
  const [, relation = '', text] = GOAL.exec(goal) ?? [];
  const bound = Number(text);
  switch (relation) {
    case '<=':
      return value <= bound;
    case '>=':
      return value >= bound;
    case '<':
      return value < bound;
    case '>':
      return value > bound;
    case '=':
      return value === bound;
    default:
      throw new SyntaxError(`expected a goal such as "<= 100", got "${goal}"`);
  }
}

/** Rows as a table for the terminal. */
export function toTable(rows: readonly Row[]): string {
  const table = new Table({
    head: ['metric', 'value', 'unit', 'peer', 'peer value', 'ratio', 'goal', 'met'],
    // Colours would be escape codes in a log.
    style: { head: [], border: [], compact: true },
    colAligns: ['left', 'right', 'left', 'left', 'right', 'right', 'right', 'left'],
    colWidths: [44, null, null, 30, null, null, null, null],
    wordWrap: true,
  });
  for (const { metric, unit, value, peer, peerValue, ratio, goal, met } of rows) {
    table.push([
      metric,
      shown(value),
      unit,
      peer ?? '',
      shown(peerValue),
      shown(ratio),
      goal ?? '',
      met === null ? '' : met ? 'yes' : 'NO',
    ]);
  }
  return table.toString();
}

/** Writes `<folder>/<name>.json`, whole or not at all. @returns its path. */
export function writeResults(folder: string, results: Results): string {
  mkdirSync(folder, { recursive: true });
  const path = join(folder, `${results.name}.json`);
  const temporary = `${path}.${process.pid}.tmp`;
  writeFileSync(temporary, `${JSON.stringify(resultsSchema.parse(results), undefined, 2)}\n`);
  renameSync(temporary, path);
  return path;
}

function shown(value: number | null): string {
  return value === null ? '' : value.toLocaleString('en-US', { maximumSignificantDigits: 6 });
}

/** Three digits behind the point below 100, one above: the rest is noise. */
function rounded(value: number): number {
  return Number(value.toFixed(Math.abs(value) < 100 ? 3 : 1));
}
