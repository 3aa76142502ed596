import { ByteList } from './byte-list.ts';
import { BOOL, elementForm, INT64, tensorBytes } from './tensor-elements.ts';

/** Bytes of the weights file. They may lie in the chunk that was pushed, so they are good until the next one. */
export interface WeightsPiece {
  offset: number;
  bytes: Uint8Array;
}

export interface Externalised {
  /** The model without its large tensors, which refer to the weights file. */
  graph: Uint8Array;
  weightsBytes: number;
  /** Tensors that were moved. */
  tensors: number;
}

/** The model can't be taken apart and is to be loaded as it is; the message says why. */
export class NotExternalisable extends Error {}

/** Smaller tensors stay in the graph: shapes and axes are needed there when ONNX Runtime infers shapes. */
const MOVE_FROM_BYTES = 4096;
/** Larger shape-like tensors, which ONNX Runtime refuses to infer from when they lie outside. */
const MOVE_INT64_FROM_BYTES = 64 * 1024;
/** A page, so that each tensor can be mapped by itself; for larger ones a page of any kernel. */
const PAGE_BYTES = 4096;
const LARGE_PAGE_BYTES = 64 * 1024;
const LARGE_TENSOR_BYTES = 1024 ** 2;
const MAX_GRAPH_BYTES = 256 * 1024 ** 2;
const MAX_DEPTH = 32;
const SCRATCH_BYTES = 64 * 1024;

/** Messages of onnx.proto that are looked into, and the fields of each that lead to initializers. */
type Kind = 'model' | 'graph' | 'node' | 'attribute' | 'constant' | 'tensor';
const CHILDREN: Readonly<Record<Kind, Readonly<Record<number, Kind>>>> = {
  model: { 7: 'graph' },
  graph: { 1: 'node', 5: 'tensor' },
  node: { 5: 'attribute' },
  attribute: { 6: 'graph', 11: 'graph' },
  constant: { 5: 'tensor' },
  tensor: {},
};

/** A node names its operator before its attributes, in files that were written by field number, as all are. */
const OP_TYPE_TAG = 4 * 8 + 2;

function isConstantOperator(name: Uint8Array): boolean {
  return new TextDecoder().decode(name) === 'Constant';
}

const WIRE = { varint: 0, fixed64: 1, bytes: 2, fixed32: 5 } as const;
const TENSOR = { dims: 1, dataType: 2, segment: 3, rawData: 9, externalData: 13, location: 14 } as const;
const TYPED_FIELDS = new Set([4, 5, 7, 10, 11]);

interface TensorState {
  /** Of the whole message. */
  sizeBytes: number;
  dims: number[];
  dataType: number | undefined;
  /** Where in the weights file it begins, once it has begun. */
  offset: number | undefined;
  /** The field that its data is in; a tensor with two is not for us to judge. */
  dataField: number | undefined;
  isElsewhere: boolean;
}

/**
 * Takes an ONNX file apart as it goes by, in one sweep and with the memory of its graph alone: initializers and
 * values of Constant nodes of `MOVE_FROM_BYTES` and more, those of subgraphs included, become external data in a
 * weights file, each from a page of its own; everything else is passed on byte by byte. Where the chunks of the file
 * end makes no difference.
 *
 * Values are never changed: `raw_data`, `float_data` and `double_data` are the little-endian bytes already, entries of
 * the other typed fields are cut to the width of their type. Left where they are: strings, tensors that are external
 * already, tensors in attributes of other operators, sparse initializers, and whatever is in functions.
 *
 * @example
 * const externaliser = new Externaliser('weights.bin');
 * for (const chunk of chunks) for (const piece of externaliser.push(chunk)) write(piece);
 * const { graph } = externaliser.finish();
 */
export class Externaliser {
  readonly #weightsName: string;
  readonly #graph = new ByteList();
  readonly #parser: Iterator<void, void>;
  #chunk: Uint8Array = new Uint8Array(0);
  #at = 0;
  /** Bytes before the present chunk. */
  #before = 0;
  #isOver = false;
  #pieces: WeightsPiece[] = [];
  #weightsBytes = 0;
  #tensors = 0;
  /** Converted elements on their way into the weights file. */
  #scratch: Uint8Array | undefined;
  #scratchLength = 0;
  /** Bytes that were passed on as they are. */
  #heldBytes = 0;

