import { Buffer } from 'node:buffer';
import { PilotlightError } from '../../contracts/errors.ts';
import { encodeBinaryTensor } from './binary-tensor.ts';
import { flatJson } from './json-output.ts';
import type { InferResponse, Parameters } from './oip-messages.ts';

/** A response body. Binary tensors are views of the outputs' memory: send them before the outputs are reused. */
export interface EncodedResponse {
  readonly contentType: 'application/json' | 'application/octet-stream';
  /** For header `Inference-Header-Content-Length`; undefined when the whole body is JSON. */
  readonly inferenceHeaderLengthBytes: number | undefined;
  /** JSON first, then the binary tensors in the order of the outputs. */
  readonly chunks: readonly Uint8Array[];
  /** All chunks together, for `Content-Length`. */
  readonly sizeBytes: number;
}

/**
 * Encodes a response; `isBinary` says which outputs go behind the JSON instead of into it.
 * Throws `unsupported` for an output that JSON cannot hold.
 */
export function encodeInferResponse(
  response: InferResponse,
  isBinary: (outputName: string) => boolean,
): EncodedResponse {
  const binaryChunks: Uint8Array[] = [];
  const outputs = response.outputs.map((output) => {
    const head = `{"name":${JSON.stringify(output.name)},"datatype":"${output.datatype}","shape":${JSON.stringify(output.shape)}`;
    if (isBinary(output.name)) {
      const bytes = encodeBinaryTensor(output);
      binaryChunks.push(bytes);
      return `${head},"parameters":{"binary_data_size":${bytes.byteLength}}}`;
    }
    if (output.datatype === 'FP16') {
      throw new PilotlightError(
        'invalid-request',
        `output '${output.name}' is FP16, which JSON cannot carry; ask for it as binary data`,
      );
    }
    return `${head},"data":${flatJson(output)}}`;
  });
  const fields = [`"model_name":${JSON.stringify(response.modelName)}`];
  if (response.modelVersion !== undefined) {
    fields.push(`"model_version":${JSON.stringify(response.modelVersion)}`);
  }
  if (response.id !== undefined) fields.push(`"id":${JSON.stringify(response.id)}`);
  const parameters = parametersJson(response.parameters);
  if (parameters !== '{}') fields.push(`"parameters":${parameters}`);
  const json = jsonBytes(fields, outputs);
  return {
    contentType: binaryChunks.length === 0 ? 'application/json' : 'application/octet-stream',
    inferenceHeaderLengthBytes: binaryChunks.length === 0 ? undefined : json.byteLength,
    chunks: [json, ...binaryChunks],
    sizeBytes: binaryChunks.reduce((sum, chunk) => sum + chunk.byteLength, json.byteLength),
  };
}

/** Parameters as a JSON object; integers beyond 2^53 with all their digits. */
function parametersJson(parameters: Parameters): string {
  const members = Object.entries(parameters).map(([key, value]) => {
    const text = typeof value === 'bigint' ? value.toString() : JSON.stringify(value);
    return `${JSON.stringify(key)}:${text}`;
  });
  return `{${members.join(',')}}`;
}

function jsonBytes(fields: readonly string[], outputs: readonly string[]): Uint8Array {
  try {
    return Buffer.from(`{${fields.join(',')},"outputs":[${outputs.join(',')}]}`);
  } catch (error) {
    if (!(error instanceof RangeError)) throw error;
    throw new PilotlightError('unsupported', 'the response is too large for JSON; ask for binary data', {
      cause: error,
    });
  }
}
