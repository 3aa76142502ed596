import { elementCount, type TensorWithValues } from '../../client/core/tensor-values.ts';

export interface RecognisedText {
  readonly text: string;
  /** Mean probability of the letters that were kept, 0 to 1; 0 for an empty text. */
  readonly confidence: number;
}

/**
 * The classes of a text recogniser: blank is class 0, then the dictionary's lines. Where the model has one class
 * more, as PaddleOCR's with `use_space_char`, the last is the space.
 *
 * @param dictionary text of the file, one letter a line; a line may be any letter, a space of some kind as well.
 * @throws Error when dictionary and model don't belong together.
 */
export function ctcClasses(dictionary: string, classes: number): string[] {
  const lines = dictionary.replace(/\r?\n$/, '').split(/\r?\n/);
  if (classes === lines.length + 1) return ['', ...lines];
  if (classes === lines.length + 2) return ['', ...lines, ' '];
  throw new Error(
    `the dictionary has ${lines.length} lines, which is for a model of ${lines.length + 1} classes (or ${lines.length + 2} with the space), but this one has ${classes}`,
  );
}

/**
 * Greedy decoding of a connectionist temporal classification output: the best class of each step, repetitions
 * taken together, blanks (class 0) left out. Graves et al. 2006, "best path decoding".
 *
 * @param output probabilities of shape [batch, steps, classes].
 */
export function decodeCtc(output: TensorWithValues, dictionary: string): RecognisedText[] {
  const [batch, steps, classes] = output.shape;
  if (output.shape.length !== 3 || batch === undefined || steps === undefined || classes === undefined) {
    throw new Error(
      `output "${output.name}" of shape [${output.shape.join(', ')}] can't be decoded: expected [batch, steps, classes]`,
    );
  }
  const letters = ctcClasses(dictionary, classes);
  const values = output.values as ArrayLike<number>;
  if (values.length !== elementCount(output.shape)) throw new Error(`output "${output.name}" is incomplete`);
  return Array.from({ length: batch }, (_row, row) => {
    const kept: Letter[] = [];
    let previous = 0;
    for (let step = 0; step < steps; step++) {
      const { index, value } = largest(values, (row * steps + step) * classes, classes);
      if (index !== 0 && index !== previous) kept.push({ letter: letters[index] ?? '', probability: value });
      previous = index;
    }
    return textOf(kept);
  });
}

interface Letter {
  readonly letter: string;
  readonly probability: number;
}

/** A recogniser reads the margins of an image as spaces: they are not part of the text. */
function textOf(letters: readonly Letter[]): RecognisedText {
  const isLetter = ({ letter }: Letter): boolean => letter !== ' ';
  const first = letters.findIndex(isLetter);
  const kept = first === -1 ? [] : letters.slice(first, letters.findLastIndex(isLetter) + 1);
  const sum = kept.reduce((total, { probability }) => total + probability, 0);
  return {
    text: kept.map(({ letter }) => letter).join(''),
    confidence: kept.length === 0 ? 0 : sum / kept.length,
  };
}

function largest(values: ArrayLike<number>, start: number, count: number): { index: number; value: number } {
  let index = 0;
  let value = Number.NEGATIVE_INFINITY;
  for (let offset = 0; offset < count; offset++) {
    const candidate = Number(values[start + offset]);
    if (candidate > value) {
      value = candidate;
      index = offset;
    }
  }
  return { index, value };
}
