import { Buffer } from 'node:buffer';
import { type TensorWithValues, tensorValues, type WireTensor } from './tensor-values.ts';

/** Name of the header that tells how many bytes of a body are JSON; the binary tensors follow. */
export const JSON_LENGTH_HEADER = 'inference-header-content-length';

export interface EncodedRequest {
  readonly headers: Record<string, string>;
  readonly body: Uint8Array;
}

/**
 * An inference request with binary tensors, answered with binary tensors: exact for every datatype, and without
 * the cost of text. `outputs` names the outputs wanted; none means all.
 */
export function encodeRequest(
  inputs: readonly WireTensor[],
  options: {
    readonly outputs?: readonly string[] | undefined;
    readonly id?: string | undefined;
    readonly parameters?: Readonly<Record<string, string | number | boolean>> | undefined;
  } = {},
): EncodedRequest {
  const head = {
    ...(options.id === undefined ? {} : { id: options.id }),
    inputs: inputs.map(({ name, datatype, shape, bytes }) => ({
      name,
      datatype,
      shape,
      parameters: { binary_data_size: bytes.byteLength },
    })),
    ...(options.outputs === undefined ? {} : { outputs: options.outputs.map((name) => ({ name })) }),
    parameters: { ...options.parameters, binary_data_output: true },
  };
  const json = Buffer.from(JSON.stringify(head));
  return {
    headers: { 'content-type': 'application/octet-stream', [JSON_LENGTH_HEADER]: String(json.length) },
    body: Buffer.concat([json, ...inputs.map(({ bytes }) => bytes)]),
  };
}

export interface InferAnswer {
  readonly modelName: string;
  readonly modelVersion: string | undefined;
  readonly id: string | undefined;
  readonly outputs: readonly TensorWithValues[];
}

interface OutputHead {
  name: string;
  datatype: string;
  shape: number[];
  parameters?: { binary_data_size?: number };
  data?: unknown;
}

/**
 * Reads an answer, JSON or with binary tensors behind it.
 *
 * @param jsonLength value of the header that says where the JSON ends; undefined: all of it is JSON.
 * @throws Error when the body is no answer of the protocol.
 */
export function decodeAnswer(body: Uint8Array, jsonLength: string | undefined): InferAnswer {
  const jsonBytes = jsonLength === undefined ? body.byteLength : Number(jsonLength);
  if (!Number.isSafeInteger(jsonBytes) || jsonBytes < 0 || jsonBytes > body.byteLength) {
    throw new Error(`the answer says ${jsonLength} bytes of JSON in a body of ${body.byteLength}`);
  }
  const head = parseExact(new TextDecoder().decode(body.subarray(0, jsonBytes))) as {
    model_name?: string;
    model_version?: string;
    id?: string;
    outputs?: unknown;
  };
  if (!Array.isArray(head.outputs))
    throw new Error('the answer has no "outputs": is this an inference server?');
  let position = jsonBytes;
  const outputs = (head.outputs as OutputHead[]).map((output): TensorWithValues => {
    const { name, datatype, shape, parameters, data } = output;
    const sizeBytes = parameters?.binary_data_size;
    if (sizeBytes === undefined) {
      const values = [data].flat(Number.POSITIVE_INFINITY) as (number | bigint | boolean | string)[];
      return { name, datatype, shape, values: values.map((value) => numberOf(value, datatype)) as number[] };
    }
    position += sizeBytes;
    const bytes = body.subarray(position - sizeBytes, position);
    return { name, datatype, shape, values: tensorValues({ name, datatype, shape, bytes }) };
  });
  return {
    modelName: head.model_name ?? '',
    modelVersion: head.model_version,
    id: head.id,
    outputs,
  };
}

/** JSON of servers that follow the protocol writes what a number can't be in JSON as the text `NaN` or `Infinity`. */
function numberOf(value: number | bigint | boolean | string, datatype: string): unknown {
  return typeof value === 'string' && datatype !== 'BYTES' ? Number(value) : value;
}

/** JSON with integers beyond 2^53 as bigint, and with the bare NaN and Infinity that tensors may hold. */
export function parseExact(text: string): unknown {
  const quoted = text.replace(/"(?:[^"\\]|\\.)*"|-?\bInfinity\b|\bNaN\b/g, (token) =>
    token.startsWith('"') ? token : `"${token}"`,
  );
  return JSON.parse(quoted, (_key, value: unknown, context?: { source?: string }) =>
    typeof value === 'number' &&
    Number.isInteger(value) &&
    !Number.isSafeInteger(value) &&
    context?.source !== undefined &&
    /^-?\d+$/.test(context.source)
      ? BigInt(context.source)
      : value,
  );
}

/** An answer as JSON, integers exact, floats with the digits that tell them apart in their own precision. */
export function answerJson(answer: InferAnswer): string {
  const parts = answer.outputs.map(({ name, datatype, shape, values }) => {
    const data = Array.from(values as ArrayLike<unknown>, (value) => elementJson(value, datatype)).join(',');
    return `{"name":${JSON.stringify(name)},"datatype":"${datatype}","shape":${JSON.stringify(shape)},"data":[${data}]}`;
  });
  const head = [
    `"model_name":${JSON.stringify(answer.modelName)}`,
    ...(answer.modelVersion === undefined ? [] : [`"model_version":${JSON.stringify(answer.modelVersion)}`]),
    ...(answer.id === undefined ? [] : [`"id":${JSON.stringify(answer.id)}`]),
  ];
  return `{${head.join(',')},"outputs":[${parts.join(',')}]}`;
}

function elementJson(value: unknown, datatype: string): string {
  if (typeof value === 'bigint') return String(value);
  if (typeof value !== 'number') return JSON.stringify(value);
  if (!Number.isFinite(value)) return JSON.stringify(String(value));
  return shortNumber(value, datatype);
}

/** The fewest digits that come back as the same value of the datatype: 0.1 as FP32 is `0.1`, not 0.10000000149011612. */
export function shortNumber(value: number, datatype: string): string {
  if (datatype === 'FP32') {
    for (let digits = 6; digits < 9; digits++) {
      const text = value.toPrecision(digits);
      if (Math.fround(Number(text)) === value) return String(Number(text));
    }
  }
  return String(value);
}
