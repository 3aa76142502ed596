import { PilotlightError } from '../../../contracts/errors.ts';
import {
  isVariable,
  type ModelSignature,
  type SignatureDimension,
  showNames,
  type TensorSignature,
} from '../model-signature.ts';
import { showShape } from '../tensor.ts';
import type { ConfiguredTensor, TritonConfig } from './model-config.ts';

/**
 * What a model takes and gives as it is configured: sizes that the configuration fixes are fixed, outputs that it
 * doesn't name are not given, and a request has at most `max_batch_size` rows.
 *
 * @throws PilotlightError `model-invalid` where configuration and model don't go together: with the tensor, what is
 *   configured and what the model has
 */
export function configuredSignature(config: TritonConfig, model: ModelSignature): ModelSignature {
  const maxBatchSize = config.maxBatchSize ?? 0;
  const inputs = narrowAll('input', config.inputs, model.inputs, maxBatchSize);
  const left = model.inputs.find(({ name }) => !config.inputs.some((one) => one.name === name));
  if (config.inputs.length > 0 && left !== undefined) {
    throw mismatch(`it leaves out input '${left.name}', which the model wants; add it`);
  }
  const outputs = narrowAll('output', config.outputs, model.outputs, maxBatchSize);
  return {
    ...model,
    inputs,
    outputs,
    maxBatchSize,
    ...(maxBatchSize > 0 && { maxRows: maxBatchSize }),
  };
}

/** Of those that are configured, in the model's order; all as the model has them where none is. */
function narrowAll(
  role: 'input' | 'output',
  configured: readonly ConfiguredTensor[],
  tensors: readonly TensorSignature[],
  maxBatchSize: number,
): TensorSignature[] {
  const byName = new Map<string, ConfiguredTensor>();
  for (const one of configured) {
    if (byName.has(one.name)) throw mismatch(`it names ${role} '${one.name}' twice`);
    byName.set(one.name, one);
    if (tensors.some(({ name }) => name === one.name)) continue;
    throw mismatch(`the model has no ${role} '${one.name}'; it has ${showNames(tensors)}`);
  }
  return tensors
    .filter(({ name }) => byName.size === 0 || byName.has(name))
    .map((tensor) => narrow(role, byName.get(tensor.name), tensor, maxBatchSize));
}

function narrow(
  role: string,
  configured: ConfiguredTensor | undefined,
  { name, datatype, shape }: TensorSignature,
  maxBatchSize: number,
): TensorSignature {
  const [first] = shape;
  if (maxBatchSize > 0 && (first === undefined || !isVariable(first))) {
    throw mismatch(
      `max_batch_size is ${maxBatchSize}, and ${role} '${name}' of the model has the shape ${showShape(shape)}, whose first dimension is no batch; say max_batch_size: 0 and all dims, or export the model with a variable first dimension`,
    );
  }
  if (configured?.datatype !== undefined && configured.datatype !== datatype) {
    throw mismatch(
      `${role} '${name}' has the data_type of ${configured.datatype}, and the model's is ${datatype}; write data_type: ${typeName(datatype)}`,
    );
  }
  const dims = configured?.dims;
  if (dims === undefined) return { name, datatype, shape };
  const rest = maxBatchSize > 0 ? shape.slice(1) : shape;
  const fits =
    dims.length === rest.length && rest.every((size, index) => isVariable(size) || size === dims[index]);
  if (!fits) {
    const without = maxBatchSize > 0 ? ' without the batch dimension' : '';
    throw mismatch(
      `${role} '${name}' has dims ${showShape(dims)}, and the model's shape${without} is ${showShape(rest)}; write dims: ${showShape(rest.map((size) => (isVariable(size) ? -1 : size)))}`,
    );
  }
  const narrowed = rest.map((size, index): SignatureDimension => {
    const wanted = dims[index] ?? -1;
    return wanted < 0 ? size : wanted;
  });
  return { name, datatype, shape: [...(maxBatchSize > 0 ? shape.slice(0, 1) : []), ...narrowed] };
}

function typeName(datatype: string): string {
  return datatype === 'BYTES' ? 'TYPE_STRING' : `TYPE_${datatype}`;
}

function mismatch(what: string): PilotlightError {
  return new PilotlightError('model-invalid', `config.pbtxt doesn't go with the model: ${what}`);
}
