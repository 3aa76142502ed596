import type { ModelSignature } from './model-signature.ts';
import type { Tensor } from './tensor.ts';

/**
 * For how long a body holds up its thread, as an estimate: nanoseconds for each byte read and each number written,
 * of the slower cases measured (Node 26.10, one core). Read: OIP 1.5 to 2.5, 5 for numbers of one digit; V1, which
 * needs three passes, 6 to 9; texts, each a string of its own, 13 to 22. Written: 75 to 100, 64-bit integers 150.
 */
const READ_V2_NS = 2.5;
const READ_V1_NS = 7;
const READ_TEXTS_NS = 20;
const WRITE_NS = 100;

/** Nanoseconds that reading an OIP body of that many bytes takes. */
export function readV2Ns(
  bodyBytes: number,
  headerLength: string | undefined,
  signature: ModelSignature,
): number {
  // Binary tensors are views; their texts are not. A body that is nothing but data is taken as it is.
  const jsonBytes = headerLength === undefined ? bodyBytes : Math.min(bodyBytes, Number(headerLength) || 0);
  if (jsonBytes === 0) return 0;
  return takesTexts(signature) ? bodyBytes * READ_TEXTS_NS : jsonBytes * READ_V2_NS;
}

/** Nanoseconds that reading a V1 body of that many bytes takes. */
export function readV1Ns(bodyBytes: number, signature: ModelSignature): number {
  return bodyBytes * (takesTexts(signature) ? READ_TEXTS_NS : READ_V1_NS);
}

/**
 * Nanoseconds that writing these as JSON takes. Texts don't count: to hand them over takes as long as to write them.
 */
export function writeNs(outputs: readonly Tensor[], isBinary: (name: string) => boolean): number {
  let numbers = 0;
  for (const { name, data } of outputs) {
    if (!Array.isArray(data) && !isBinary(name)) numbers += data.length;
  }
  return numbers * WRITE_NS;
}

function takesTexts({ inputs }: ModelSignature): boolean {
  return inputs.some(({ datatype }) => datatype === 'BYTES');
}
