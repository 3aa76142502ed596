import fc from 'fast-check';
import { allocateData, DATATYPES, type Datatype, type Tensor } from './tensor.ts';

/** Extremes and oddities of each datatype, as elements. */
export const EXTREMES: Readonly<Record<Datatype, readonly (number | bigint | string)[]>> = {
  BOOL: [0, 1],
  UINT8: [0, 1, 255],
  UINT16: [0, 65_535],
  UINT32: [0, 4_294_967_295],
  UINT64: [0n, 9_007_199_254_740_991n, 9_007_199_254_740_993n, 18_446_744_073_709_551_615n],
  INT8: [-128, 0, 127],
  INT16: [-32_768, 32_767],
  INT32: [-2_147_483_648, 2_147_483_647],
  INT64: [
    -9_223_372_036_854_775_808n,
    -9_007_199_254_740_993n,
    -4_294_967_297n,
    -1n,
    0n,
    4_294_967_296n,
    9_007_199_254_740_992n,
    9_007_199_254_740_993n,
    9_223_372_036_854_775_807n,
  ],
  FP16: [0, 1, 0x8000, 0x7c00, 0xfc00, 0x7e00, 0x7bff],
  FP32: [0, -0, Number.NaN, Infinity, -Infinity, 1e-45, 3.402_823_466_385_288_6e38, 0.1, -1.5],
  FP64: [0, -0, Number.NaN, Infinity, -Infinity, 5e-324, 1.797_693_134_862_315_7e308, 0.1, 2 ** 53 + 2],
  BYTES: ['', 'plain', 'Grüße, 世界 🌍', '"\\\n\t\u001f', '\uFEFFbom', '__proto__'],
};

/** A tensor of that datatype and shape from elements, repeated as needed. */
export function tensorOf(
  datatype: Datatype,
  shape: readonly number[],
  elements: readonly (number | bigint | string)[] = EXTREMES[datatype],
  name = 'x',
): Tensor {
  const count = shape.reduce((product, size) => product * size, 1);
  const data = allocateData(datatype, count);
  for (let index = 0; index < count; index++) {
    (data as (number | bigint | string)[])[index] = elements[index % elements.length] as number;
  }
  return { name, datatype, shape, data };
}

function elementOf(datatype: Datatype): fc.Arbitrary<number | bigint | string> {
  const extremes = fc.constantFrom(...EXTREMES[datatype]);
  switch (datatype) {
    case 'BOOL':
      return fc.nat(1);
    case 'UINT64':
      return fc.oneof(extremes, fc.bigInt({ min: 0n, max: 2n ** 64n - 1n }), fc.nat().map(BigInt));
    case 'INT64':
      return fc.oneof(
        extremes,
        fc.bigInt({ min: -(2n ** 63n), max: 2n ** 63n - 1n }),
        fc.integer().map(BigInt),
      );
    case 'FP32':
      return fc.oneof(extremes, fc.float());
    case 'FP64':
      return fc.oneof(extremes, fc.double());
    case 'FP16':
      return fc.nat(0xffff);
    case 'BYTES':
      return fc.oneof(
        extremes,
        fc.string({ unit: 'binary' }).filter((text) => !text.includes('\0')),
      );
    case 'UINT8':
    case 'UINT16':
    case 'UINT32':
    case 'INT8':
    case 'INT16':
    case 'INT32': {
      const range = EXTREMES[datatype] as number[];
      return fc.integer({ min: Math.min(...range), max: Math.max(...range) });
    }
  }
}

/** Tensors of any datatype (or those given), rank 0 to 4, sizes 0 to 4. */
export function anyTensor(datatypes: readonly Datatype[] = DATATYPES): fc.Arbitrary<Tensor> {
  return fc
    .tuple(
      fc.constantFrom(...datatypes),
      fc.array(fc.oneof({ weight: 6, arbitrary: fc.integer({ min: 1, max: 4 }) }, fc.constant(0)), {
        maxLength: 4,
      }),
    )
    .chain(([datatype, shape]) => {
      const count = shape.reduce((product, size) => product * size, 1);
      return fc
        .array(elementOf(datatype), { minLength: count, maxLength: count })
        .map((elements) => tensorOf(datatype, shape, elements));
    });
}

/** A tensor's bits, so that NaN equals itself and 0 is not -0. */
export function bitsOf(tensor: Tensor): unknown {
  const { data } = tensor;
  if (Array.isArray(data)) return data;
  // JSON has one NaN; its payload and sign are not the number's.
  if (tensor.datatype === 'FP32' || tensor.datatype === 'FP64') {
    return Array.from(data as Float64Array, (value) => (Object.is(value, -0) ? '-0' : String(value)));
  }
  return Array.from<number | bigint, string>(data as Iterable<number | bigint>, String);
}
