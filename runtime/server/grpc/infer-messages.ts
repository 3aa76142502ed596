import { Buffer } from 'node:buffer';
import { PilotlightError } from '../../../contracts/errors.ts';
import { decodeBinaryTensor, encodeBinaryTensor } from '../../core/binary-tensor.ts';
import { parsePriority } from '../../core/priority.ts';
import { LENGTH_DELIMITED, WireReader, WireWriter } from '../../core/protobuf.ts';
import { DEFAULT_TENSOR_LIMITS, parseDatatype, shown, type Tensor } from '../../core/tensor.ts';
import { decodeContents, encodeContents } from './tensor-contents.ts';

/** A parameter as it came, so that it goes back with the very type that it had. */
interface ParameterEntry {
  key: string;
  entry: Uint8Array;
}

/** A ModelInferRequest before its tensors are decoded. */
export interface GrpcInferRequest {
  modelName: string;
  modelVersion: string;
  id: string;
  parameters: readonly ParameterEntry[];
  /** Undefined for the default. */
  priority: number | undefined;
  outputNames: readonly string[];
  /** True when data came as raw_input_contents. */
  isRaw: boolean;
  /** Decodes the tensors; apart from the rest, since a request for another model isn't worth it. */
  inputs(): Tensor[];
}

interface InputDraft {
  name: string;
  datatype: string;
  shape: number[];
  contents: Uint8Array[];
}

const { maxTensors, maxRank } = DEFAULT_TENSOR_LIMITS;

/** @throws PilotlightError `invalid-request`, `unsupported`. */
export function decodeModelInferRequest(message: Uint8Array): GrpcInferRequest {
  const reader = new WireReader(message);
  let modelName = '';
  let modelVersion = '';
  let id = '';
  const parameters: ParameterEntry[] = [];
  const drafts: InputDraft[] = [];
  const outputNames: string[] = [];
  const raw: Uint8Array[] = [];
  while (reader.next()) {
    switch (reader.field) {
      case 1:
        modelName = reader.string();
        break;
      case 2:
        modelVersion = reader.string();
        break;
      case 3:
        id = reader.string();
        break;
      case 4:
        bounded(parameters, maxTensors, 'parameters').push(readParameter(reader.bytes()));
        break;
      case 5:
        bounded(drafts, maxTensors, 'inputs').push(readInput(reader.bytes()));
        break;
      case 6:
        bounded(outputNames, maxTensors, 'outputs').push(readRequestedOutput(reader.bytes()));
        break;
      case 7:
        bounded(raw, maxTensors, 'raw_input_contents').push(reader.bytes());
        break;
      default:
        reader.skip();
    }
  }
  return {
    modelName,
    modelVersion,
    id,
    parameters,
    priority: priorityOf(parameters),
    outputNames,
    isRaw: raw.length > 0,
    inputs: () => (raw.length > 0 ? rawInputs(drafts, raw) : drafts.map(typedInput)),
  };
}

/** Triton's clients send it as `uint64_param`. @throws PilotlightError `invalid-request` */
function priorityOf(parameters: readonly ParameterEntry[]): number | undefined {
  const found = parameters.find(({ key }) => key === 'priority');
  return found === undefined ? undefined : parsePriority(valueOf(found));
}

function valueOf({ entry }: ParameterEntry): bigint | string | undefined {
  const reader = new WireReader(entry);
  let value: bigint | string | undefined;
  while (reader.next()) {
    if (reader.field !== 2) {
      reader.skip();
      continue;
    }
    for (const choice = new WireReader(reader.bytes()); choice.next(); ) {
      if (choice.field === 2) value = choice.int64();
      else if (choice.field === 5) value = BigInt.asUintN(64, choice.int64());
      else {
        value = 'of another type than int64 and uint64';
        choice.skip();
      }
    }
  }
  return value;
}

/** The id of a request that could not be served; empty where even that can't be read. */
export function requestIdOf(message: Uint8Array): string {
  try {
    for (const reader = new WireReader(message); reader.next(); ) {
      if (reader.field === 3) return reader.string();
      reader.skip();
    }
  } catch {
    // Broken as a whole: the error that it is answered with says so.
  }
  return '';
}

function readInput(message: Uint8Array): InputDraft {
  const reader = new WireReader(message);
  const draft: InputDraft = { name: '', datatype: '', shape: [], contents: [] };
  while (reader.next()) {
    switch (reader.field) {
      case 1:
        draft.name = reader.string();
        break;
      case 2:
        draft.datatype = reader.string();
        break;
      case 3:
        readDimensions(reader, draft);
        break;
      case 4:
        refuseSharedMemory(readParameter(reader.bytes()), `input '${shown(draft.name)}'`);
        break;
      case 5:
        bounded(draft.contents, maxTensors, 'contents').push(reader.bytes());
        break;
      default:
        reader.skip();
    }
  }
  return draft;
}

