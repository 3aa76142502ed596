import {
  appendFileSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { InferenceSession, Tensor } from 'onnxruntime-node';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { chainOfSize } from '../../e2e/models/onnx-models.ts';
import {
  encodeOnnx,
  type OnnxGraph,
  type OnnxModel,
  type OnnxTensor,
  type OnnxType,
  writeOnnxFile,
} from '../../e2e/models/onnx-writer.ts';
import { TEXT_RECOGNISER, VOICE_DETECTOR } from '../../e2e/models/real-models.ts';
import { FileExternalisation } from './externalise-file.ts';

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'pilotlight-externalise-'));
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

/** Takes a whole file apart into a folder of its own. @returns the path of the graph */
async function externalised(path: string): Promise<string> {
  const into = join(folder, `${basename(path)}.form`);
  mkdirSync(into);
  const outcome = await new FileExternalisation(path, into).finish(statSync(path).size);
  expect(outcome).toMatchObject({ kind: 'externalised' });
  return join(into, 'graph.onnx');
}

type Feeds = Record<string, Tensor>;

/** The bytes of every output of a session that is not optimised: ONNX Runtime does the same sums in the same order. */
async function outputBits(
  path: string,
  feeds: Feeds,
  level: 'disabled' | 'all' = 'disabled',
): Promise<Record<string, string>> {
  const session = await InferenceSession.create(path, {
    graphOptimizationLevel: level,
    intraOpNumThreads: 1,
  });
  const outputs = await session.run(feeds);
  await session.release();
  return Object.fromEntries(
    Object.entries(outputs).map(([name, { data }]) => {
      const view = data as Float32Array;
      return [name, Buffer.from(view.buffer, view.byteOffset, view.byteLength).toString('hex')];
    }),
  );
}

const floats = (dims: number[], value = 0.25): Tensor =>
  new Tensor('float32', new Float32Array(dims.reduce((a, b) => a * b, 1)).fill(value), dims);

test.each<[string, string, () => Feeds]>([
  ['text recogniser', TEXT_RECOGNISER, () => ({ x: floats([1, 3, 48, 64]) })],
  [
    'voice detector, whose weights are constants in branches',
    VOICE_DETECTOR,
    () => ({ input: floats([1, 512]), state: floats([2, 1, 128]), sr: new Tensor('int64', [16_000n], []) }),
  ],
])('%s: the same bits as from the file itself, at both ends of optimisation', async (_name, path, feeds) => {
  const graph = await externalised(path);
  expect(statSync(graph).size).toBeLessThan(statSync(path).size / 8);
  for (const level of ['disabled', 'all'] as const) {
    expect(await outputBits(graph, feeds(), level)).toEqual(await outputBits(path, feeds(), level));
  }
});

/** Pseudo-random, small enough to be a number in every type. */
function noise(count: number, byte: (index: number) => number): Buffer {
  return Buffer.from(
    Uint8Array.from({ length: count }, (_, index) => byte(Math.imul(index + 1, 2_654_435_761) >>> 24)),
  );
}

/** `y = Cast(w[…])`, so that every element of an initializer of that type comes out. */
function castModel(tensor: OnnxTensor): OnnxModel {
  return {
    inputs: [{ name: 'x', type: 'FLOAT', shape: [1] }],
    outputs: [{ name: 'y', type: 'FLOAT', shape: [tensor.dims[0] ?? 0] }],
    nodes: [
      { op: 'Cast', inputs: ['w'], outputs: ['cast'], attributes: { to: 1 } },
      { op: 'Add', inputs: ['cast', 'x'], outputs: ['y'] },
    ],
    // The second one is there so that the file is worth its trouble.
    initializers: [
      { ...tensor, name: 'w' },
      { name: 'ballast', type: 'FLOAT', dims: [300_000], data: Buffer.alloc(1_200_000) },
    ],
  };
}

const WIDTHS: [OnnxType, number][] = [
  ['FLOAT', 4],
  ['DOUBLE', 8],
  ['FLOAT16', 2],
  ['BFLOAT16', 2],
  ['INT64', 8],
  ['INT32', 4],
  ['INT16', 2],
  ['INT8', 1],
  ['UINT64', 8],
  ['UINT32', 4],
  ['UINT16', 2],
  ['UINT8', 1],
  ['BOOL', 1],
  ['FLOAT8E4M3FN', 1],
  ['INT4', 0.5],
  ['UINT4', 0.5],
];

test.each(
  WIDTHS.flatMap(([type, width]) =>
    (['raw', 'typed', 'unpacked'] as const).map((layout) => [type, layout, width] as const),
  ),
)('%s in its field (%s) comes out as the same bits', async (type, layout, width) => {
  // An odd number of 4 bit elements, so that the last byte is half full.
  const count = 10_001;
  const data = noise(Math.ceil(count * width), (byte) =>
    type === 'BOOL' ? byte & 1 : type === 'INT4' || type === 'UINT4' ? byte : byte & 0x3f,
  );
  // The half byte that is over is never anybody's element.
  if (width === 0.5 && count % 2 === 1) data[data.length - 1] = (data.at(-1) ?? 0) & 0x0f;
  const path = join(folder, 'model.onnx');
  writeFileSync(path, encodeOnnx(castModel({ name: 'w', type, dims: [count], data, layout })));
  const feeds = { x: floats([1]) };
  expect(await outputBits(await externalised(path), feeds)).toEqual(await outputBits(path, feeds));
});

const weight = (name: string, seed: number): OnnxTensor => ({
  name,
  type: 'FLOAT',
  dims: [512, 512],
  data: Buffer.from(Float32Array.from({ length: 512 * 512 }, (_, index) => Math.sin(index * seed)).buffer),
});

