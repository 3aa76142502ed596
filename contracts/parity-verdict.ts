import type { CompareResult, OutputParity } from './model-tools.ts';

/** What two models may differ by. */
export interface Tolerance {
  /** Largest error of a float output, relative to the largest value of the original's. */
  readonly relative: number;
  /** Least share of agreement: of outputs that are no floats always, of scores where somebody asked for it. */
  readonly agreement: number;
  readonly judgesScores: boolean;
}

/** Outputs that are no floats are to agree to this share where nobody says otherwise. */
export const DEFAULT_AGREEMENT = 0.99;

/** @param agreement least share of rows that agree; scores are judged by it only where it is given. */
export function toleranceOf(relative: number, agreement: number | undefined): Tolerance {
  return { relative, agreement: agreement ?? DEFAULT_AGREEMENT, judgesScores: agreement !== undefined };
}

export interface Verdict {
  readonly isWithin: boolean;
  /** One sentence for each output that is beyond the tolerance. */
  readonly reasons: readonly string[];
}

export const isFloat = ({ datatype }: OutputParity): boolean => datatype.startsWith('FP');

/** Whether a comparison is within the tolerance, and what is not. */
export function judge({ outputs }: CompareResult, tolerance: Tolerance): Verdict {
  const reasons = outputs.flatMap((output) => outputReasons(output, tolerance));
  return { isWithin: reasons.length === 0, reasons };
}

function outputReasons(output: OutputParity, tolerance: Tolerance): string[] {
  const { name, nonFinite, maxRelative, agreement, worstSample } = output;
  const reasons: string[] = [];
  if (nonFinite > 0) {
    reasons.push(`${name}: ${nonFinite} values are infinite or no number in one model only (${worstSample})`);
  }
  if (isFloat(output) && maxRelative > tolerance.relative) {
    reasons.push(
      `${name}: the largest error is ${percent(maxRelative)} of the largest value, more than ${percent(tolerance.relative)} (${worstSample})`,
    );
  }
  if (agreement !== undefined && (tolerance.judgesScores || !isFloat(output))) {
    const share = agreement.of === 0 ? 1 : agreement.agreeing / agreement.of;
    if (share < tolerance.agreement) {
      reasons.push(`${name}: ${percent(share)} agree, fewer than ${percent(tolerance.agreement)}`);
    }
  }
  return reasons;
}

/** `0`, `0.0012 %`, `1.2 %`, `99.4 %`. */
export function percent(share: number): string {
  if (share === 0) return '0 %';
  const value = share * 100;
  return `${value >= 99 ? value.toFixed(value === 100 ? 0 : 2) : Number(value.toPrecision(2))} %`;
}
