import { PilotlightError } from '../../contracts/errors.ts';
import type { ModelSignature, TensorSignature } from '../core/model-signature.ts';
import { datatypeOfOrt } from '../core/tensor.ts';
import type { ValueMetadata } from './worker-messages.ts';

/**
 * What a model takes and gives, from ONNX Runtime's metadata. An unnamed variable dimension becomes -1.
 *
 * `maxBatchSize` is 0 until requests are put together: a client that reads another figure in `/config` takes the
 * first dimension for that of the batch, which the `dims` beside it leave out.
 *
 * @throws PilotlightError `model-invalid` for an input or output that is no tensor of the protocol's datatypes.
 */
export function signatureOf(
  inputs: readonly ValueMetadata[],
  outputs: readonly ValueMetadata[],
): ModelSignature {
  return {
    inputs: inputs.map((value) => tensorSignature('input', value)),
    outputs: outputs.map((value) => tensorSignature('output', value)),
    maxBatchSize: 0,
  };
}

function tensorSignature(role: string, value: ValueMetadata): TensorSignature {
  if (!value.isTensor) {
    throw new PilotlightError(
      'model-invalid',
      `${role} '${value.name}' is a sequence, map or optional; the inference protocol carries tensors only: export the model with tensor ${role}s`,
    );
  }
  const datatype = datatypeOfOrt(value.type);
  if (datatype === undefined) {
    throw new PilotlightError(
      'model-invalid',
      `${role} '${value.name}' has the ONNX type ${value.type}, which the inference protocol cannot carry`,
    );
  }
  return { name: value.name, datatype, shape: value.shape.map((size) => (size === '' ? -1 : size)) };
}
