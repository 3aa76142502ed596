import type { NumbersByDatatype } from '../../contracts/datatypes.ts';
import {
  elementCount,
  type TensorWithValues,
  tensorBytes,
  tensorValues,
  type WireTensor,
} from './tensor-values.ts';

/** The elements of a tensor in row-major order, by datatype. */
export interface DataByDatatype extends NumbersByDatatype {
  BOOL: readonly boolean[];
  FP16: Float16Array;
  BYTES: readonly string[];
}

export type Datatype = keyof DataByDatatype;

/** A tensor whose data is what its datatype says: `tensor.datatype === 'FP32'` makes `tensor.data` a Float32Array. */
export type Tensor<Kind extends Datatype = Datatype> = {
  [Each in Kind]: {
    readonly name: string;
    readonly datatype: Each;
    readonly shape: readonly number[];
    readonly data: DataByDatatype[Each];
  };
}[Kind];

/**
 * The bytes of a tensor as the protocol sends them; a view of its data, except for BOOL and BYTES.
 *
 * @throws TypeError when data and shape disagree.
 */
export function toWire({ name, datatype, shape, data }: Tensor): WireTensor {
  const count = elementCount(shape);
  if (data.length !== count) {
    throw new TypeError(
      `tensor "${name}": shape [${shape.join(', ')}] holds ${count} elements, got ${data.length}`,
    );
  }
  return { name, datatype, shape, bytes: bytesOf(datatype, data) };
}

function bytesOf(datatype: Datatype, data: DataByDatatype[Datatype]): Uint8Array {
  if (ArrayBuffer.isView(data)) return new Uint8Array(data.buffer, data.byteOffset, data.byteLength);
  if (datatype === 'BOOL') return Uint8Array.from(data as readonly boolean[], (value) => (value ? 1 : 0));
  const texts = (data as readonly string[]).map((text) => new TextEncoder().encode(text));
  const bytes = new Uint8Array(texts.reduce((sum, text) => sum + 4 + text.byteLength, 0));
  const view = new DataView(bytes.buffer);
  let position = 0;
  for (const text of texts) {
    view.setUint32(position, text.byteLength, true);
    bytes.set(text, position + 4);
    position += 4 + text.byteLength;
  }
  return bytes;
}

/** A tensor of an answer, whether its data came as binary or as JSON. */
export function fromValues(tensor: TensorWithValues): Tensor {
  const { name, datatype, shape, values } = tensor;
  const isPlain = datatype === 'BOOL' || datatype === 'BYTES';
  const data =
    isPlain || ArrayBuffer.isView(values) ? values : tensorValues({ ...tensor, bytes: tensorBytes(tensor) });
  return tensorOf({ name, datatype, shape }, data);
}

/**
 * A tensor from the wire.
 *
 * @throws Error when the bytes don't fit datatype and shape.
 */
export function fromWire(wire: WireTensor): Tensor {
  const { name, datatype, shape } = wire;
  return tensorOf({ name, datatype, shape }, tensorValues(wire));
}

/** Datatype and data belong together as they come from one tensor; TypeScript can't see that of a union's parts. */
function tensorOf(head: Pick<TensorWithValues, 'name' | 'datatype' | 'shape'>, data: unknown): Tensor {
  return { ...head, data } as unknown as Tensor;
}
