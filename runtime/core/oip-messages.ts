import { PilotlightError } from '../../contracts/errors.ts';
import { type ModelSignature, selectOutputs, type TensorSignature } from './model-signature.ts';
import type { Tensor } from './tensor.ts';

/** A parameter of a request, tensor or response. Integers beyond 2^53 are bigint, so that they come back as they went in. */
export type ParameterValue = string | number | bigint | boolean;

/** Parameters by name, in the order they came; the object has no prototype, so `__proto__` is a key like any other. */
export type Parameters = Readonly<Record<string, ParameterValue>>;

export interface RequestedOutput {
  readonly name: string;
  /** The output's own `binary_data`; undefined leaves it to the request's `binary_data_output`. */
  readonly binaryData: boolean | undefined;
  readonly parameters: Parameters;
}

/** An inference request, whatever encoding it came in. */
export interface InferRequest {
  /** Echoed in the response; undefined when the caller gave none. */
  readonly id: string | undefined;
  readonly parameters: Parameters;
  readonly inputs: readonly Tensor[];
  /** Outputs asked for; empty means all. */
  readonly outputs: readonly RequestedOutput[];
  /** `binary_data_output`: how outputs come that don't say themselves. */
  readonly binaryDataOutput: boolean;
}

/** An inference response, whatever encoding it goes out in. */
export interface InferResponse {
  readonly modelName: string;
  readonly modelVersion: string | undefined;
  readonly id: string | undefined;
  readonly parameters: Parameters;
  readonly outputs: readonly Tensor[];
}

/** An output that a response will hold, and how. */
export interface PlannedOutput {
  readonly signature: TensorSignature;
  readonly binary: boolean;
}

/** Parameters that steer this protocol rather than the model; they are not echoed. */
const STEERING_PARAMETERS: ReadonlySet<string> = new Set(['binary_data_output']);

/** An empty set of parameters. */
export function noParameters(): Record<string, ParameterValue> {
  return Object.create(null) as Record<string, ParameterValue>;
}

/** The request's parameters as its response repeats them. */
export function echoedParameters(parameters: Parameters): Parameters {
  const echoed = noParameters();
  for (const [key, value] of Object.entries(parameters)) {
    if (!STEERING_PARAMETERS.has(key)) echoed[key] = value;
  }
  return echoed;
}

/**
 * Which outputs a response will hold, in which order and encoding; decided before inference, so that a request
 * that can't be answered costs no run. Throws `invalid-request` for an unknown output and for FP16 wanted as JSON.
 */
export function planOutputs(signature: ModelSignature, request: InferRequest): readonly PlannedOutput[] {
  const wanted = new Map(request.outputs.map((output) => [output.name, output.binaryData]));
  return selectOutputs(signature, request.outputs).map((output) => {
    const binary = wanted.get(output.name) ?? request.binaryDataOutput;
    if (output.datatype === 'FP16' && !binary) {
      throw new PilotlightError(
        'invalid-request',
        `output '${output.name}' is FP16, which JSON cannot carry; ask for it as binary data (parameters: {"binary_data": true}, or "binary_data_output": true for all)`,
      );
    }
    return { signature: output, binary };
  });
}