function readDimensions(reader: WireReader, draft: InputDraft): void {
  if (reader.wireType !== LENGTH_DELIMITED) {
    bounded(draft.shape, maxRank, 'dimensions').push(Number(reader.int64()));
    return;
  }
  const packed = new WireReader(reader.bytes());
  while (!packed.isAtEnd) {
    packed.varint();
    const dimension = Number(BigInt.asIntN(64, (BigInt(packed.high) << 32n) | BigInt(packed.low)));
    bounded(draft.shape, maxRank, 'dimensions').push(dimension);
  }
}

function readRequestedOutput(message: Uint8Array): string {
  const reader = new WireReader(message);
  let name = '';
  const parameters: ParameterEntry[] = [];
  while (reader.next()) {
    if (reader.field === 1) name = reader.string();
    else if (reader.field === 2)
      bounded(parameters, maxTensors, 'parameters').push(readParameter(reader.bytes()));
    else reader.skip();
  }
  for (const parameter of parameters) {
    refuseSharedMemory(parameter, `output '${shown(name)}'`);
    if (parameter.key === 'classification') {
      throw new PilotlightError(
        'unsupported',
        `output '${shown(name)}': parameter "classification" is not supported`,
      );
    }
  }
  return name;
}

function readParameter(entry: Uint8Array): ParameterEntry {
  const reader = new WireReader(entry);
  let key = '';
  while (reader.next()) {
    if (reader.field === 1) key = reader.string();
    // The value is walked through as well, since it goes back as it came.
    else if (reader.field === 2)
      for (const value = new WireReader(reader.bytes()); value.next(); ) value.skip();
    else reader.skip();
  }
  return { key, entry };
}

function refuseSharedMemory({ key }: ParameterEntry, what: string): void {
  if (key !== 'shared_memory_region') return;
  throw new PilotlightError(
    'unsupported',
    `${what}: shared memory is not supported; send the data in the request`,
  );
}

function rawInputs(drafts: readonly InputDraft[], raw: readonly Uint8Array[]): Tensor[] {
  if (raw.length !== drafts.length) {
    invalid(
      `raw_input_contents has ${raw.length} entries for ${drafts.length} inputs; expected one for each`,
    );
  }
  return drafts.map(({ name, datatype: datatypeText, shape, contents }, index) => {
    if (contents.length > 0) {
      invalid(`input '${shown(name)}' has contents beside raw_input_contents; expected one of them`);
    }
    const datatype = parseDatatype(datatypeText, name);
    const bytes = raw[index] ?? new Uint8Array();
    return {
      name,
      datatype,
      shape,
      data: decodeBinaryTensor(bytes, { name, datatype, shape }, DEFAULT_TENSOR_LIMITS),
    };
  });
}

function typedInput({ name, datatype: datatypeText, shape, contents }: InputDraft): Tensor {
  const datatype = parseDatatype(datatypeText, name);
  return { name, datatype, shape, data: decodeContents(contents, { name, datatype, shape }) };
}

function bounded<Item>(items: Item[], limit: number, what: string): Item[] {
  if (items.length >= limit) invalid(`the request has more than the ${limit} ${what} allowed`);
  return items;
}

/** Parameter `triton_final_response: true`, by which a client of Triton that asked for it knows that no more will come. */
const FINAL_RESPONSE: Uint8Array = Buffer.concat([
  Buffer.of(0x0a, 21),
  Buffer.from('triton_final_response'),
  Buffer.of(0x12, 2, 0x08, 1),
]);

/**
 * A ModelInferResponse. Raw when the request was, or when an output is FP16, which has no typed contents; the
 * protocol wants one form for all outputs. Raw outputs are views of the tensors' memory.
 */
export function encodeModelInferResponse(
  request: Pick<GrpcInferRequest, 'id' | 'parameters' | 'isRaw'>,
  model: { name: string; version: string },
  outputs: readonly Tensor[],
): WireWriter {
  const isRaw = request.isRaw || outputs.some(({ datatype }) => datatype === 'FP16');
  const writer = new WireWriter();
  writer.string(1, model.name);
  writer.string(2, model.version);
  writer.string(3, request.id);
  for (const { key, entry } of request.parameters) {
    writer.bytes(4, entry);
    if (key === 'triton_enable_empty_final_response') writer.bytes(4, FINAL_RESPONSE);
  }
  for (const output of outputs) {
    const message = new WireWriter();
    message.string(1, output.name);
    message.string(2, output.datatype);
    message.packedInt64(3, output.shape);
    if (!isRaw) message.nested(5, encodeContents(output));
    writer.nested(5, message);
  }
  if (isRaw) for (const output of outputs) writer.bytes(6, encodeBinaryTensor(output));
  return writer;
}

function invalid(message: string): never {
  throw new PilotlightError('invalid-request', message);
}
