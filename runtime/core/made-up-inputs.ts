import type { Tensor } from './tensor.ts';

/** Where whole numbers stay: within every vocabulary and every mask. */
const WHOLE_NUMBERS = 2;

/**
 * Inputs of the shapes of `tensors` with other values: floats from -1 to 1, whole numbers and booleans 0 or 1, texts as
 * they are. The same for the same seed.
 */
export function madeUpInputs(tensors: readonly Tensor[], seed: number): Tensor[] {
  const next = pseudoRandom(seed);
  return tensors.map((tensor) => {
    const { datatype, data } = tensor;
    if (Array.isArray(data)) return tensor;
    const values = data.slice();
    for (let index = 0; index < values.length; index += 1) {
      const value = next();
      if (values instanceof BigInt64Array || values instanceof BigUint64Array) {
        values[index] = BigInt(Math.floor(value * WHOLE_NUMBERS));
      } else if (datatype === 'FP32' || datatype === 'FP64') values[index] = value * 2 - 1;
      else if (datatype !== 'FP16') values[index] = Math.floor(value * WHOLE_NUMBERS);
    }
    if (datatype !== 'FP16') return { ...tensor, data: values };
    const halves = Float16Array.from({ length: data.length }, () => next() * 2 - 1);
    return { ...tensor, data: new Uint16Array(halves.buffer) };
  });
}

/** Numerical Recipes' linear congruential generator: from 0 to below 1. */
function pseudoRandom(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return state / 2 ** 32;
  };
}
