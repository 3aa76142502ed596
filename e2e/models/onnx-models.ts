import type { OnnxModel, OnnxTensor, OnnxType } from './onnx-writer.ts';

/** Ready-made graphs for `encodeOnnx` and `writeOnnxFile`. */

export interface ChainOptions {
  /** MatMul, Add and Relu each; the weights are `layers · (width² + width) · 4` bytes. */
  layers: number;
  width: number;
  /** Name of the first dimension, or a fixed size. Default `batch`. */
  batch?: number | string;
}

/**
 * A chain of MatMul, Add, Relu, input `x` and output `y` of FP32 `[batch, width]`. Weights are pseudo-random
 * of a scale that keeps the values' size from layer to layer, the same in each call.
 */
export function matMulChain(options: ChainOptions): OnnxModel {
  const { layers, width } = options;
  const shape = [options.batch ?? 'batch', width];
  const nodes: OnnxModel['nodes'][number][] = [];
  const initializers: OnnxTensor[] = [];
  for (let layer = 0; layer < layers; layer += 1) {
    const input = layer === 0 ? 'x' : `relu${layer - 1}`;
    const output = layer === layers - 1 ? 'y' : `relu${layer}`;
    nodes.push(
      { op: 'MatMul', inputs: [input, `w${layer}`], outputs: [`product${layer}`] },
      { op: 'Add', inputs: [`product${layer}`, `b${layer}`], outputs: [`sum${layer}`] },
      { op: 'Relu', inputs: [`sum${layer}`], outputs: [output] },
    );
    initializers.push(
      {
        name: `w${layer}`,
        type: 'FLOAT',
        dims: [width, width],
        data: pseudoRandomFloats(width * width, Math.sqrt(6 / width), layer + 1),
      },
      {
        name: `b${layer}`,
        type: 'FLOAT',
        dims: [width],
        data: pseudoRandomFloats(width, 0.01, layer + 1001),
      },
    );
  }
  return {
    inputs: [{ name: 'x', type: 'FLOAT', shape }],
    outputs: [{ name: 'y', type: 'FLOAT', shape }],
    nodes,
    initializers,
  };
}

/** A chain whose weights are at least `sizeBytes`; wide layers for large ones. */
export function chainOfSize(sizeBytes: number): OnnxModel {
  const width = sizeBytes > 100e6 ? 2048 : sizeBytes > 4e6 ? 1024 : 128;
  const layerBytes = (width * width + width) * 4;
  return matMulChain({ layers: Math.max(1, Math.ceil(sizeBytes / layerBytes)), width });
}

/**
 * A perceptron, input `x` of FP32 `[batch, first width]`, output `y` of `[batch, last width]`: MatMul and Add from each
 * width to the next, Relu between them.
 */
export function perceptron(widths: readonly number[]): OnnxModel {
  const nodes: OnnxModel['nodes'][number][] = [];
  const initializers: OnnxTensor[] = [];
  const last = widths.length - 2;
  for (const [layer, rows] of widths.slice(0, -1).entries()) {
    const columns = widths[layer + 1] ?? 0;
    const input = layer === 0 ? 'x' : `relu${layer - 1}`;
    const sum = layer === last ? 'y' : `sum${layer}`;
    nodes.push(
      { op: 'MatMul', inputs: [input, `w${layer}`], outputs: [`product${layer}`] },
      { op: 'Add', inputs: [`product${layer}`, `b${layer}`], outputs: [sum] },
    );
    if (layer < last) nodes.push({ op: 'Relu', inputs: [sum], outputs: [`relu${layer}`] });
    const [weights, biases] = [
      pseudoRandomFloats(rows * columns, Math.sqrt(6 / rows), layer + 1),
      pseudoRandomFloats(columns, 0.01, layer + 1001),
    ];
    initializers.push(
      { name: `w${layer}`, type: 'FLOAT', dims: [rows, columns], data: weights },
      { name: `b${layer}`, type: 'FLOAT', dims: [columns], data: biases },
    );
  }
  return {
    inputs: [{ name: 'x', type: 'FLOAT', shape: ['batch', widths[0] ?? 0] }],
    outputs: [{ name: 'y', type: 'FLOAT', shape: ['batch', widths.at(-1) ?? 0] }],
    nodes,
    initializers,
  };
}

/** Input `x` handed on as output `y`, for any datatype; shape `[batch, 4]` unless given. */
export function identity(type: OnnxType, shape: readonly (number | string)[] = ['batch', 4]): OnnxModel {
  return {
    inputs: [{ name: 'x', type, shape }],
    outputs: [{ name: 'y', type, shape }],
    nodes: [{ op: 'Identity', inputs: ['x'], outputs: ['y'] }],
  };
}