  /** @param weightsName the weights file, beside the graph */
  constructor(weightsName: string) {
    this.#weightsName = weightsName;
    this.#parser = this.#message('model', Number.POSITIVE_INFINITY, this.#graph, 0);
    this.#parser.next();
  }

  /** @returns what of it belongs into the weights file. @throws NotExternalisable */
  push(chunk: Uint8Array): readonly WeightsPiece[] {
    this.#before += this.#at;
    this.#chunk = chunk;
    this.#at = 0;
    this.#pieces = [];
    while (this.#at < chunk.length) this.#parser.next();
    return this.#pieces;
  }

  /** After the last chunk. @throws NotExternalisable when the file ends within a field */
  finish(): Externalised {
    this.#isOver = true;
    if (this.#parser.next().done !== true) throw new NotExternalisable('the file ends within a field');
    return { graph: this.#graph.bytes, weightsBytes: this.#weightsBytes, tensors: this.#tensors };
  }

  get #position(): number {
    return this.#before + this.#at;
  }

  *#message(kind: Kind, end: number, out: ByteList, depth: number): Generator<void, void> {
    if (depth > MAX_DEPTH) throw new NotExternalisable(`graphs are nested deeper than ${MAX_DEPTH} messages`);
    let isConstant = false;
    while (this.#position < end) {
      if (this.#at === this.#chunk.length) {
        if (this.#isOver && kind === 'model') return;
        yield;
        continue;
      }
      const tag = yield* this.#varint();
      const child = tag % 8 === WIRE.bytes ? CHILDREN[kind][Math.floor(tag / 8)] : undefined;
      if (child === undefined) {
        const start = out.length;
        yield* this.#copyField(tag, end, out);
        if (kind === 'node' && tag === OP_TYPE_TAG)
          isConstant = isConstantOperator(out.bytes.subarray(start + 2));
        continue;
      }
      const length = yield* this.#length(end);
      if (length < MOVE_FROM_BYTES) {
        out.addVarint(tag);
        out.addVarint(length);
        yield* this.#copy(length, out);
        continue;
      }
      const inner = new ByteList();
      if (child === 'tensor') yield* this.#tensor(length, inner);
      else {
        const within = isConstant && child === 'attribute' ? 'constant' : child;
        yield* this.#message(within, this.#position + length, inner, depth + 1);
      }
      out.addField(Math.floor(tag / 8), inner.bytes);
    }
    if (this.#position > end) throw new NotExternalisable('a field goes on past the end of its message');
  }

  *#tensor(sizeBytes: number, out: ByteList): Generator<void, void> {
    const end = this.#position + sizeBytes;
    const state: TensorState = {
      sizeBytes,
      dims: [],
      dataType: undefined,
      offset: undefined,
      dataField: undefined,
      isElsewhere: false,
    };
    while (this.#position < end) {
      if (this.#at === this.#chunk.length) {
        yield;
        continue;
      }
      const tag = yield* this.#varint();
      const field = Math.floor(tag / 8);
      if (field === TENSOR.rawData && tag % 8 === WIRE.bytes) {
        yield* this.#rawData(end, state, out);
      } else if (TYPED_FIELDS.has(field)) {
        yield* this.#typedData(tag, end, state, out);
      } else if (field === TENSOR.dims || field === TENSOR.dataType) {
        yield* this.#described(tag, end, state, out);
      } else {
        if (field === TENSOR.segment) throw new NotExternalisable('a tensor comes in segments');
        if (field === TENSOR.externalData) state.isElsewhere = true;
        yield* this.#copyField(tag, end, out);
      }
    }
    if (this.#position > end) throw new NotExternalisable('a field goes on past the end of its tensor');
    this.#flush();
    if (state.offset !== undefined) this.#refer(state, state.offset, out);
  }

  /** Dimensions and data type: passed on and remembered. */
  *#described(tag: number, end: number, state: TensorState, out: ByteList): Generator<void, void> {
    const remember = (value: number): void => {
      if (tag >= TENSOR.dataType * 8) state.dataType = value;
      else state.dims.push(value);
    };
    out.addVarint(tag);
    if (tag % 8 === WIRE.varint) {
      const value = yield* this.#varint();
      out.addVarint(value);
      remember(value);
      return;
    }
    if (tag !== TENSOR.dims * 8 + WIRE.bytes)
      throw new NotExternalisable('a tensor is described in a strange way');
    const length = yield* this.#length(end);
    const packed = new ByteList();
    const packedEnd = this.#position + length;
    while (this.#position < packedEnd) {
      const value = yield* this.#varint();
      packed.addVarint(value);
      remember(value);
    }
    out.addVarint(packed.length);
    out.add(packed.bytes);
  }

  *#rawData(end: number, state: TensorState, out: ByteList): Generator<void, void> {
    const length = yield* this.#length(end);
    const known = state.dataType === undefined ? undefined : elementForm(state.dataType);
    const stays =
      length < (state.dataType === INT64 ? MOVE_INT64_FROM_BYTES : MOVE_FROM_BYTES) || known === undefined;
    if (state.dataField !== undefined) throw new NotExternalisable('a tensor has its data twice');
    state.dataField = TENSOR.rawData;
    if (stays) {
      // Its type comes behind it or is none that can lie outside: kept, however large, within the bound of the graph.
      out.addVarint(TENSOR.rawData * 8 + WIRE.bytes);
      out.addVarint(length);
      yield* this.#copy(length, out);
      return;
    }
    state.offset = this.#begin(length);
    yield* this.#move(length);
  }

  /** The next bytes as they are, into the weights file. */
  *#move(length: number): Generator<void, void> {
    for (let left = length; left > 0; ) {
      if (this.#at === this.#chunk.length) {
        yield;
        continue;
      }
      const bytes = this.#chunk.subarray(this.#at, this.#at + left);
      this.#at += bytes.length;
      left -= bytes.length;
      this.#emit(bytes);
    }
  }

