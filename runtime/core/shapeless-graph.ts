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

/**
 * Goes through it on a made-up graph: code that runs for the first time takes 4 ms for what takes 0.1 ms later, and
 * that the first model would wait for.
 */
export function rehearseWithoutShapes(): ShapelessGraph | undefined {
  const model = Buffer.concat(encodedModel(WORTH_FROM_NODES));
  let found: ShapelessGraph | undefined;
  for (let times = 0; times < REHEARSALS; times += 1) found = withoutShapes(model);
  return found;
}

const REHEARSALS = 5;

/** An ONNX file of so many nodes that do nothing, as many initializers, and one input. */
function encodedModel(nodes: number): readonly Uint8Array[] {
  const nested = (message: WireWriter, field: number, write: (inner: WireWriter) => void): void => {
    const inner = new WireWriter();
    write(inner);
    message.nested(field, inner);
  };
  const model = new WireWriter();
  nested(model, MODEL.graph, (graph) => {
    for (let index = 0; index < nodes; index += 1) graph.string(GRAPH.node, `node ${index}`);
    for (let index = 0; index < nodes; index += 1)
      nested(graph, GRAPH.initializer, (tensor) => tensor.string(TENSOR.name, `x${index}`));
    nested(graph, GRAPH.input, (input) => {
      input.string(VALUE_INFO.name, 'x');
      nested(input, VALUE_INFO.type, (type) =>
        nested(type, TYPE.tensor, (tensor) =>
          nested(tensor, TENSOR.shape, (shape) => {
            nested(shape, SHAPE.dimension, (dimension) => dimension.string(DIMENSION.name, 'batch'));
            nested(shape, SHAPE.dimension, (dimension) => dimension.integer(DIMENSION.value, 3));
          }),
        ),
      );
    });
    graph.string(GRAPH.valueInfo, 'nothing');
  });
  return model.finish();
}

interface GraphParts {
  writer: WireWriter;
  nodes: number;
  inputShapes: Map<string, readonly Dimension[]>;
}

/** Runs in code that has never run before, while a request waits: what is kept is looked at as little as can be. */
function graphWithoutShapes(graph: Uint8Array): GraphParts | undefined {
  const reader = new WireReader(graph);
  const writer = new WireWriter();
  const inputs: Uint8Array[] = [];
  const initializers: Uint8Array[] = [];
  let nodes = 0;
  let keptFrom = 0;
  while (reader.next()) {
    const { field, start } = reader;
    if (field === GRAPH.node) nodes += 1;
    // Whose name is that of its values.
    if (field === GRAPH.sparseInitializer) return undefined;
    if (field === GRAPH.input) inputs.push(reader.bytes());
    else if (field === GRAPH.initializer) initializers.push(reader.bytes());
    else reader.skip();
    if (field !== GRAPH.input && field !== GRAPH.valueInfo) continue;
    if (start > keptFrom) writer.encoded(graph.subarray(keptFrom, start));
    keptFrom = reader.position;
  }
  writer.encoded(graph.subarray(keptFrom));
  const inputShapes = new Map<string, readonly Dimension[]>();
  for (const input of inputs) {
    const name = stringField(input, VALUE_INFO.name);
    const stripped = isInitialized(name, initializers) ? undefined : inputWithoutShape(input);
    if (stripped !== undefined) inputShapes.set(name, stripped.shape);
    writer.bytes(GRAPH.input, stripped?.input ?? input);
  }
  return { writer, nodes, inputShapes };
}

function isInitialized(name: string, initializers: readonly Uint8Array[]): boolean {
  return initializers.some(
    (initializer) =>
      // Far fewer hold the name somewhere than have it.
      Buffer.from(initializer.buffer, initializer.byteOffset, initializer.byteLength).includes(name) &&
      stringField(initializer, TENSOR.name) === name,
  );
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
