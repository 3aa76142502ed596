/** Datatypes of the Open Inference Protocol that ONNX Runtime for Node can take; BF16 is not among them. */
export const DATATYPES = [
  'BOOL',
  'UINT8',
  'UINT16',
  'UINT32',
  'UINT64',
  'INT8',
  'INT16',
  'INT32',
  'INT64',
  'FP16',
  'FP32',
  'FP64',
  'BYTES',
] as const;

export type Datatype = (typeof DATATYPES)[number];

/** The array of each datatype that is one everywhere; BOOL, FP16 and BYTES each place has in a form of its own. */
export interface NumbersByDatatype {
  UINT8: Uint8Array;
  UINT16: Uint16Array;
  UINT32: Uint32Array;
  UINT64: BigUint64Array;
  INT8: Int8Array;
  INT16: Int16Array;
  INT32: Int32Array;
  INT64: BigInt64Array;
  FP32: Float32Array;
  FP64: Float64Array;
}
