import fc from 'fast-check';
import { expect, test } from 'vitest';
import { madeUpInputs } from './made-up-inputs.ts';
import { ParityTally } from './parity.ts';
import type { Tensor } from './tensor.ts';

const floats = (values: readonly number[], shape = [values.length], name = 'y'): Tensor => ({
  name,
  datatype: 'FP32',
  shape,
  data: Float32Array.from(values),
});

function compare(original: Tensor, candidate: Tensor) {
  const tally = new ParityTally();
  tally.add('a sample', [original], [candidate]);
  const [output] = tally.outputs();
  if (output === undefined) throw new Error('no output');
  return output;
}

test('errors are told as they are and relative to the largest value; a near-zero element makes none of them huge', () => {
  expect(compare(floats([8, 0.25, -4, 0]), floats([8, 0.5, -4, 1]))).toMatchObject({
    elements: 4,
    maxAbsolute: 1,
    meanAbsolute: 1.25 / 4,
    maxRelative: 1 / 8,
    meanRelative: 1.25 / 8 / 4,
    nonFinite: 0,
    agreement: undefined,
  });
});

test('scores agree where their largest stands at the same place, whatever their size', () => {
  const original = floats([1, 2, 3, 9, 8, 7], [2, 3]);
  expect(compare(original, floats([10, 20, 30, 1, 2, 0], [2, 3])).agreement).toEqual({ agreeing: 1, of: 2 });
});

test('the same infinities and numbers that are none are no difference; those on one side are counted', () => {
  const odd = floats([Number.NaN, Number.POSITIVE_INFINITY, 1]);
  expect(compare(odd, odd)).toMatchObject({ nonFinite: 0, maxAbsolute: 0 });
  expect(compare(odd, floats([0, Number.NEGATIVE_INFINITY, 1]))).toMatchObject({
    nonFinite: 2,
    maxAbsolute: 0,
  });
});

test('a half is compared with a single by value, and whole numbers of different widths as well', () => {
  const half: Tensor = { name: 'y', datatype: 'FP16', shape: [2], data: Uint16Array.of(0x3c00, 0x4000) };
  expect(compare(floats([1, 2]), half)).toMatchObject({ maxAbsolute: 0, maxRelative: 0 });
  const wide: Tensor = { name: 'y', datatype: 'INT64', shape: [2], data: BigInt64Array.of(5n, 6n) };
  const narrow: Tensor = { name: 'y', datatype: 'INT32', shape: [2], data: Int32Array.of(5, 7) };
  expect(compare(wide, narrow).agreement).toEqual({ agreeing: 1, of: 2 });
});

test('outputs of other names or shapes can’t be compared, and the message says which', () => {
  expect(() => compare(floats([1]), floats([1], [1], 'z'))).toThrow("no output 'y'");
  expect(() => compare(floats([1, 2]), floats([1, 2], [1, 2]))).toThrow(
    "output 'y' has the shape [1, 2] instead of [2]",
  );
});

test('a model differs from itself by nothing, and errors are what was added, wherever it was added', () => {
  const values = fc.array(fc.float({ noNaN: true, noDefaultInfinity: true, min: -1000, max: 1000 }), {
    minLength: 1,
  });
  fc.assert(
    fc.property(values, fc.nat(), fc.constantFrom(1, 0.5, 64), (list, place, delta) => {
      const original = floats(list);
      expect(compare(original, original)).toMatchObject({ maxAbsolute: 0, meanRelative: 0, nonFinite: 0 });
      const changed = Float32Array.from(list);
      changed[place % list.length] = (changed[place % list.length] ?? 0) + delta;
      const { maxAbsolute, meanAbsolute } = compare(original, { ...original, data: changed });
      expect(maxAbsolute).toBeCloseTo(delta, 3);
      expect(meanAbsolute).toBeLessThanOrEqual(maxAbsolute);
    }),
  );
});

test('made-up inputs keep shapes, differ by seed, are the same for one seed, and stay small', () => {
  const shapes: Tensor[] = [
    floats(Array<number>(64).fill(1), [2, 32]),
    { name: 'ids', datatype: 'INT64', shape: [32], data: new BigInt64Array(32) },
    { name: 'half', datatype: 'FP16', shape: [32], data: new Uint16Array(32) },
  ];
  const made = madeUpInputs(shapes, 1);
  expect(made).toEqual(madeUpInputs(shapes, 1));
  expect(made).not.toEqual(madeUpInputs(shapes, 2));
  expect(made.map(({ shape }) => shape)).toEqual([[2, 32], [32], [32]]);
  const [values = [], ids = []] = made.map(({ data }) => [...data].map(Number));
  expect(values.every((value) => Math.abs(value) <= 1)).toBe(true);
  expect(ids.every((value) => value === 0 || value === 1)).toBe(true);
});
