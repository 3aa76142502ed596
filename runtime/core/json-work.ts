import type { ModelSignature } from './model-signature.ts';
import { decodeInferBody } from './oip-binary.ts';
import type { InferRequest, InferResponse } from './oip-messages.ts';
import { type EncodedResponse, encodeInferResponse } from './oip-response.ts';
import type { Tensor } from './tensor.ts';
import { decodePredictRequest, encodePredictResponse, type PredictRequest } from './v1.ts';

/** What there is to do with JSON, by kind: plain data, so that another thread can do it as well. */
export interface JsonTasks {
  'decode-v2': { body: Uint8Array; headerLength: string | undefined; signature: ModelSignature };
  'decode-v1': { body: Uint8Array; signature: ModelSignature };
  'encode-v2': { response: InferResponse; binaryNames: ReadonlySet<string> };
  'encode-v1': { outputs: readonly Tensor[]; request: Pick<PredictRequest, 'layout' | 'rowCount'> };
}

export interface JsonResults {
  'decode-v2': InferRequest;
  'decode-v1': PredictRequest;
  'encode-v2': EncodedResponse;
  'encode-v1': Uint8Array;
}

export type JsonKind = keyof JsonTasks;

const WORK: { readonly [Kind in JsonKind]: (task: JsonTasks[Kind]) => JsonResults[Kind] } = {
  'decode-v2': ({ body, headerLength, signature }) => decodeInferBody(body, headerLength, signature),
  'decode-v1': ({ body, signature }) => decodePredictRequest(body, signature),
  'encode-v2': ({ response, binaryNames }) => encodeInferResponse(response, (name) => binaryNames.has(name)),
  'encode-v1': ({ outputs, request }) => encodePredictResponse(outputs, request),
};

/**
 * Does it here and now, and holds up its thread meanwhile.
 *
 * @throws PilotlightError as the codecs do
 */
export function doJsonWork<Kind extends JsonKind>(kind: Kind, task: JsonTasks[Kind]): JsonResults[Kind] {
  return WORK[kind](task);
}
