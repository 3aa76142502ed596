import { Buffer } from 'node:buffer';
import { PilotlightError } from '../../../contracts/errors.ts';
import { decodeText } from '../../core/binary-tensor.ts';
import {
  FIXED32,
  FIXED64,
  LENGTH_DELIMITED,
  malformed,
  VARINT,
  WireReader,
  WireWriter,
} from '../../core/protobuf.ts';
import {
  allocateData,
  type Datatype,
  elementCount,
  elementSizeBytes,
  shown,
  showShape,
  type Tensor,
  type TensorData,
} from '../../core/tensor.ts';

interface ContentsRow {
  field: number;
  name: string;
  wireType: number;
}

const BOOLS: ContentsRow = { field: 1, name: 'bool_contents', wireType: VARINT };
const INTS: ContentsRow = { field: 2, name: 'int_contents', wireType: VARINT };
const UINTS: ContentsRow = { field: 4, name: 'uint_contents', wireType: VARINT };

/** Which field of InferTensorContents carries which datatype; FP16 has none and is raw only. */
const CONTENTS: Readonly<Record<Exclude<Datatype, 'FP16'>, ContentsRow>> = {
  BOOL: BOOLS,
  INT8: INTS,
  INT16: INTS,
  INT32: INTS,
  INT64: { field: 3, name: 'int64_contents', wireType: VARINT },
  UINT8: UINTS,
  UINT16: UINTS,
  UINT32: UINTS,
  UINT64: { field: 5, name: 'uint64_contents', wireType: VARINT },
  FP32: { field: 6, name: 'fp32_contents', wireType: FIXED32 },
  FP64: { field: 7, name: 'fp64_contents', wireType: FIXED64 },
  BYTES: { field: 8, name: 'bytes_contents', wireType: LENGTH_DELIMITED },
};

type Head = Pick<Tensor, 'name' | 'datatype' | 'shape'>;

/**
 * The data of a tensor from its InferTensorContents messages (several are put together, as Protocol Buffers say).
 * Elements are counted before room is taken, so a large shape alone costs nothing.
 *
 * @throws PilotlightError `invalid-request` with the tensor's name, what was expected and what came.
 */
export function decodeContents(messages: readonly Uint8Array[], head: Head): TensorData {
  const { name, datatype, shape } = head;
  if (datatype === 'FP16') {
    invalid(`input '${shown(name)}': FP16 has no typed contents; send it in raw_input_contents`);
  }
  const row = CONTENTS[datatype];
  const blocks: Uint8Array[] = [];
  for (const message of messages) collectBlocks(message, row, head, blocks);
  const count = elementCount(shape, name);
  const came = blocks.reduce((sum, block) => sum + countElements(block, row.wireType), 0);
  if (came !== count) {
    invalid(
      `input '${shown(name)}': ${datatype} of shape ${showShape(shape)} needs ${count} elements in ${row.name}, got ${came}`,
    );
  }
  if (datatype === 'BYTES') return blocks.map((block, index) => decodeText(block, name, index));
  const data = allocateData(datatype, count);
  if (row.wireType === VARINT) readVarints(blocks, data, head);
  else if (!Array.isArray(data)) joinInto(blocks, data);
  return data;
}

/** Tensor contents as a message, packed. Never for FP16. */
export function encodeContents({ datatype, data }: Tensor): WireWriter {
  const writer = new WireWriter();
  if (datatype === 'FP16') throw new TypeError('FP16 has no typed contents');
  const { field, wireType } = CONTENTS[datatype];
  if (Array.isArray(data)) {
    for (const text of data) writer.bytes(field, Buffer.from(text, 'utf8'));
  } else if (data.length > 0 && wireType === VARINT) {
    const packed = new WireWriter();
    writeVarints(packed, data);
    writer.nested(field, packed);
  } else if (data.length > 0) {
    writer.bytes(field, new Uint8Array(data.buffer, data.byteOffset, data.byteLength));
  }
  return writer;
}

