import type { TensorWithValues } from '../../client/core/tensor-values.ts';

export interface Labelled {
  readonly label: string;
  /** 0 to 1. */
  readonly probability: number;
}

/** A row of scores that adds up to 1 within this, and has none below 0, is taken for probabilities already. */
const SUM_TOLERANCE = 1e-2;

/**
 * The best classes of each row of a classifier's output, best first. Scores that are no probabilities go through
 * softmax.
 *
 * @param output of shape [classes] or [batch, classes].
 * @param labels one a line, in the order of the classes.
 */
export function bestLabels(output: TensorWithValues, labels: string, count: number): Labelled[][] {
  const names = labels.replace(/\r?\n$/, '').split(/\r?\n/);
  const classes = output.shape.at(-1);
  if (classes === undefined || output.shape.length > 2) {
    throw new Error(
      `output "${output.name}" of shape [${output.shape.join(', ')}] can't be labelled: expected [classes] or [batch, classes]`,
    );
  }
  if (names.length !== classes) {
    throw new Error(`the file of labels has ${names.length} lines, the model has ${classes} classes`);
  }
  const scores = Array.from(output.values as ArrayLike<number>, Number);
  const rows = output.shape.length === 2 ? (output.shape[0] ?? 0) : 1;
  return Array.from({ length: rows }, (_row, row) => {
    const probabilities = asProbabilities(scores.slice(row * classes, (row + 1) * classes));
    return probabilities
      .map((probability, index) => ({ label: names[index] ?? '', probability }))
      .sort((one, other) => other.probability - one.probability)
      .slice(0, count);
  });
}

function asProbabilities(scores: readonly number[]): number[] {
  const sum = scores.reduce((total, score) => total + score, 0);
  if (Math.abs(sum - 1) <= SUM_TOLERANCE && scores.every((score) => score >= 0)) return [...scores];
  const highest = scores.reduce((one, other) => Math.max(one, other), Number.NEGATIVE_INFINITY);
  const powers = scores.map((score) => Math.exp(score - highest));
  const total = powers.reduce((one, other) => one + other, 0);
  return powers.map((power) => power / total);
}
