import { open, readFile } from 'node:fs/promises';
import { PilotlightError } from '../../contracts/errors.ts';
import type { CompareResult, CompareToolJob, StoredSample } from '../../contracts/model-tools.ts';
import { defaultCacheDir } from '../cache-dir.ts';
import { madeUpInputs } from '../core/made-up-inputs.ts';
import { inputSignature, type ModelSignature, showNames, validateInputs } from '../core/model-signature.ts';
import { decodeInferRequest } from '../core/oip-json.ts';
import { ParityTally } from '../core/parity.ts';
import { elementSizeBytes, parseDatatype, type Tensor, viewOf } from '../core/tensor.ts';
import { warmUpInputs } from '../engine/warm-up-input.ts';
import { type OpenedModel, openModel } from '../storage/open-model.ts';
import { redactUri, uriFromArgument } from '../storage/uri.ts';
import type { ToolVoice } from './main.ts';
import { openSession, type ToolSession } from './open-session.ts';

/** Of generated inputs: enough to see a model that is wrong, and no proof that one is right. */
const GENERATED_SAMPLES = 8;

/**
 * Runs two models on the same samples and tells what their outputs differ by.
 *
 * @throws PilotlightError when a model or a sample can't be had, or they can't be compared
 */
export async function compare(
  job: CompareToolJob,
  voice: ToolVoice,
  signal: AbortSignal,
): Promise<CompareResult> {
  const original = await opened(job.original, job, voice, signal);
  const candidate = await opened(job.candidate, job, voice, signal);
  try {
    voice.progress('creating sessions');
    const [left, right] = [await openSession(original, 1), await openSession(candidate, 1)];
    try {
      return await compareSessions(left, right, job.samples, voice, signal);
    } finally {
      await Promise.all([left.instance.retire(), right.instance.retire()]);
    }
  } finally {
    await original.release();
    await candidate.release();
  }
}

async function opened(
  uri: string,
  { cacheDir = defaultCacheDir(process.env) }: CompareToolJob,
  voice: ToolVoice,
  signal: AbortSignal,
): Promise<OpenedModel> {
  const address = uriFromArgument(uri, process.cwd());
  return openModel({
    uri: address,
    cacheDir,
    signal,
    onProgress: ({ bytesDone, bytesTotal }) =>
      voice.progress(`fetching ${redactUri(address)}`, bytesDone / Math.max(1, bytesTotal)),
  });
}

async function compareSessions(
  left: ToolSession,
  right: ToolSession,
  samples: readonly StoredSample[],
  voice: ToolVoice,
  signal: AbortSignal,
): Promise<CompareResult> {
  refuseOtherInputs(left.signature, right.signature);
  const tally = new ParityTally();
  const isGenerated = samples.length === 0;
  const count = isGenerated ? GENERATED_SAMPLES : samples.length;
  const shapes = isGenerated ? generatedShapes(left.signature) : [];
  for (let index = 0; index < count; index += 1) {
    signal.throwIfAborted();
    const sample = samples[index];
    const name = sample?.name ?? `generated input ${index + 1}`;
    voice.progress('comparing', index / count);
    const inputs =
      sample === undefined ? madeUpInputs(shapes, index + 1) : await readSample(sample, left.signature);
    const expected = await outputsOf(left, inputs, `the original, on ${name}`);
    tally.add(name, expected, await outputsOf(right, inputs, `the candidate, on ${name}`));
  }
  return { samples: count, isGenerated, outputs: tally.outputs() };
}

function generatedShapes(signature: ModelSignature): Tensor[] {
  const shapes = warmUpInputs(signature);
  if (shapes !== undefined) return shapes;
  throw new PilotlightError(
    'invalid-request',
    'the shapes of its inputs are too large to make up: give stored samples (--samples)',
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
  { instance, signature }: ToolSession,
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
async function readSample(sample: StoredSample, signature: ModelSignature): Promise<Tensor[]> {
  try {
    const tensors =
      sample.kind === 'request'
        ? decodeInferRequest(await readFile(sample.path)).inputs
        : await Promise.all(sample.tensors.map((tensor) => readTensor(tensor, signature)));
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

async function readTensor(
  stored: Extract<StoredSample, { kind: 'tensors' }>['tensors'][number],
  signature: ModelSignature,
): Promise<Tensor> {
  const [only, ...more] = signature.inputs;
  if (stored.input === undefined && (only === undefined || more.length > 0)) {
    throw new Error(
      `the model takes ${showNames(signature.inputs)}: give a folder with NAME.npy for each input`,
    );
  }
  const name = stored.input ?? only?.name ?? '';
  const datatype = parseDatatype(stored.datatype, name);
  if (datatype === 'BYTES') throw new Error(`input '${name}': texts come in JSON`);
  const count = stored.shape.reduce((product, size) => product * size, 1);
  const bytes = new Uint8Array(count * elementSizeBytes(datatype));
  const handle = await open(stored.path, 'r');
  try {
    const { bytesRead } = await handle.read(bytes, 0, bytes.length, stored.offset);
    if (bytesRead < bytes.length) throw new Error(`${stored.path} ends after ${bytesRead} bytes of data`);
  } finally {
    await handle.close();
  }
  return { name, datatype, shape: stored.shape, data: viewOf(datatype, bytes.buffer, 0, count) };
}
