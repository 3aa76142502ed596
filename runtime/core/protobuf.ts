import { Buffer, isUtf8 } from 'node:buffer';
import { PilotlightError } from '../../contracts/errors.ts';

/** Wire types of Protocol Buffers that proto3 uses. */
export const VARINT = 0;
export const FIXED64 = 1;
export const LENGTH_DELIMITED = 2;
export const FIXED32 = 5;

/**
 * Reads one Protocol Buffers message field by field (https://protobuf.dev/programming-guides/encoding/).
 * Byte fields are views; nothing is copied. Memory is bounded by the message's own size.
 *
 * @throws PilotlightError `invalid-request` for anything that isn't a well-formed message.
 *
 * @example
 * while (reader.next()) {
 *   if (reader.field === 1) name = reader.string();
 *   else reader.skip();
 * }
 */
export class WireReader {
  field = 0;
  wireType = 0;
  /** Lower and upper half of the last varint, unsigned. */
  low = 0;
  high = 0;
  readonly #bytes: Uint8Array;
  #position = 0;
  /** Where the current field begins, and its value behind the tag. */
  #start = 0;
  #valueStart = 0;

  constructor(bytes: Uint8Array) {
    this.#bytes = bytes;
  }

  /** Where the current field begins, its tag included. */
  get start(): number {
    return this.#start;
  }

  /** Behind what has been read. */
  get position(): number {
    return this.#position;
  }

  get isAtEnd(): boolean {
    return this.#position >= this.#bytes.length;
  }

  /** Goes to the next field; false at the end. */
  next(): boolean {
    if (this.isAtEnd) return false;
    this.#start = this.#position;
    this.varint();
    this.field = this.low >>> 3;
    this.wireType = this.low & 7;
    if (this.high !== 0 || this.field === 0) malformed('a field has a number out of range');
    this.#valueStart = this.#position;
    return true;
  }

  /** Reads a varint of up to 64 bits into `low` and `high`; bits beyond are dropped, as every reader does. */
  varint(): void {
    const bytes = this.#bytes;
    let low = 0;
    let high = 0;
    for (let shift = 0; shift < 70; shift += 7) {
      const byte = bytes[this.#position];
      if (byte === undefined) malformed('it ends within a number');
      this.#position += 1;
      const bits = byte & 0x7f;
      if (shift < 28) low |= bits << shift;
      else if (shift === 28) {
        low |= bits << 28;
        high = bits >>> 4;
      } else if (shift < 63) high |= bits << (shift - 32);
      else high |= (bits & 1) << 31;
      if (byte < 0x80) {
        this.low = low >>> 0;
        this.high = high >>> 0;
        return;
      }
    }
    malformed('a number has more than ten bytes');
  }

  /** The current field as an int64. */
  int64(): bigint {
    this.#expect(VARINT);
    this.varint();
    return BigInt.asIntN(64, (BigInt(this.high) << 32n) | BigInt(this.low));
  }

  bool(): boolean {
    this.#expect(VARINT);
    this.varint();
    return this.low !== 0 || this.high !== 0;
  }

  /** The current length-delimited field as a view. */
  bytes(): Uint8Array {
    this.#expect(LENGTH_DELIMITED);
    this.varint();
    return this.#take(this.high === 0 ? this.low : Number.POSITIVE_INFINITY);
  }

  string(): string {
    const bytes = this.bytes();
    if (!isUtf8(bytes)) malformed('a string is not UTF-8');
    return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString('utf8');
  }

  /** The bytes of the current field's value, for repeated scalars that came without packing. */
  scalar(): Uint8Array {
    const start = this.#position;
    if (this.wireType === VARINT) this.varint();
    else if (this.wireType === FIXED32) this.#take(4);
    else if (this.wireType === FIXED64) this.#take(8);
    else malformed(`a field has the wire type ${this.wireType}, which is not expected there`);
    return this.#bytes.subarray(start, this.#position);
  }

  /** The current field as it stands, tag and all; what has been read of it is no matter. */
  encoded(): Uint8Array {
    if (this.#position === this.#valueStart) this.skip();
    return this.#bytes.subarray(this.#start, this.#position);
  }

  skip(): void {
    if (this.wireType === LENGTH_DELIMITED) this.bytes();
    else this.scalar();
  }

  #expect(wireType: number): void {
    if (this.wireType === wireType) return;
    malformed(`field ${this.field} has wire type ${this.wireType} instead of ${wireType}`);
  }

  #take(sizeBytes: number): Uint8Array {
    const end = this.#position + sizeBytes;
    if (end > this.#bytes.length) {
      malformed(`field ${this.field} is said to be longer than the message is`);
    }
    const taken = this.#bytes.subarray(this.#position, end);
    this.#position = end;
    return taken;
  }
}