/** `sum = a + b`, both FP32 `[n]`: two inputs that share a symbolic dimension. */
export function addition(): OnnxModel {
  return {
    inputs: [
      { name: 'a', type: 'FLOAT', shape: ['n'] },
      { name: 'b', type: 'FLOAT', shape: ['n'] },
    ],
    outputs: [{ name: 'sum', type: 'FLOAT', shape: ['n'] }],
    nodes: [{ op: 'Add', inputs: ['a', 'b'], outputs: ['sum'] }],
  };
}

/** `y = table[ids]` over a batch of ids; entry n of the table is n. An id that it hasn't fails the run. */
export function tableLookup(size: number): OnnxModel {
  const entries = Float32Array.from({ length: size }, (_, index) => index);
  return {
    inputs: [{ name: 'ids', type: 'INT64', shape: ['n'] }],
    outputs: [{ name: 'y', type: 'FLOAT', shape: ['n'] }],
    nodes: [{ op: 'Gather', inputs: ['table', 'ids'], outputs: ['y'] }],
    initializers: [{ name: 'table', type: 'FLOAT', dims: [size], data: Buffer.from(entries.buffer) }],
  };
}

/** The chain, less the largest value of all rows together: what one row gives depends on the others. */
export function mixedRows(options: ChainOptions): OnnxModel {
  const chain = matMulChain(options);
  return {
    ...chain,
    nodes: [
      ...chain.nodes.map((node) => ({
        ...node,
        outputs: node.outputs.map((name) => (name === 'y' ? 'chained' : name)),
      })),
      { op: 'ReduceMax', inputs: ['x'], outputs: ['largest'], attributes: { keepdims: 0 } },
      { op: 'Add', inputs: ['chained', 'largest'], outputs: ['y'] },
    ],
  };
}

/** Gives the first row back and nothing else, so dimension 0 is no batch, whatever its shapes say. */
export function firstRow(): OnnxModel {
  return {
    inputs: [{ name: 'x', type: 'FLOAT', shape: ['batch', 4] }],
    outputs: [{ name: 'y', type: 'FLOAT', shape: ['batch', 4] }],
    nodes: [{ op: 'Compress', inputs: ['x', 'condition'], outputs: ['y'], attributes: { axis: 0 } }],
    initializers: [{ name: 'condition', type: 'BOOL', dims: [1], data: Buffer.of(1) }],
  };
}

/** An operator that no ONNX Runtime has: by default one of a vendor's own domain. */
export function unsupportedOperator(op = 'FlashSort', domain = 'com.example'): OnnxModel {
  return {
    domains: domain === '' ? {} : { [domain]: 1 },
    inputs: [{ name: 'x', type: 'FLOAT', shape: [4] }],
    outputs: [{ name: 'y', type: 'FLOAT', shape: [4] }],
    nodes: [{ op, domain, inputs: ['x'], outputs: ['y'] }],
  };
}

/** A well-formed file whose graph is not: a node reads a value that nothing produces. */
export function danglingInput(): OnnxModel {
  return {
    inputs: [{ name: 'x', type: 'FLOAT', shape: [4] }],
    outputs: [{ name: 'y', type: 'FLOAT', shape: [4] }],
    nodes: [{ op: 'Add', inputs: ['x', 'nowhere'], outputs: ['y'] }],
  };
}

/** Loads, but refuses made-up input: `y = Reshape(x, shape)` fails for a shape that doesn't fit. */
export function needsRealInput(): OnnxModel {
  return {
    inputs: [
      { name: 'x', type: 'FLOAT', shape: [6] },
      { name: 'shape', type: 'INT64', shape: [2] },
    ],
    outputs: [{ name: 'y', type: 'FLOAT', shape: ['rows', 'columns'] }],
    nodes: [{ op: 'Reshape', inputs: ['x', 'shape'], outputs: ['y'], attributes: { allowzero: 1 } }],
  };
}

/**
 * Floats in ±scale from a xorshift generator: 64 Ki different ones, repeated, so that gigabytes are made at
 * the speed of memory.
 */
function pseudoRandomFloats(count: number, scale: number, seed: number): Buffer {
  const pattern = new Float32Array(Math.min(count, 65_537));
  let state = Math.imul(seed, 2_654_435_761) | 1;
  for (let index = 0; index < pattern.length; index += 1) {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    pattern[index] = (state / 2 ** 31) * scale;
  }
  const out = new Float32Array(count);
  for (let start = 0; start < count; start += pattern.length) {
    out.set(count - start < pattern.length ? pattern.subarray(0, count - start) : pattern, start);
  }
  return Buffer.from(out.buffer);
}
