import type { ModelSignature, SignatureDimension } from '../core/model-signature.ts';
import { allocateData, type Datatype, type Tensor, type TensorData } from '../core/tensor.ts';

/**
 * Most elements of one made-up input: 2^24 FP32 are 64 MiB, enough for a batch of images, and a model whose
 * fixed shapes ask for more is warmed by its first request.
 */
const MAX_ELEMENTS = 2 ** 24;

/** A stand-in for a variable dimension that isn't the first: small, a multiple of what strides divide by. */
const VARIABLE_SIZE = 32;

/**
 * Inputs to run a model on before anybody asks: batch 1, other variable dimensions 32 (one value for each
 * name), all ones. Ones are the safest made-up value: not 0, which divides and is an empty shape, and within
 * every vocabulary. Undefined when a shape is too large to make up.
 */
export function warmUpInputs(signature: ModelSignature): Tensor[] | undefined {
  const tensors: Tensor[] = [];
  for (const { name, datatype, shape } of signature.inputs) {
    const sizes = shape.map((dimension, index) => sizeOf(dimension, index));
    const count = sizes.reduce((product, size) => product * size, 1);
    if (count > MAX_ELEMENTS) return undefined;
    tensors.push({ name, datatype, shape: sizes, data: ones(datatype, count) });
  }
  return tensors;
}

function sizeOf(dimension: SignatureDimension, index: number): number {
  if (typeof dimension === 'number' && dimension >= 0) return dimension;
  const named = typeof dimension === 'string' && /batch/i.test(dimension);
  return index === 0 || named ? 1 : VARIABLE_SIZE;
}

function ones(datatype: Datatype, count: number): TensorData {
  const data = allocateData(datatype, count);
  if (Array.isArray(data)) return data;
  if (data instanceof BigInt64Array || data instanceof BigUint64Array) return data.fill(1n);
  // 0x3c00 is 1.0 as an IEEE half.
  return data.fill(datatype === 'FP16' ? 0x3c00 : 1);
}