function collectBlocks(
  message: Uint8Array,
  row: ContentsRow,
  { name, datatype }: Head,
  blocks: Uint8Array[],
): void {
  const reader = new WireReader(message);
  while (reader.next()) {
    if (reader.field === row.field) {
      blocks.push(reader.wireType === LENGTH_DELIMITED ? reader.bytes() : unpacked(reader, row));
    } else if (reader.field <= 8) {
      const other = Object.values(CONTENTS).find(({ field }) => field === reader.field);
      invalid(
        `input '${shown(name)}': ${datatype} comes in ${row.name}, got ${other?.name ?? `field ${reader.field}`}`,
      );
    } else reader.skip();
  }
}

function unpacked(reader: WireReader, row: ContentsRow): Uint8Array {
  if (reader.wireType !== row.wireType) malformed(`${row.name} has wire type ${reader.wireType}`);
  return reader.scalar();
}

function countElements(block: Uint8Array, wireType: number): number {
  if (wireType === LENGTH_DELIMITED) return 1;
  if (wireType !== VARINT) {
    const sizeBytes = wireType === FIXED32 ? 4 : 8;
    if (block.byteLength % sizeBytes !== 0) malformed('packed numbers do not fill their field');
    return block.byteLength / sizeBytes;
  }
  let count = 0;
  for (const byte of block) if (byte < 0x80) count += 1;
  return count;
}

function joinInto(blocks: readonly Uint8Array[], data: Exclude<TensorData, string[]>): void {
  const target = new Uint8Array(data.buffer, data.byteOffset, data.byteLength);
  let position = 0;
  for (const block of blocks) {
    target.set(block, position);
    position += block.byteLength;
  }
}

/** Range of what the 32-bit fields may hold for smaller datatypes. */
const RANGES: Partial<Record<Datatype, readonly [number, number]>> = {
  INT8: [-128, 127],
  INT16: [-32_768, 32_767],
  UINT8: [0, 255],
  UINT16: [0, 65_535],
};

function readVarints(blocks: readonly Uint8Array[], data: TensorData, { name, datatype }: Head): void {
  if (Array.isArray(data)) return;
  const isWide = elementSizeBytes(datatype) === 8;
  const isSigned = datatype.startsWith('INT');
  const range = RANGES[datatype];
  // 64-bit elements are written as their two halves, since a bigint for each would take fifty times as long.
  const halves = isWide ? new Uint32Array(data.buffer, data.byteOffset, data.length * 2) : undefined;
  let index = 0;
  for (const block of blocks) {
    const reader = new WireReader(block);
    while (!reader.isAtEnd) {
      reader.varint();
      if (halves !== undefined) {
        halves[index * 2] = reader.low;
        halves[index * 2 + 1] = reader.high;
      } else if (datatype === 'BOOL') {
        data[index] = reader.low !== 0 || reader.high !== 0 ? 1 : 0;
      } else {
        const value = isSigned ? reader.low | 0 : reader.low;
        if (range !== undefined && (value < range[0] || value > range[1])) {
          invalid(`input '${shown(name)}': element ${index}: ${value} is out of the range of ${datatype}`);
        }
        data[index] = value;
      }
      index += 1;
    }
  }
}

function writeVarints(packed: WireWriter, data: Exclude<TensorData, string[]>): void {
  if (data instanceof BigInt64Array || data instanceof BigUint64Array) {
    const aligned = new Uint32Array(data.buffer, data.byteOffset, data.length * 2);
    for (let index = 0; index < aligned.length; index += 2) {
      packed.varint(aligned[index] ?? 0, aligned[index + 1] ?? 0);
    }
    return;
  }
  for (const value of data as Iterable<number>) packed.varint(value >>> 0, value < 0 ? 0xffffffff : 0);
}

function invalid(message: string): never {
  throw new PilotlightError('invalid-request', message);
}