const branch = (seed: number): OnnxGraph => ({
  inputs: [],
  outputs: [{ name: `out${seed}`, type: 'FLOAT', shape: [1, 512] }],
  nodes: [{ op: 'MatMul', inputs: ['x', `w${seed}`], outputs: [`out${seed}`] }],
  initializers: [weight(`w${seed}`, seed)],
});

const ROW = { type: 'FLOAT', shape: [1, 512] } as const;
const CONDITION: OnnxTensor = { name: 'yes', type: 'BOOL', dims: [], data: Buffer.from([1]) };

const SUBGRAPHS: [string, OnnxModel][] = [
  [
    'branches of If',
    {
      inputs: [{ name: 'x', ...ROW }],
      outputs: [{ name: 'y', ...ROW }],
      initializers: [CONDITION],
      nodes: [
        {
          op: 'If',
          inputs: ['yes'],
          outputs: ['y'],
          attributes: { then_branch: { graph: branch(1) }, else_branch: { graph: branch(2) } },
        },
      ],
    },
  ],
  [
    'the body of Loop',
    {
      inputs: [{ name: 'x', ...ROW }],
      outputs: [{ name: 'y', ...ROW }],
      initializers: [
        CONDITION,
        { name: 'trips', type: 'INT64', dims: [], data: Buffer.from(new BigInt64Array([3n]).buffer) },
      ],
      nodes: [
        {
          op: 'Loop',
          inputs: ['trips', 'yes', 'x'],
          outputs: ['y'],
          attributes: {
            body: {
              graph: {
                inputs: [
                  { name: 'trip', type: 'INT64', shape: [] },
                  { name: 'before', type: 'BOOL', shape: [] },
                  { name: 'state', ...ROW },
                ],
                outputs: [
                  { name: 'after', type: 'BOOL', shape: [] },
                  { name: 'next', ...ROW },
                ],
                nodes: [
                  { op: 'Identity', inputs: ['before'], outputs: ['after'] },
                  { op: 'MatMul', inputs: ['state', 'w'], outputs: ['product'] },
                  { op: 'Tanh', inputs: ['product'], outputs: ['next'] },
                ],
                initializers: [weight('w', 3)],
              },
            },
          },
        },
      ],
    },
  ],
  [
    'the graph beside a function with constants of its own',
    {
      domains: { local: 1 },
      inputs: [{ name: 'x', ...ROW }],
      outputs: [{ name: 'y', ...ROW }],
      initializers: [weight('w', 5)],
      functions: [
        {
          name: 'Project',
          domain: 'local',
          inputs: ['a'],
          outputs: ['b'],
          nodes: [
            { op: 'Constant', inputs: [], outputs: ['k'], attributes: { value: weight('k', 7) } },
            { op: 'MatMul', inputs: ['a', 'k'], outputs: ['b'] },
          ],
        },
      ],
      nodes: [
        { op: 'MatMul', inputs: ['x', 'w'], outputs: ['inner'] },
        { op: 'Project', domain: 'local', inputs: ['inner'], outputs: ['y'] },
      ],
    },
  ],
];

test.each(SUBGRAPHS)('weights in %s give the same bits', async (_name, model) => {
  const path = join(folder, 'model.onnx');
  writeOnnxFile(path, model);
  const feeds = { x: floats([1, 512]) };
  const graph = await externalised(path);
  expect(statSync(join(graph, '../weights.bin')).size).toBeGreaterThanOrEqual(512 * 512 * 4);
  expect(await outputBits(graph, feeds)).toEqual(await outputBits(path, feeds));
});

test('a file that is followed while it arrives gives the same form as one that lies there', async () => {
  const whole = join(folder, 'whole.onnx');
  writeOnnxFile(whole, chainOfSize(6e6));
  const file = readFileSync(whole);
  const expected = await externalised(whole);
  const arriving = join(folder, 'arriving.onnx');
  const into = join(folder, 'into');
  mkdirSync(into);
  const externalisation = new FileExternalisation(arriving, into);
  for (let at = 0; at < file.length; at += 777_777) {
    appendFileSync(arriving, file.subarray(at, at + 777_777));
    externalisation.advance(Math.min(file.length, at + 777_777));
    await new Promise(setImmediate);
  }
  expect(await externalisation.finish(file.length)).toMatchObject({ kind: 'externalised', tensors: 4 });
  for (const name of ['graph.onnx', 'weights.bin']) {
    expect(readFileSync(join(into, name)).equals(readFileSync(join(expected, '..', name))), name).toBe(true);
  }
});

test('what is no model, has nothing to move, or begins anew is left, with the reason', async () => {
  const path = join(folder, 'model.onnx');
  const finish = async (sizeBytes: number, prepare?: (one: FileExternalisation) => void) => {
    const into = mkdtempSync(join(folder, 'into-'));
    const one = new FileExternalisation(path, into);
    prepare?.(one);
    return one.finish(sizeBytes);
  };
  writeFileSync(path, '<html>not found</html>');
  expect(await finish(22)).toMatchObject({ kind: 'left' });
  writeOnnxFile(path, chainOfSize(100_000));
  expect(await finish(statSync(path).size)).toEqual({
    kind: 'left',
    reason: 'it has no large weights inside',
  });
  writeOnnxFile(path, chainOfSize(3e6));
  const again = (one: FileExternalisation): void => {
    one.advance(3_000_000);
    one.advance(0);
  };
  expect(await finish(statSync(path).size, again)).toEqual({
    kind: 'left',
    reason: 'the file began anew while it arrived',
  });
  expect(await finish(statSync(path).size + 5)).toEqual({
    kind: 'left',
    reason: 'the file became shorter while it was read',
  });
});
