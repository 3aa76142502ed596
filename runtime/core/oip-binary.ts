import { PilotlightError } from '../../contracts/errors.ts';
import { decodeBinaryTensor, decodeText } from './binary-tensor.ts';
import { isVariable, type ModelSignature } from './model-signature.ts';
import { decodeInferRequest } from './oip-json.ts';
import { type InferRequest, noParameters } from './oip-messages.ts';
import {
  DEFAULT_TENSOR_LIMITS,
  elementSizeBytes,
  shown,
  showShape,
  type Tensor,
  type TensorLimits,
} from './tensor.ts';

/** Lower case, as Node gives header names. */
export const INFERENCE_HEADER_LENGTH = 'inference-header-content-length';

/**
 * An inference request from an HTTP body, by its header `Inference-Header-Content-Length`:
 * absent, the body is JSON; `0`, the body is the raw data of the model's one input; else that many bytes of JSON,
 * then the binary tensors in the order of the inputs that announce them.
 * The tensors may be views of `body`, so it must not be reused while they are.
 */
export function decodeInferBody(
  body: Uint8Array,
  headerLength: string | undefined,
  signature: ModelSignature,
  limits: TensorLimits = DEFAULT_TENSOR_LIMITS,
): InferRequest {
  if (headerLength === undefined) return decodeInferRequest(body, limits);
  const jsonSizeBytes = parseHeaderLength(headerLength, body.byteLength);
  if (jsonSizeBytes === 0) return decodeRawRequest(body, signature, limits);
  return decodeBinaryRequest(body, jsonSizeBytes, limits);
}

/** The length of the JSON from the header's text; throws `invalid-request` unless it is a number of bytes that the body has. */
function parseHeaderLength(text: string, bodySizeBytes: number): number {
  const trimmed = text.trim();
  if (!/^\d{1,15}$/.test(trimmed)) {
    invalid(`header Inference-Header-Content-Length must be a whole number of bytes, got '${shown(text)}'`);
  }
  const length = Number(trimmed);
  if (length > bodySizeBytes) {
    invalid(
      `header Inference-Header-Content-Length says ${length} bytes of JSON, but the body has ${bodySizeBytes}`,
    );
  }
  return length;
}

function decodeBinaryRequest(body: Uint8Array, jsonSizeBytes: number, limits: TensorLimits): InferRequest {
  let position = jsonSizeBytes;
  const request = decodeInferRequest(body.subarray(0, jsonSizeBytes), limits, (sizeBytes, name) => {
    const left = body.byteLength - position;
    if (sizeBytes > left) {
      invalid(
        `input '${shown(name)}': binary_data_size says ${sizeBytes} bytes, but ${left} are left of the body`,
      );
    }
    position += sizeBytes;
    return body.subarray(position - sizeBytes, position);
  });
  if (position !== body.byteLength) {
    invalid(
      `the body has ${body.byteLength} bytes, but its JSON (${jsonSizeBytes}) and the binary_data_size of its inputs add up to ${position}`,
    );
  }
  return request;
}

/**
 * A request that is nothing but the data of one input (header value 0). The batch dimension, where the model has
 * one and another dimension is variable, is 1; at most one other may be, and follows from the size, as a batch does
 * where all others are fixed. BYTES is one element: the
 * whole body, without a length. All outputs go back as binary data. Rules: Triton, src/infer_request.cc.
 */
function decodeRawRequest(body: Uint8Array, signature: ModelSignature, limits: TensorLimits): InferRequest {
  const [input, ...others] = signature.inputs;
  if (input === undefined || others.length > 0) {
    invalid(
      `a raw body (Inference-Header-Content-Length: 0) needs a model with one input, this one has ${signature.inputs.length}; send JSON before the data`,
    );
  }
  const shape = input.shape.map((dimension) => (isVariable(dimension) ? -1 : Number(dimension)));
  if (signature.maxBatchSize > 0 && shape.lastIndexOf(-1) > 0) shape[0] = 1;
  const variable = shape.indexOf(-1);
  if (variable >= 0 && variable !== shape.lastIndexOf(-1)) {
    invalid(
      `input '${input.name}': shape ${showShape(input.shape)} has more than one variable dimension, so a raw body cannot tell them; send JSON before the data`,
    );
  }
  const fixedCount = shape.reduce((product, size) => (size < 0 ? product : product * size), 1);
  const { name, datatype } = input;
  let data: Tensor['data'];
  if (datatype === 'BYTES') {
    if (variable >= 0) shape[variable] = 1;
    if (fixedCount !== 1) {
      invalid(
        `input '${name}': a raw body is one element of BYTES, but shape ${showShape(input.shape)} holds ${fixedCount}`,
      );
    }
    data = [decodeText(body, name, 0)];
  } else {
    if (variable >= 0) {
      const strideBytes = fixedCount * elementSizeBytes(datatype);
      if (strideBytes === 0 || body.byteLength % strideBytes !== 0) {
        invalid(
          `input '${name}': a raw body for ${datatype} of shape ${showShape(input.shape)} must be a multiple of ${strideBytes} bytes, got ${body.byteLength}`,
        );
      }
      shape[variable] = body.byteLength / strideBytes;
    }
    data = decodeBinaryTensor(body, { name, datatype, shape }, limits);
  }
  return {
    id: undefined,
    parameters: noParameters(),
    inputs: [{ name, datatype, shape, data }],
    outputs: [],
    binaryDataOutput: true,
  };
}

function invalid(message: string): never {
  throw new PilotlightError('invalid-request', message);
}
