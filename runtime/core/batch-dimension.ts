import { PilotlightError } from '../../contracts/errors.ts';
import type { ModelSignature, TensorSignature } from './model-signature.ts';
import { showShape } from './tensor.ts';

type Signature = Pick<ModelSignature, 'inputs' | 'outputs'>;

/**
 * Whether requests may be put together without anybody having asked for it: dimension 0 carries one and the same name
 * in every input and output, and no other dimension does. An exporter that names it so means the batch.
 */
export function saysItsBatch(signature: Signature): boolean {
  const tensors = [...signature.inputs, ...signature.outputs];
  const name = tensors[0]?.shape[0];
  return (
    typeof name === 'string' &&
    tensors.every(({ shape }) => shape[0] === name && !shape.slice(1).includes(name))
  );
}

/**
 * Checks that requests for this model can be put together at all, for who asks for it.
 *
 * @throws PilotlightError `model-invalid` with the tensor and its shape.
 */
export function requireBatchDimension(signature: Signature, maxBatchSize: number): void {
  const check = (role: string, { name, shape }: TensorSignature): void => {
    const [first] = shape;
    const fail = (why: string): never => {
      throw new PilotlightError(
        'model-invalid',
        `requests can't be put together to batches of ${maxBatchSize}: ${role} '${name}' of shape ${showShape(shape)} ${why}; export the model with a variable first dimension, or ask for no batching (maxBatchSize 1)`,
      );
    };
    if (first === undefined) fail('is a scalar and has no first dimension');
    if (typeof first === 'number' && first >= 0) fail(`has a first dimension that is fixed at ${first}`);
    if (typeof first === 'string' && shape.slice(1).includes(first)) {
      fail(
        `names its first dimension '${first}' a second time, so rows of one request would change another's`,
      );
    }
  };
  for (const input of signature.inputs) check('input', input);
  for (const output of signature.outputs) check('output', output);
}
