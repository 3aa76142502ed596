/**
 * How a TensorProto holds its elements, by `data_type`: bits of one, and the field of those that are not in
 * `raw_data`, with the bytes that one entry of that field stands for (onnx.proto, comments of TensorProto).
 * Entries of the fields 4 and 10 are the bytes themselves; the others are varints whose low bytes count. One entry
 * holds two elements of a 4 bit type, four of a 2 bit type.
 *
 * Strings (8) can't lie outside, and ONNX Runtime knows no complex numbers (14, 15).
 */
interface ElementForm {
  bits: number;
  field: number;
  entryBytes: number;
}

const form = (bits: number, field: number, entryBytes = bits / 8): ElementForm => ({
  bits,
  field,
  entryBytes,
});

const FORMS: Readonly<Record<number, ElementForm>> = {
  1: form(32, 4), // FLOAT
  2: form(8, 5), // UINT8
  3: form(8, 5), // INT8
  4: form(16, 5), // UINT16
  5: form(16, 5), // INT16
  6: form(32, 5), // INT32
  7: form(64, 7), // INT64
  9: form(8, 5), // BOOL
  10: form(16, 5), // FLOAT16
  11: form(64, 10), // DOUBLE
  12: form(32, 11), // UINT32
  13: form(64, 11), // UINT64
  16: form(16, 5), // BFLOAT16
  17: form(8, 5), // FLOAT8E4M3FN
  18: form(8, 5), // FLOAT8E4M3FNUZ
  19: form(8, 5), // FLOAT8E5M2
  20: form(8, 5), // FLOAT8E5M2FNUZ
  21: form(4, 5, 1), // UINT4
  22: form(4, 5, 1), // INT4
  23: form(4, 5, 1), // FLOAT4E2M1
  24: form(8, 5), // FLOAT8E8M0
  25: form(2, 5, 1), // UINT2
  26: form(2, 5, 1), // INT2
};

export const BOOL = 9;
export const INT64 = 7;

export function elementForm(dataType: number): ElementForm | undefined {
  return FORMS[dataType];
}

/** Bytes of a tensor of that form as ONNX Runtime wants them outside: 4 and 2 bit elements packed, the last byte filled up. */
export function tensorBytes(dims: readonly number[], { bits }: ElementForm): number {
  return Math.ceil((dims.reduce((product, size) => product * size, 1) * bits) / 8);
}
