export interface Labelled {
  readonly label: string;
  /** 0 to 1. */
  readonly probability: number;
}

/** Scores of classes, or of several rows of them. */
export interface Scores {
  readonly name: string;
  /** [classes] or [batch, classes]. */
  readonly shape: readonly number[];
  readonly values: ArrayLike<unknown>;
}

/** A file of labels as a list: one a line. */
export function parseLabels(text: string): string[] {
  return text
    .replace(/^\uFEFF/, '')
    .replace(/\r?\n$/, '')
    .split(/\r?\n/);
}

/** A row of scores that adds up to 1 within this, and has none below 0, is taken for probabilities already. */
const SUM_TOLERANCE = 1e-2;

/**
 * The best classes of each row of a classifier's output, best first. Scores that are no probabilities go through
 * softmax.
 *
 * @param output of shape [classes] or [batch, classes].
 * @param labels in the order of the classes; as a text one a line.
 */
export function bestLabels(output: Scores, labels: string | readonly string[], count: number): Labelled[][] {
  const names = typeof labels === 'string' ? parseLabels(labels) : labels;
  const classes = output.shape.at(-1);
  if (classes === undefined || output.shape.length > 2) {
    throw new Error(
      `output "${output.name}" of shape [${output.shape.join(', ')}] can't be labelled: expected [classes] or [batch, classes]`,
    );
  }
  if (names.length !== classes) {
    throw new Error(`the file of labels has ${names.length} lines, the model has ${classes} classes`);
  }
  const scores = Array.from(output.values, Number);
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
