import { expect, test } from 'vitest';
import { areClose } from './close-tensors.ts';
import type { Tensor } from './tensor.ts';

const floats = (...values: number[]): Tensor[] => [
  { name: 'y', datatype: 'FP32', shape: [values.length], data: Float32Array.from(values) },
];
const halves = (...values: number[]): Tensor[] => [
  {
    name: 'y',
    datatype: 'FP16',
    shape: [values.length],
    data: new Uint16Array(Float16Array.from(values).buffer),
  },
];
const integers = (...values: number[]): Tensor[] => [
  { name: 'y', datatype: 'INT64', shape: [values.length], data: BigInt64Array.from(values, BigInt) },
];

test('last digits may differ, as measured by the largest value', () => {
  expect(areClose(floats(100, 0.001), floats(100.01, 0.002))).toBe(true);
  expect(areClose(floats(100, 0.001), floats(100.5, 0.001))).toBe(false);
  expect(areClose(halves(10, 1), halves(10.01, 1.01))).toBe(true);
  expect(areClose(halves(10, 1), halves(10, 1.1))).toBe(false);
});

test('infinities and numbers that are none must be so on both sides', () => {
  expect(
    areClose(floats(Number.NaN, Infinity, -Infinity, 1), floats(Number.NaN, Infinity, -Infinity, 1)),
  ).toBe(true);
  expect(areClose(floats(Number.NaN, 1), floats(0, 1))).toBe(false);
  expect(areClose(floats(Infinity, 1), floats(-Infinity, 1))).toBe(false);
});

test('whole numbers and texts are the same or not', () => {
  expect(areClose(integers(1, 2), integers(1, 2))).toBe(true);
  expect(areClose(integers(1, 2), integers(1, 3))).toBe(false);
  const text = (value: string): Tensor[] => [{ name: 'y', datatype: 'BYTES', shape: [1], data: [value] }];
  expect(areClose(text('a'), text('a'))).toBe(true);
  expect(areClose(text('a'), text('b'))).toBe(false);
});

test('other names, shapes and datatypes are another answer', () => {
  expect(areClose(floats(1), floats(1, 2))).toBe(false);
  expect(areClose(floats(1), integers(1))).toBe(false);
  expect(areClose(floats(1), [])).toBe(false);
  expect(
    areClose(
      floats(1),
      floats(1).map((tensor) => ({ ...tensor, name: 'z' })),
    ),
  ).toBe(false);
});
