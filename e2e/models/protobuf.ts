/**
 * The few protobuf encodings that an ONNX file needs (https://protobuf.dev/programming-guides/encoding/):
 * each function gives the parts of one field, which `message` and `Buffer.concat` put together. Tensor bytes
 * are passed on as they are, never copied until the file is written.
 */
export type Parts = Buffer[];

/** Of the two's complement of 64 bits. */
export function varint(value: number | bigint): Buffer {
  const bytes: number[] = [];
  let rest = BigInt.asUintN(64, BigInt(value));
  while (rest > 0x7fn) {
    bytes.push(Number(rest & 0x7fn) | 0x80);
    rest >>= 7n;
  }
  bytes.push(Number(rest));
  return Buffer.from(bytes);
}

export const fieldTag = (field: number, wireType: number): Buffer => varint(field * 8 + wireType);

/** int32, int64, bool or enum. */
export const integer = (field: number, value: number): Parts => [fieldTag(field, 0), varint(value)];

/** 32-bit float. */
export function float(field: number, value: number): Parts {
  const bytes = Buffer.alloc(4);
  bytes.writeFloatLE(value);
  return [fieldTag(field, 5), bytes];
}

/** Raw bytes. */
export const bytes = (field: number, value: Buffer): Parts => [
  fieldTag(field, 2),
  varint(value.length),
  value,
];

/** UTF-8 text. */
export const text = (field: number, value: string): Parts => bytes(field, Buffer.from(value, 'utf8'));

/** An embedded message. */
export function message(field: number, parts: Parts): Parts {
  const sizeBytes = parts.reduce((sum, part) => sum + part.length, 0);
  return [fieldTag(field, 2), varint(sizeBytes), ...parts];
}
