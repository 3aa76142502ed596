import { Buffer, isUtf8 } from 'node:buffer';
import { PilotlightError } from '../../contracts/errors.ts';
import { checkedText } from './json-elements.ts';
import {
  type Datatype,
  elementCount,
  elementSizeBytes,
  shown,
  showShape,
  type Tensor,
  type TensorData,
  type TensorLimits,
  viewOf,
} from './tensor.ts';

/** Bytes before each element of a BYTES tensor: its length, unsigned, little-endian. */
const LENGTH_PREFIX_BYTES = 4;

/**
 * The data of a tensor from its bytes: little-endian, row-major, a 4-byte length before each element of BYTES.
 * Used for the binary tensor extension and for gRPC's `raw_input_contents`.
 *
 * A view of `bytes` where they are aligned to the element size, else a copy: a request's JSON has any length, so
 * most FP32 tensors need one: 0.1–0.5 ms a megabyte, where a view takes nothing.
 * Throws `invalid-request` when size and shape disagree, for a BOOL other than 0 and 1, and for BYTES that aren't UTF-8.
 */
export function decodeBinaryTensor(
  bytes: Uint8Array,
  tensor: { readonly name: string; readonly datatype: Datatype; readonly shape: readonly number[] },
  limits: TensorLimits,
): TensorData {
  const { name, datatype, shape } = tensor;
  const count = elementCount(shape, name, limits);
  if (datatype === 'BYTES') return decodeStrings(bytes, name, shape, count);
  const sizeBytes = elementSizeBytes(datatype);
  if (bytes.byteLength !== count * sizeBytes) {
    invalid(
      `tensor '${shown(name)}': ${datatype} of shape ${showShape(shape)} takes ${count * sizeBytes} bytes, got ${bytes.byteLength}`,
    );
  }
  // Not bytes.slice(): a Buffer's slice is a view.
  const aligned = bytes.byteOffset % sizeBytes === 0 ? bytes : new Uint8Array(bytes);
  const data = viewOf(datatype, aligned.buffer, aligned.byteOffset, count);
  if (datatype === 'BOOL') checkBools(data as Uint8Array, name);
  return data;
}

/** ONNX Runtime reads these bytes as C++ bools, where anything but 0 and 1 is undefined behaviour. */
function checkBools(flags: Uint8Array, name: string): void {
  for (let index = 0; index < flags.length; index++) {
    const flag = flags[index] as number;
    if (flag > 1) {
      invalid(`tensor '${shown(name)}': element ${index}: expected a BOOL of 0 or 1, got ${flag}`);
    }
  }
}

function decodeStrings(bytes: Uint8Array, name: string, shape: readonly number[], count: number): string[] {
  // Each element takes its prefix at least, so the count is bounded by what came before any room is taken.
  if (count * LENGTH_PREFIX_BYTES > bytes.byteLength) {
    invalid(
      `tensor '${shown(name)}': BYTES of shape ${showShape(shape)} takes at least ${count * LENGTH_PREFIX_BYTES} bytes, got ${bytes.byteLength}`,
    );
  }
  const buffer = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const strings: string[] = [];
  let position = 0;
  for (let index = 0; index < count; index++) {
    if (position + LENGTH_PREFIX_BYTES > buffer.length) {
      invalid(
        `tensor '${shown(name)}': element ${index}: expected a 4-byte length, got the end after ${buffer.length} bytes`,
      );
    }
    const length = buffer.readUInt32LE(position);
    position += LENGTH_PREFIX_BYTES;
    if (length > buffer.length - position) {
      invalid(
        `tensor '${shown(name)}': element ${index}: its length says ${length} bytes, ${buffer.length - position} are left`,
      );
    }
    strings.push(decodeText(buffer.subarray(position, position + length), name, index));
    position += length;
  }
  if (position !== buffer.length) {
    invalid(
      `tensor '${shown(name)}': ${count} elements of BYTES end after ${position} bytes, got ${buffer.length}`,
    );
  }
  return strings;
}

/** One element of BYTES; throws `invalid-request` unless it is UTF-8 that ONNX Runtime's strings can carry. */
export function decodeText(bytes: Uint8Array, name: string, index: number): string {
  if (!isUtf8(bytes)) {
    invalid(
      `tensor '${shown(name)}': element ${index} is not valid UTF-8, and the runtime's string tensors carry nothing else; send binary content base64-encoded or as UINT8`,
    );
  }
  return checkedText(
    Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString('utf8'),
    name,
    index,
  );
}

/** The bytes of a tensor as the protocol sends them; a view of its memory, except for BYTES. */
export function encodeBinaryTensor(tensor: Tensor): Uint8Array {
  const { data } = tensor;
  if (!Array.isArray(data)) return new Uint8Array(data.buffer, data.byteOffset, data.byteLength);
  let sizeBytes = 0;
  for (const text of data) sizeBytes += LENGTH_PREFIX_BYTES + Buffer.byteLength(text, 'utf8');
  const buffer = Buffer.allocUnsafe(sizeBytes);
  let position = 0;
  for (const text of data) {
    const length = buffer.write(text, position + LENGTH_PREFIX_BYTES, 'utf8');
    buffer.writeUInt32LE(length, position);
    position += LENGTH_PREFIX_BYTES + length;
  }
  return buffer;
}

function invalid(message: string): never {
  throw new PilotlightError('invalid-request', message);
}
