import { PilotlightError } from '../../contracts/errors.ts';
import type { OutputParity } from '../../contracts/model-tools.ts';
import { shown, showShape, type Tensor } from './tensor.ts';

/** Below this an output counts as zeros: an error is not divided by less. */
const LEAST_SCALE = 1e-6;

interface Sums {
  name: string;
  datatype: string;
  elements: number;
  maxAbsolute: number;
  sumAbsolute: number;
  maxRelative: number;
  sumRelative: number;
  nonFinite: number;
  agreeing: number;
  judged: number;
  worstSample: string;
}

/**
 * What the outputs of two models differ by, gathered over samples.
 *
 * An error is relative to the largest value of the original's output in the same sample, not to the element's own: an
 * element that happens to be near zero would make any difference look like a hundredfold one.
 *
 * Agreement is the share of rows whose largest value stands at the same place, for outputs of scores (`[batch,
 * classes]`), and the share of equal elements for outputs that are no floats.
 */
export class ParityTally {
  readonly #sums = new Map<string, Sums>();

  /** @throws PilotlightError `model-invalid` where the outputs can't be compared: other names or shapes */
  add(sample: string, original: readonly Tensor[], candidate: readonly Tensor[]): void {
    for (const expected of original) {
      const found = candidate.find(({ name }) => name === expected.name);
      if (found === undefined) {
        throw incomparable(`the candidate has no output '${shown(expected.name)}'`);
      }
      if (!isSameShape(expected.shape, found.shape)) {
        throw incomparable(
          `output '${shown(expected.name)}' has the shape ${showShape(found.shape)} instead of ${showShape(expected.shape)} for ${sample}`,
        );
      }
      this.#addOutput(sample, expected, found);
    }
  }

  /** One entry for each output, in the original's order. */
  outputs(): OutputParity[] {
    return [...this.#sums.values()].map(({ sumAbsolute, sumRelative, agreeing, judged, ...sums }) => ({
      ...sums,
      meanAbsolute: sumAbsolute / Math.max(1, sums.elements),
      meanRelative: sumRelative / Math.max(1, sums.elements),
      agreement: judged === 0 ? undefined : { agreeing, of: judged },
    }));
  }

  #addOutput(sample: string, expected: Tensor, found: Tensor): void {
    const sums = this.#sums.get(expected.name) ?? empty(expected, sample);
    this.#sums.set(expected.name, sums);
    const [left, right] = [floatsOf(expected), floatsOf(found)];
    sums.elements += expected.data.length;
    if (left === undefined || right === undefined) {
      sums.judged += expected.data.length;
      for (let index = 0; index < expected.data.length; index += 1) {
        if (Object.is(plain(expected.data[index]), plain(found.data[index]))) sums.agreeing += 1;
      }
      return;
    }
    addErrors(sums, left, right, sample);
    const [rows = 0, classes = 0] = expected.shape;
    if (expected.shape.length !== 2 || classes < 2) return;
    sums.judged += rows;
    for (let row = 0; row < rows; row += 1) {
      if (largestAt(left, row * classes, classes) === largestAt(right, row * classes, classes)) {
        sums.agreeing += 1;
      }
    }
  }
}

function addErrors(sums: Sums, left: ArrayLike<number>, right: ArrayLike<number>, sample: string): void {
  let scale = LEAST_SCALE;
  for (let index = 0; index < left.length; index += 1) {
    const value = Math.abs(left[index] ?? 0);
    if (Number.isFinite(value) && value > scale) scale = value;
  }
  for (let index = 0; index < left.length; index += 1) {
    const [a, b] = [left[index] ?? 0, right[index] ?? 0];
    // Equal infinities, and what is no number on both sides, are no difference.
    if (Object.is(a, b) || a === b) continue;
    const error = Math.abs(a - b);
    if (!Number.isFinite(error)) {
      sums.nonFinite += 1;
      sums.worstSample = sample;
      continue;
    }
    if (error / scale > sums.maxRelative) {
      sums.maxRelative = error / scale;
      if (sums.nonFinite === 0) sums.worstSample = sample;
    }
    sums.maxAbsolute = Math.max(sums.maxAbsolute, error);
    sums.sumAbsolute += error;
    sums.sumRelative += error / scale;
  }
}

function empty({ name, datatype }: Tensor, sample: string): Sums {
  return {
    name,
    datatype,
    elements: 0,
    maxAbsolute: 0,
    sumAbsolute: 0,
    maxRelative: 0,
    sumRelative: 0,
    nonFinite: 0,
    agreeing: 0,
    judged: 0,
    worstSample: sample,
  };
}

/** Undefined for what is no float. A candidate's output may be of another precision than the original's. */
function floatsOf({ datatype, data }: Tensor): ArrayLike<number> | undefined {
  if (datatype === 'FP32' || datatype === 'FP64') return data as Float32Array | Float64Array;
  if (datatype !== 'FP16') return undefined;
  const bits = data as Uint16Array;
  return new Float16Array(bits.buffer, bits.byteOffset, bits.length);
}

/** Whole numbers of different widths compare by value. */
function plain(value: unknown): unknown {
  return typeof value === 'bigint' ? Number(value) : value;
}

function largestAt(values: ArrayLike<number>, from: number, count: number): number {
  let best = 0;
  for (let index = 1; index < count; index += 1) {
    if ((values[from + index] ?? 0) > (values[from + best] ?? 0)) best = index;
  }
  return best;
}

function isSameShape(left: readonly number[], right: readonly number[]): boolean {
  return left.length === right.length && left.every((size, index) => size === right[index]);
}

function incomparable(why: string): PilotlightError {
  return new PilotlightError('model-invalid', `the two models can't be compared: ${why}`);
}
