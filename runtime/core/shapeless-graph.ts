import { WireReader, WireWriter } from './protobuf.ts';

/** A dimension as onnxruntime-node names it: its size, the name of a variable one, or `''`. */
export type Dimension = number | string;

export interface ShapelessGraph {
  /** The ONNX file without the shapes. */
  model: Uint8Array;
  /** What was taken off, by the input's name. */
  inputShapes: ReadonlyMap<string, readonly Dimension[]>;
}

/** Fewer nodes are planned in less than a millisecond. */
const WORTH_FROM_NODES = 64;

/** Field numbers of onnx.proto, https://github.com/onnx/onnx/blob/main/onnx/onnx.proto */
const MODEL = { graph: 7 } as const;
const GRAPH = { node: 1, initializer: 5, input: 11, valueInfo: 13, sparseInitializer: 15 } as const;
const VALUE_INFO = { name: 1, type: 2 } as const;
const TYPE = { tensor: 1 } as const;
const TENSOR = { name: 8, shape: 2 } as const;
const SHAPE = { dimension: 1 } as const;
const DIMENSION = { value: 1, name: 2 } as const;

/**
 * Takes the shapes off a graph's inputs and intermediate values, so that ONNX Runtime finds none when it plans memory.
 *
 * For each value of a known shape its planner looks through all buffers that are free by then for one of the same size
 * (`FindReusableTensor` in allocation_planner.cc), so planning takes the square of the number of nodes: of the 28 ms in
 * which the session of the text recogniser is made, 415 nodes that are optimised already, 18 go there. Without shapes
 * it leaves finding buffers to the arena: 10 ms, with runs as long and memory as large (ADR 0014). Shapes are
 * needed by optimisations and by nothing after them, so this is for graphs that are loaded with those off.
 *
 * @param model an ONNX file; weights outside of it are referred to as before
 * @returns undefined where it isn't worth it, or the graph isn't as expected
 */
export function withoutShapes(model: Uint8Array): ShapelessGraph | undefined {
  const reader = new WireReader(model);
  const writer = new WireWriter();
  let found: GraphParts | undefined;
  while (reader.next()) {
    if (reader.field !== MODEL.graph) {
      writer.encoded(reader.encoded());
      continue;
    }
    // A second graph would be merged into the first.
    if (found !== undefined) return undefined;
    found = graphWithoutShapes(reader.bytes());
    if (found === undefined || found.nodes < WORTH_FROM_NODES) return undefined;
    writer.nested(MODEL.graph, found.writer);
  }
  if (found === undefined) return undefined;
  return { model: Buffer.concat(writer.finish()), inputShapes: found.inputShapes };
}

interface GraphParts {
  writer: WireWriter;
  nodes: number;
  inputShapes: Map<string, readonly Dimension[]>;
}

function graphWithoutShapes(graph: Uint8Array): GraphParts | undefined {
  const reader = new WireReader(graph);
  const writer = new WireWriter();
  const inputs: Uint8Array[] = [];
  const initializers = new Set<string>();
  let nodes = 0;
  while (reader.next()) {
    if (reader.field === GRAPH.input) {
      inputs.push(reader.bytes());
      continue;
    }
    if (reader.field === GRAPH.valueInfo) {
      reader.skip();
      continue;
    }
    if (reader.field === GRAPH.node) nodes += 1;
    // Whose name is that of its values.
    if (reader.field === GRAPH.sparseInitializer) return undefined;
    if (reader.field === GRAPH.initializer) initializers.add(stringField(reader.bytes(), TENSOR.name));
    writer.encoded(reader.encoded());
  }
  const inputShapes = new Map<string, readonly Dimension[]>();
  for (const input of inputs) {
    const name = stringField(input, VALUE_INFO.name);
    const stripped = initializers.has(name) ? undefined : inputWithoutShape(input);
    if (stripped !== undefined) inputShapes.set(name, stripped.shape);
    writer.bytes(GRAPH.input, stripped?.input ?? input);
  }
  return { writer, nodes, inputShapes };
}

/** @returns undefined for an input that is to stay as it is: no tensor, a scalar, or of no shape anyway. */
function inputWithoutShape(input: Uint8Array): { input: Uint8Array; shape: Dimension[] } | undefined {
  let shape: Dimension[] | undefined;
  const rewritten = rewrite(input, VALUE_INFO.type, (type) =>
    rewrite(type, TYPE.tensor, (tensor) =>
      rewrite(tensor, TENSOR.shape, (dimensions) => {
        shape = dimensionsOf(dimensions);
        return undefined;
      }),
    ),
  );
  return shape === undefined || shape.length === 0 ? undefined : { input: rewritten, shape };
}

/** The message with one of its fields replaced, or left out where `replace` returns nothing. */
function rewrite(
  message: Uint8Array,
  field: number,
  replace: (value: Uint8Array) => Uint8Array | undefined,
): Uint8Array {
  const reader = new WireReader(message);
  const writer = new WireWriter();
  while (reader.next()) {
    if (reader.field === field) {
      const replaced = replace(reader.bytes());
      if (replaced !== undefined) writer.bytes(field, replaced);
    } else writer.encoded(reader.encoded());
  }
  return Buffer.concat(writer.finish());
}

function dimensionsOf(shape: Uint8Array): Dimension[] {
  const reader = new WireReader(shape);
  const dimensions: Dimension[] = [];
  while (reader.next()) {
    if (reader.field === SHAPE.dimension) dimensions.push(dimensionOf(reader.bytes()));
    else reader.skip();
  }
  return dimensions;
}

function dimensionOf(bytes: Uint8Array): Dimension {
  const reader = new WireReader(bytes);
  let dimension: Dimension = '';
  while (reader.next()) {
    if (reader.field === DIMENSION.value) {
      const size = Number(reader.int64());
      dimension = size < 0 ? '' : size;
    } else if (reader.field === DIMENSION.name) dimension = reader.string();
    else reader.skip();
  }
  return dimension;
}

function stringField(message: Uint8Array, field: number): string {
  const reader = new WireReader(message);
  let text = '';
  while (reader.next()) {
    if (reader.field === field) text = reader.string();
    else reader.skip();
  }
  return text;
}