/** Byte fields from this size on are written as chunks of their own instead of being copied. */
const OWN_CHUNK_BYTES = 4096;

/** Writes one message as chunks, large byte fields uncopied. */
export class WireWriter {
  readonly chunks: Uint8Array[] = [];
  #sizeBytes = 0;
  #room = Buffer.allocUnsafe(512);
  #used = 0;

  get sizeBytes(): number {
    return this.#sizeBytes + this.#used;
  }

  /** Ends writing. */
  finish(): readonly Uint8Array[] {
    this.#flush();
    return this.chunks;
  }

  string(field: number, value: string): void {
    if (value !== '') this.bytes(field, Buffer.from(value, 'utf8'));
  }

  bool(field: number, value: boolean): void {
    if (!value) return;
    this.#tag(field, VARINT);
    this.varint(1, 0);
  }

  /** An int32, int64, uint64 or enum from a whole number that a double holds exactly. */
  integer(field: number, value: number): void {
    if (value === 0) return;
    this.#tag(field, VARINT);
    this.varint(value >>> 0, Math.floor(value / 2 ** 32) >>> 0);
  }

  /** A field that is encoded already, tag and all. */
  encoded(field: Uint8Array): void {
    this.#append(field);
  }

  bytes(field: number, value: Uint8Array): void {
    this.#tag(field, LENGTH_DELIMITED);
    this.varint(value.byteLength, 0);
    this.#append(value);
  }

  /** A nested message, or any other field that is several chunks. */
  nested(field: number, message: WireWriter): void {
    const chunks = message.finish();
    this.#tag(field, LENGTH_DELIMITED);
    this.varint(message.sizeBytes, 0);
    for (const chunk of chunks) this.#append(chunk);
  }

  /** A packed repeated int64. */
  packedInt64(field: number, values: readonly number[]): void {
    if (values.length === 0) return;
    const packed = new WireWriter();
    for (const value of values) {
      packed.varint(value >>> 0, Math.floor(value / 2 ** 32) >>> 0);
    }
    this.nested(field, packed);
  }

  /** A varint from its unsigned halves. */
  varint(low: number, high: number): void {
    this.#reserve(10);
    const room = this.#room;
    let rest = low;
    let upper = high;
    while (upper > 0 || rest > 0x7f) {
      room[this.#used++] = (rest & 0x7f) | 0x80;
      rest = ((rest >>> 7) | (upper << 25)) >>> 0;
      upper >>>= 7;
    }
    room[this.#used++] = rest;
  }

  #tag(field: number, wireType: number): void {
    this.varint((field << 3) | wireType, 0);
  }

  #append(value: Uint8Array): void {
    if (value.byteLength >= OWN_CHUNK_BYTES) {
      this.#flush();
      this.chunks.push(value);
      this.#sizeBytes += value.byteLength;
      return;
    }
    this.#reserve(value.byteLength);
    this.#room.set(value, this.#used);
    this.#used += value.byteLength;
  }

  #reserve(sizeBytes: number): void {
    if (this.#used + sizeBytes <= this.#room.length) return;
    this.#flush();
    this.#room = Buffer.allocUnsafe(Math.max(sizeBytes, 8192));
  }

  #flush(): void {
    if (this.#used === 0) return;
    this.chunks.push(this.#room.subarray(0, this.#used));
    this.#sizeBytes += this.#used;
    this.#room = this.#room.subarray(this.#used);
    this.#used = 0;
  }
}

export function malformed(what: string): never {
  throw new PilotlightError(
    'invalid-request',
    `the message is not the Protocol Buffers message expected: ${what}`,
  );
}
