import { PilotlightError } from '../../../contracts/errors.ts';
import { decodeBinaryTensor } from '../binary-tensor.ts';
import { isVariable, type ModelSignature, showNames } from '../model-signature.ts';
import {
  allocateData,
  type Datatype,
  DEFAULT_TENSOR_LIMITS,
  elementCount,
  showShape,
  type Tensor,
  type TensorData,
} from '../tensor.ts';

/** One entry of `model_warmup`. */
export interface WarmUpSample {
  readonly name: string;
  /** How often it is run. */
  readonly runs: number;
  /** Rows of the run, each the same, where the model has a batch. */
  readonly rows: number;
  readonly inputs: readonly SampleInput[];
}

interface SampleInput {
  readonly name: string;
  readonly datatype: Datatype;
  /** Of one row: without the batch dimension where there is one. */
  readonly dims: readonly number[];
  readonly data: 'zero' | 'random' | { readonly file: string };
}

/** Elements of one input: as many as the engine makes up. */
const LIMITS = { ...DEFAULT_TENSOR_LIMITS, maxElements: 2 ** 24 };

/** Names of files below `warmup/` that samples take their data from. */
export function warmUpFiles(samples: readonly WarmUpSample[]): string[] {
  const files = samples.flatMap(({ inputs }) =>
    inputs.flatMap(({ data }) => (typeof data === 'string' ? [] : [data.file])),
  );
  return [...new Set(files)];
}

/** Checks samples against what the model takes. @throws PilotlightError `model-invalid` */
export function checkSamples(samples: readonly WarmUpSample[], signature: ModelSignature): void {
  for (const sample of samples) {
    const error = (what: string): PilotlightError =>
      new PilotlightError('model-invalid', `config.pbtxt: model_warmup '${sample.name}': ${what}`);
    if (sample.rows > Math.max(1, signature.maxBatchSize)) {
      throw error(
        `a batch_size of ${sample.rows} is more than max_batch_size allows (${signature.maxBatchSize})`,
      );
    }
    for (const { name, datatype, dims } of sample.inputs) {
      const input = signature.inputs.find((one) => one.name === name);
      if (input === undefined)
        throw error(`the model has no input '${name}'; it has ${showNames(signature.inputs)}`);
      const shape = shapeOf(dims, sample.rows, signature);
      const fits =
        shape.length === input.shape.length &&
        input.shape.every((size, index) => isVariable(size) || size === shape[index]);
      if (datatype !== input.datatype || !fits) {
        throw error(
          `input '${name}' is ${datatype} of shape ${showShape(shape)} there, and the model takes ${input.datatype} of shape ${showShape(input.shape)}`,
        );
      }
      elementCount(shape, name, LIMITS);
    }
    const left = signature.inputs.find(({ name }) => !sample.inputs.some((one) => one.name === name));
    if (left !== undefined) throw error(`it leaves out input '${left.name}', which the model wants`);
  }
}

/**
 * Inputs of one run after the other.
 *
 * @param files the bytes of what `warmUpFiles` names: one row each
 * @param random numbers from 0 up to and without 1
 * @throws PilotlightError `invalid-request` for a file whose size is another than that of its tensor
 */
export function* warmUpRuns(
  samples: readonly WarmUpSample[],
  signature: ModelSignature,
  files: ReadonlyMap<string, Uint8Array>,
  random: () => number,
): Iterable<Tensor[]> {
  for (const { inputs, rows, runs } of samples) {
    for (let run = 0; run < runs; run += 1) {
      yield inputs.map(({ name, datatype, dims, data }) => {
        const row = rowOf({ name, datatype, shape: dims }, data, files, random);
        return { name, datatype, shape: shapeOf(dims, rows, signature), data: repeated(row, datatype, rows) };
      });
    }
  }
}

function shapeOf(dims: readonly number[], rows: number, { maxBatchSize }: ModelSignature): number[] {
  return maxBatchSize > 0 ? [rows, ...dims] : [...dims];
}

function rowOf(
  tensor: Omit<Tensor, 'data'>,
  data: SampleInput['data'],
  files: ReadonlyMap<string, Uint8Array>,
  random: () => number,
): TensorData {
  if (typeof data !== 'string')
    return decodeBinaryTensor(files.get(data.file) ?? new Uint8Array(), tensor, LIMITS);
  const { name, datatype, shape } = tensor;
  const made = allocateData(datatype, elementCount(shape, name, LIMITS));
  if (data === 'zero' || Array.isArray(made)) return made;
  if (made instanceof BigInt64Array || made instanceof BigUint64Array)
    return made.map(() => BigInt(random() < 0.5));
  if (datatype === 'FP16') return new Uint16Array(Float16Array.from(made, () => random()).buffer);
  const isFloat = datatype === 'FP32' || datatype === 'FP64';
  // Whole numbers are 0 or 1: within every vocabulary.
  return made.map(() => (isFloat ? random() : Number(random() < 0.5)));
}

function repeated(row: TensorData, datatype: Datatype, rows: number): TensorData {
  if (rows === 1) return row;
  const all = allocateData(datatype, row.length * rows);
  for (let index = 0; index < rows; index += 1) {
    for (let element = 0; element < row.length; element += 1) {
      const value = row[element];
      if (value !== undefined) all[index * row.length + element] = value;
    }
  }
  return all;
}
