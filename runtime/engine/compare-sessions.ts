import { PilotlightError } from '../../contracts/errors.ts';
import type { CompareResult } from '../../contracts/model-tools.ts';
import { madeUpInputs } from '../core/made-up-inputs.ts';
import { inputSignature, type ModelSignature, showNames, validateInputs } from '../core/model-signature.ts';
import { ParityTally } from '../core/parity.ts';
import type { Tensor } from '../core/tensor.ts';
import type { Instance } from './instance.ts';
import { warmUpInputs } from './warm-up-input.ts';

/** One of two models that are compared. */
export interface Comparable {
  readonly instance: Pick<Instance, 'run'>;
  readonly signature: ModelSignature;
}

/** Inputs of one run. */
export interface Sample {
  readonly name: string;
  read(signature: ModelSignature): Promise<readonly Tensor[]>;
}

export interface CompareOptions {
  /** None: inputs are made up from the signature. */
  readonly samples: readonly Sample[];
  readonly signal: AbortSignal;
  /** Told before each sample: the share of all that is done. */
  readonly onProgress?: (share: number) => void;
}

/** Of generated inputs: enough to see a model that is wrong, and no proof that one is right. */
const GENERATED_SAMPLES = 8;

/**
 * Runs two models on the same samples, one after the other.
 *
 * @throws PilotlightError when a sample can't be had, a run fails, or the models can't be compared
 */
export async function compareSessions(
  original: Comparable,
  candidate: Comparable,
  { samples, signal, onProgress }: CompareOptions,
): Promise<CompareResult> {
  refuseOtherInputs(original.signature, candidate.signature);
  const tally = new ParityTally();
  const isGenerated = samples.length === 0;
  const count = isGenerated ? GENERATED_SAMPLES : samples.length;
  const shapes = isGenerated ? generatedShapes(original.signature) : [];
  for (let index = 0; index < count; index += 1) {
    signal.throwIfAborted();
    const sample = samples[index];
    const name = sample?.name ?? `generated input ${index + 1}`;
    onProgress?.(index / count);
    const inputs =
      sample === undefined ? madeUpInputs(shapes, index + 1) : await readFitting(sample, original.signature);
    const expected = await outputsOf(original, inputs, `the original, on ${name}`);
    tally.add(name, expected, await outputsOf(candidate, inputs, `the candidate, on ${name}`));
  }
  return { samples: count, isGenerated, outputs: tally.outputs() };
}

function generatedShapes(signature: ModelSignature): Tensor[] {
  const shapes = warmUpInputs(signature);
  if (shapes !== undefined) return shapes;
  throw new PilotlightError(
    'invalid-request',
    'the shapes of its inputs are too large to make up: give stored samples',
  );
}

function refuseOtherInputs(original: ModelSignature, candidate: ModelSignature): void {
  const names = (signature: ModelSignature): string =>
    showNames([...signature.inputs].sort((a, b) => (a.name < b.name ? -1 : 1)));
  if (names(original) === names(candidate)) return;
  throw new PilotlightError(
    'model-invalid',
    `the two models can't be compared: the original takes ${names(original)}, the candidate ${names(candidate)}`,
  );
}

/** Runs take their inputs' memory, so each gets a copy, in the precision that the model wants. */
async function outputsOf(
  { instance, signature }: Comparable,
  inputs: readonly Tensor[],
  what: string,
): Promise<readonly Tensor[]> {
  const own = inputs.map((tensor) => inPrecisionOf(signature, tensor));
  try {
    return (await instance.run(own, undefined)).outputs;
  } catch (error) {
    const message = error instanceof Error ? error.message : String(error);
    throw new PilotlightError('inference-failed', `${what}: ${message}`, { cause: error });
  }
}

function inPrecisionOf(signature: ModelSignature, tensor: Tensor): Tensor {
  const { datatype } = inputSignature(signature, tensor.name);
  const { data } = tensor;
  if (Array.isArray(data)) return tensor;
  if (datatype === 'FP16' && tensor.datatype === 'FP32') {
    return { ...tensor, datatype, data: new Uint16Array(Float16Array.from(data as Float32Array).buffer) };
  }
  if (datatype === 'FP32' && tensor.datatype === 'FP16') {
    const bits = (data as Uint16Array).slice();
    return { ...tensor, datatype, data: Float32Array.from(new Float16Array(bits.buffer)) };
  }
  return { ...tensor, data: data.slice() };
}

/** @throws PilotlightError that names the sample */
async function readFitting(sample: Sample, signature: ModelSignature): Promise<Tensor[]> {
  try {
    const tensors = await sample.read(signature);
    const fitting = tensors.map((tensor) =>
      signature.inputs.some(({ name }) => name === tensor.name) ? inPrecisionOf(signature, tensor) : tensor,
    );
    validateInputs(signature, fitting);
    return fitting;
  } catch (error) {
    const message = error instanceof Error ? error.message : String(error);
    throw new PilotlightError('invalid-request', `sample ${sample.name}: ${message}`, { cause: error });
  }
}
