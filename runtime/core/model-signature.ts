import { PilotlightError } from '../../contracts/errors.ts';
import {
  type Datatype,
  DEFAULT_TENSOR_LIMITS,
  elementCount,
  shown,
  showShape,
  type Tensor,
  type TensorLimits,
} from './tensor.ts';

/** A dimension: a fixed size, -1 for any size, or a name, which must have one size throughout a request. */
export type SignatureDimension = number | string;

export interface TensorSignature {
  readonly name: string;
  readonly datatype: Datatype;
  readonly shape: readonly SignatureDimension[];
}

/** What a loaded model takes and gives. */
export interface ModelSignature {
  readonly inputs: readonly TensorSignature[];
  readonly outputs: readonly TensorSignature[];
  /**
   * Requests that may be put together along the first dimension of every input and output; 0 when the model
   * has no batch dimension. Triton's `max_batch_size`: its `/config` then leaves that dimension out.
   */
  readonly maxBatchSize: number;
  /** Most rows (sizes of the first dimension) that one request may have, where a configuration bounds them. */
  readonly maxRows?: number;
}

/** True for a dimension that a request chooses. */
export function isVariable(dimension: SignatureDimension): boolean {
  return typeof dimension === 'string' || dimension < 0;
}

/** The input of that name; throws `invalid-request` with the names that there are. */
export function inputSignature(signature: ModelSignature, name: string): TensorSignature {
  const found = signature.inputs.find((input) => input.name === name);
  if (found !== undefined) return found;
  throw new PilotlightError(
    'invalid-request',
    `unexpected input '${shown(name)}'; the model takes ${showNames(signature.inputs)}`,
  );
}

/**
 * Checks the tensors of a request against the model, before anything reaches ONNX Runtime, whose own messages
 * name neither the tensor nor the dimension. Throws `invalid-request` with tensor, expectation and finding.
 */
export function validateInputs(
  signature: ModelSignature,
  tensors: readonly Tensor[],
  limits: TensorLimits = DEFAULT_TENSOR_LIMITS,
): void {
  const seen = new Set<string>();
  const boundSizes = new Map<string, { size: number; tensorName: string }>();
  for (const tensor of tensors) {
    if (seen.has(tensor.name)) invalid(`input '${shown(tensor.name)}' is given twice`);
    seen.add(tensor.name);
    const expected = inputSignature(signature, tensor.name);
    if (tensor.datatype !== expected.datatype) {
      invalid(`input '${expected.name}': expected datatype ${expected.datatype}, got ${tensor.datatype}`);
    }
    validateShape(expected, tensor.shape, boundSizes);
    validateRows(signature, tensor);
    const count = elementCount(tensor.shape, tensor.name, limits);
    if (tensor.data.length !== count) {
      invalid(
        `input '${expected.name}': shape ${showShape(tensor.shape)} holds ${count} elements, got ${tensor.data.length}`,
      );
    }
  }
  const missing = signature.inputs.find((input) => !seen.has(input.name));
  if (missing !== undefined) {
    invalid(
      `missing input '${missing.name}'; expected ${missing.datatype} of shape ${showShape(missing.shape)}, got ${
        tensors.length === 0
          ? 'no inputs'
          : `only ${showNames(tensors.map(({ name }) => ({ name: shown(name) })))}`
      }`,
    );
  }
}

function validateRows({ maxRows }: ModelSignature, { name, shape: [rows = 0] }: Tensor): void {
  if (maxRows === undefined || rows <= maxRows) return;
  invalid(
    `input '${name}': ${rows} rows are more than the max_batch_size of ${maxRows}; send them in several requests`,
  );
}

function validateShape(
  expected: TensorSignature,
  shape: readonly number[],
  boundSizes: Map<string, { size: number; tensorName: string }>,
): void {
  const wanted = `input '${expected.name}': expected shape ${showShape(expected.shape)}, got ${showShape(shape)}`;
  if (shape.length !== expected.shape.length) {
    invalid(`${wanted}: ${expected.shape.length} dimensions are needed, not ${shape.length}`);
  }
  for (const [index, size] of shape.entries()) {
    const dimension = expected.shape[index];
    if (typeof dimension === 'number' && dimension >= 0 && dimension !== size) {
      invalid(`${wanted}: dimension ${index} must be ${dimension}, not ${size}`);
    }
    if (typeof dimension !== 'string') continue;
    const bound = boundSizes.get(dimension);
    if (bound === undefined) boundSizes.set(dimension, { size, tensorName: expected.name });
    else if (bound.size !== size) {
      invalid(
        `${wanted}: dimension ${index} ('${dimension}') is ${size}, but input '${bound.tensorName}' has ${bound.size} for it`,
      );
    }
  }
}

/**
 * The outputs that a request asks for, in its order; all of the model's when it names none.
 * Throws `invalid-request` for an output that the model does not have or that is named twice.
 */
export function selectOutputs(
  signature: ModelSignature,
  requested: readonly { readonly name: string }[],
): readonly TensorSignature[] {
  if (requested.length === 0) return signature.outputs;
  const seen = new Set<string>();
  return requested.map(({ name }) => {
    if (seen.has(name)) invalid(`output '${shown(name)}' is requested twice`);
    seen.add(name);
    const found = signature.outputs.find((output) => output.name === name);
    if (found !== undefined) return found;
    return invalid(`unknown output '${shown(name)}'; the model gives ${showNames(signature.outputs)}`);
  });
}

/** Names for a message, the first twenty of them. */
export function showNames(tensors: readonly { readonly name: string }[]): string {
  const names = tensors.slice(0, 20).map(({ name }) => `'${name}'`);
  if (tensors.length > 20) names.push(`and ${tensors.length - 20} more`);
  return names.length === 0 ? 'none' : names.join(', ');
}

function invalid(message: string): never {
  throw new PilotlightError('invalid-request', message);
}