  /** Data in a field of its type, packed or entry by entry. */
  *#typedData(tag: number, end: number, state: TensorState, out: ByteList): Generator<void, void> {
    const field = Math.floor(tag / 8);
    const wire = tag % 8;
    const known = state.dataType === undefined ? undefined : elementForm(state.dataType);
    if (known?.field !== field) {
      throw new NotExternalisable(
        `a tensor of type ${state.dataType ?? 'unknown'} has data in field ${field}`,
      );
    }
    if (state.dataField !== undefined && state.dataField !== field) {
      throw new NotExternalisable('a tensor has its data twice');
    }
    state.dataField = field;
    if (state.dataType === INT64 && state.sizeBytes < MOVE_INT64_FROM_BYTES) {
      yield* this.#copyField(tag, end, out);
      return;
    }
    state.offset ??= this.#begin(state.sizeBytes);
    const fixedWire = field === 4 ? WIRE.fixed32 : field === 10 ? WIRE.fixed64 : undefined;
    if (wire === WIRE.bytes) {
      const length = yield* this.#length(end);
      if (fixedWire === undefined) yield* this.#entries(this.#position + length, known.entryBytes, state);
      else {
        this.#flush();
        yield* this.#move(length);
      }
    } else if (wire === WIRE.varint && fixedWire === undefined) {
      yield* this.#entries(this.#position + 1, known.entryBytes, state);
    } else if (wire === fixedWire) {
      for (let left = known.entryBytes; left > 0; left -= 1) this.#convert(yield* this.#byte());
    } else {
      throw new NotExternalisable(`field ${field} of a tensor is encoded in a strange way`);
    }
  }

  /** Varints that begin before `end`, each cut to `entryBytes`. */
  *#entries(end: number, entryBytes: number, { dataType }: TensorState): Generator<void, void> {
    while (this.#position < end) {
      let low = 0;
      let high = 0;
      for (let shift = 0; ; shift += 7) {
        if (shift > 63) throw new NotExternalisable('a number in a tensor is longer than 64 bits');
        let byte = this.#chunk[this.#at];
        if (byte === undefined) byte = yield* this.#byte();
        else this.#at += 1;
        const bits = byte & 0x7f;
        // The bits at 28 to 34 lie in both halves.
        if (shift < 32) low |= bits << shift;
        if (shift >= 32) high |= bits << (shift - 32);
        else if (shift > 25) high |= bits >>> (32 - shift);
        if (byte < 0x80) break;
      }
      if (dataType === BOOL) this.#convert((low | high) === 0 ? 0 : 1);
      else {
        for (let index = 0; index < Math.min(entryBytes, 4); index += 1)
          this.#convert((low >>> (8 * index)) & 0xff);
        for (let index = 4; index < entryBytes; index += 1)
          this.#convert((high >>> (8 * (index - 4))) & 0xff);
      }
    }
  }

  /** In place of the data: where it lies. */
  #refer(state: TensorState, offset: number, out: ByteList): void {
    if (state.isElsewhere) throw new NotExternalisable('a tensor has its data here and elsewhere');
    const known = elementForm(state.dataType ?? 0);
    const length = this.#weightsBytes - offset;
    const expected = known === undefined ? Number.NaN : tensorBytes(state.dims, known);
    if (length !== expected) {
      throw new NotExternalisable(
        `a tensor of shape [${state.dims.join(', ')}] has ${length} bytes instead of ${expected}`,
      );
    }
    const text = new TextEncoder();
    const entries = { location: this.#weightsName, offset: String(offset), length: String(length) };
    for (const [key, value] of Object.entries(entries)) {
      const entry = new ByteList();
      entry.addField(1, text.encode(key));
      entry.addField(2, text.encode(value));
      out.addField(TENSOR.externalData, entry.bytes);
    }
    out.addVarint(TENSOR.location * 8 + WIRE.varint);
    out.addVarint(1);
    this.#tensors += 1;
  }

  #begin(sizeBytes: number): number {
    const page = sizeBytes >= LARGE_TENSOR_BYTES ? LARGE_PAGE_BYTES : PAGE_BYTES;
    this.#weightsBytes = Math.ceil(this.#weightsBytes / page) * page;
    return this.#weightsBytes;
  }

  #emit(bytes: Uint8Array): void {
    this.#pieces.push({ offset: this.#weightsBytes, bytes });
    this.#weightsBytes += bytes.length;
  }

  /** One byte of a converted element. */
  #convert(byte: number): void {
    this.#scratch ??= new Uint8Array(SCRATCH_BYTES);
    this.#scratch[this.#scratchLength] = byte;
    this.#scratchLength += 1;
    if (this.#scratchLength === SCRATCH_BYTES) this.#flush();
  }

  #flush(): void {
    if (this.#scratch === undefined) return;
    this.#emit(this.#scratch.subarray(0, this.#scratchLength));
    // The piece lives on until the next chunk.
    this.#scratch = undefined;
    this.#scratchLength = 0;
  }

  /** A field whose tag was read, as it is. */
  *#copyField(tag: number, end: number, out: ByteList): Generator<void, void> {
    out.addVarint(tag);
    const wire = tag % 8;
    if (tag < 8) throw new NotExternalisable('it has a field numbered 0');
    if (wire === WIRE.varint) {
      for (let count = 1; ; count += 1) {
        if (count > 10) throw new NotExternalisable('a number is longer than 64 bits');
        const byte = yield* this.#byte();
        out.add(Uint8Array.of(byte));
        if (byte < 0x80) return;
      }
    }
    if (wire === WIRE.bytes) {
      const length = yield* this.#length(end);
      out.addVarint(length);
      yield* this.#copy(length, out);
    } else if (wire === WIRE.fixed32) yield* this.#copy(4, out);
    else if (wire === WIRE.fixed64) yield* this.#copy(8, out);
    else throw new NotExternalisable(`wire type ${wire} is not known`);
  }

  *#copy(length: number, out: ByteList): Generator<void, void> {
    this.#heldBytes += length;
    if (this.#heldBytes > MAX_GRAPH_BYTES) {
      throw new NotExternalisable(`more than ${MAX_GRAPH_BYTES} bytes of it are no initializers`);
    }
    for (let left = length; left > 0; ) {
      if (this.#at === this.#chunk.length) {
        yield;
        continue;
      }
      const bytes = this.#chunk.subarray(this.#at, this.#at + left);
      out.add(bytes);
      this.#at += bytes.length;
      left -= bytes.length;
    }
  }

  *#length(end: number): Generator<void, number> {
    const length = yield* this.#varint();
    if (this.#position + length > end)
      throw new NotExternalisable('a field goes on past the end of its message');
    return length;
  }

  *#varint(): Generator<void, number> {
    let value = 0;
    let factor = 1;
    for (let count = 0; count < 10; count += 1) {
      const byte = yield* this.#byte();
      value += (byte & 0x7f) * factor;
      if (byte < 0x80) {
        if (!Number.isSafeInteger(value)) break;
        return value;
      }
      factor *= 128;
    }
    throw new NotExternalisable('it has a number that no file can need');
  }

  *#byte(): Generator<void, number> {
    for (;;) {
      const byte = this.#chunk[this.#at];
      if (byte !== undefined) {
        this.#at += 1;
        return byte;
      }
      if (this.#isOver) throw new NotExternalisable('the file ends within a field');
      yield;
    }
  }
}
