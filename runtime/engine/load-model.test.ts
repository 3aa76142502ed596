import { chmodSync, copyFileSync, existsSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { PilotlightError } from '../../contracts/errors.ts';
import {
  addition,
  chainOfSize,
  danglingInput,
  identity,
  needsRealInput,
  unsupportedOperator,
} from '../../e2e/models/onnx-models.ts';
import type { OnnxType } from '../../e2e/models/onnx-writer.ts';
import { TEXT_RECOGNISER, VOICE_DETECTOR } from '../../e2e/models/real-models.ts';
import type { Tensor } from '../core/tensor.ts';
import { anonymousBytes } from './memory-fit.ts';
import { callWith, EngineBench, floats, floatsOf } from './testing/load-for-test.ts';

let bench: EngineBench;
beforeEach(() => {
  bench = new EngineBench();
});
afterEach(() => bench.close());

test('the text recogniser is loaded, described and run', async () => {
  const model = await bench.load([TEXT_RECOGNISER]);
  expect(model.signature.inputs).toEqual([
    { name: 'x', datatype: 'FP32', shape: ['p2o.DynamicDimension.0', 3, 48, 'p2o.DynamicDimension.1'] },
  ]);
  const { outputs, computeMs } = await model.infer(callWith([floats('x', [1, 3, 48, 32])]));
  expect(outputs.map(({ datatype, shape }) => ({ datatype, shape }))).toEqual([
    { datatype: 'FP32', shape: [1, 4, 6625] },
  ]);
  // Each row of the output is a softmax over the alphabet.
  const row = floatsOf(outputs).subarray(0, 6625);
  expect(row.reduce((sum, value) => sum + value, 0)).toBeCloseTo(1, 3);
  expect(computeMs).toBeGreaterThan(0);
});

test('the voice detector keeps its state between calls and takes an int64 scalar', async () => {
  const model = await bench.load([VOICE_DETECTOR]);
  let state = floats('state', [2, 1, 128], 0);
  const probabilities: number[] = [];
  for (let step = 0; step < 2; step += 1) {
    const { outputs } = await model.infer(
      callWith([
        floats('input', [1, 512], 0.1),
        state,
        { name: 'sr', datatype: 'INT64', shape: [], data: new BigInt64Array([16_000n]) },
      ]),
    );
    const next = outputs.find(({ name }) => name === 'stateN');
    if (next === undefined) throw new Error('expected stateN');
    state = { ...next, name: 'state' };
    probabilities.push(floatsOf(outputs, 'output')[0] ?? Number.NaN);
  }
  expect(probabilities.every((value) => value >= 0 && value <= 1)).toBe(true);
  expect(probabilities[0]).not.toBe(probabilities[1]);
});

const SAMPLES: readonly [OnnxType, Tensor['datatype'], Tensor['data']][] = [
  ['BOOL', 'BOOL', new Uint8Array([1, 0, 1, 1])],
  ['UINT8', 'UINT8', new Uint8Array([0, 1, 254, 255])],
  ['UINT16', 'UINT16', new Uint16Array([0, 1, 65_534, 65_535])],
  ['UINT32', 'UINT32', new Uint32Array([0, 1, 2 ** 31, 2 ** 32 - 1])],
  ['UINT64', 'UINT64', new BigUint64Array([0n, 1n, 2n ** 63n, 2n ** 64n - 1n])],
  ['INT8', 'INT8', new Int8Array([-128, -1, 0, 127])],
  ['INT16', 'INT16', new Int16Array([-32_768, -1, 0, 32_767])],
  ['INT32', 'INT32', new Int32Array([-(2 ** 31), -1, 0, 2 ** 31 - 1])],
  ['INT64', 'INT64', new BigInt64Array([-(2n ** 63n), -1n, 2n ** 53n + 1n, 2n ** 63n - 1n])],
  // 1.0, −2.0, infinity, the smallest subnormal.
  ['FLOAT16', 'FP16', new Uint16Array([0x3c00, 0xc000, 0x7c00, 0x0001])],
  ['FLOAT', 'FP32', new Float32Array([1.5, Number.NaN, -Infinity, 1e-45])],
  ['DOUBLE', 'FP64', new Float64Array([Math.PI, Number.NaN, -0, Number.MIN_VALUE])],
  ['STRING', 'BYTES', ['', 'ä', '漢字', 'x'.repeat(10_000)]],
];

test.each(SAMPLES)('%s goes through a session unchanged, bit for bit', async (type, datatype, data) => {
  const model = await bench.load(bench.write('identity.onnx', identity(type)));
  const sent = Array.isArray(data) ? [...data] : data.slice();
  const { outputs } = await model.infer(callWith([{ name: 'x', datatype, shape: [1, 4], data: sent }]));
  expect(outputs).toEqual([{ name: 'y', datatype, shape: [1, 4], data }]);
});

test('only the wanted outputs come back', async () => {
  const model = await bench.load([VOICE_DETECTOR]);
  const { outputs } = await model.infer(
    callWith(
      [
        floats('input', [1, 512]),
        floats('state', [2, 1, 128]),
        { name: 'sr', datatype: 'INT64', shape: [], data: new BigInt64Array([16_000n]) },
      ],
      { outputs: ['output'] },
    ),
  );
  expect(outputs.map(({ name }) => name)).toEqual(['output']);
});

test('weights in a file of their own give the same answer as weights inside, and stay pages of that file', async () => {
  const inlineFiles = bench.write('inline.onnx', chainOfSize(64e6));
  const mappedFiles = bench.write('external.onnx', chainOfSize(64e6), true);
  const anonymousBefore = anonymousBytes();
  const mapped = await bench.load(mappedFiles);
  const second = await mapped.infer(callWith([floats('x', [1, 1024])]));
  const anonymousAfter = anonymousBytes();
  if (existsSync('/proc/self/status')) expect(anonymousAfter - anonymousBefore).toBeLessThan(32e6);
  const inline = await bench.load(inlineFiles);
  const first = await inline.infer(callWith([floats('x', [1, 1024])]));
  const values = floatsOf(first.outputs);
  expect(values.length).toBe(1024);
  values.forEach((value, index) => expect(floatsOf(second.outputs)[index]).toBeCloseTo(value, 3));
});

test('an inference that ONNX Runtime refuses says so, and the instance goes on', async () => {
  const model = await bench.load(bench.write('add.onnx', addition()));
  await expect(model.infer(callWith([floats('a', [2]), floats('b', [3])]))).rejects.toMatchObject({
    code: 'inference-failed',
  });
  const { outputs } = await model.infer(callWith([floats('a', [2]), floats('b', [2])]));
  expect(outputs[0]?.data).toEqual(new Float32Array([2, 2]));
});

test('the warm-up run comes before the model is handed out', async () => {
  await bench.load([TEXT_RECOGNISER], { warmUp: true });
  expect(bench.told.map(({ line }) => line)).toEqual(['created', 'warmed']);
});

test('a warm-up run that fails is no failed load', async () => {
  const model = await bench.load(bench.write('reshape.onnx', needsRealInput()), { warmUp: true });
  expect(bench.told.map(({ line }) => line)).toEqual(['created', 'warm-up skipped']);
  expect(model.capacity).toBe(1);
});

test('samples take the place of made-up input', async () => {
  const shape: Tensor = { name: 'shape', datatype: 'INT64', shape: [2], data: BigInt64Array.of(2n, 3n) };
  const run = (): Tensor[] => [floats('x', [6]), { ...shape, data: BigInt64Array.of(2n, 3n) }];
  const warmUpSamples = () => Promise.resolve([run(), run()]);
  await bench.load(bench.write('reshape.onnx', needsRealInput()), { warmUp: true, warmUpSamples });
  expect(bench.told.map(({ line }) => line)).toEqual(['created', 'warmed']);
});

test('a model gives no more than it is narrowed to, and is not loaded where that can’t be had', async () => {
  const path = bench.write('two.onnx', {
    inputs: [{ name: 'x', type: 'FLOAT', shape: ['batch', 4] }],
    outputs: ['y', 'z'].map((name) => ({ name, type: 'FLOAT' as const, shape: ['batch', 4] })),
    nodes: ['y', 'z'].map((name) => ({ op: 'Identity', inputs: ['x'], outputs: [name] })),
  });
  const model = await bench.load(path, {
    narrow: (whole) => ({ ...whole, outputs: whole.outputs.slice(1), maxBatchSize: 3 }),
  });
  expect(model.signature).toMatchObject({ outputs: [{ name: 'z' }], maxBatchSize: 3 });
  const { outputs } = await model.infer(callWith([floats('x', [1, 4])]));
  expect(outputs.map(({ name }) => name)).toEqual(['z']);
  const narrow = (): never => {
    throw new PilotlightError('model-invalid', 'not like this');
  };
  await expect(bench.load(path, { narrow })).rejects.toThrow('not like this');
});

const failure = (code: string, message: RegExp) =>
  expect.objectContaining({ code, message: expect.stringMatching(message) as string });

test.each([
  [unsupportedOperator(), /operator 'FlashSort' of domain 'com.example'/],
  [unsupportedOperator('FlashSort', ''), /operator 'FlashSort' of the standard domain 'ai.onnx', opset 21/],
  [{ ...identity('FLOAT'), opset: 99 }, /newer ONNX.*opset 26/],
  [{ ...identity('FLOAT'), irVersion: 99 }, /newer ONNX.*IR version: 99/],
])('what this ONNX Runtime has not is named: %#', async (model, message) => {
  const loading = bench.load(bench.write('model.onnx', model));
  await expect(loading).rejects.toEqual(failure('model-unsupported-operator', message));
});

test.each([
  ['a web page', (path: string) => writeFileSync(path, '<html>404</html>')],
  ['an empty file', (path: string) => writeFileSync(path, '')],
  [
    'the first half of a model',
    (path: string) => {
      copyFileSync(TEXT_RECOGNISER, path);
      truncateSync(path, 5_000_000);
    },
  ],
])('%s is not an ONNX file', async (_, write) => {
  const path = join(bench.folder, 'model.onnx');
  write(path);
  await expect(bench.load([path])).rejects.toEqual(failure('model-not-onnx', /not an ONNX file/));
});

test('a graph that does not hold together is invalid', async () => {
  const loading = bench.load(bench.write('model.onnx', danglingInput()));
  await expect(loading).rejects.toEqual(failure('model-invalid', /'nowhere'/));
});

test('an input that the protocol cannot carry is refused', async () => {
  const sequence = { ...identity('FLOAT') };
  const value = { type: 'FLOAT', kind: 'sequence' } as const;
  const model = { ...sequence, inputs: [{ name: 'x', ...value }], outputs: [{ name: 'y', ...value }] };
  await expect(bench.load(bench.write('sequence.onnx', model))).rejects.toEqual(
    failure('model-invalid', /input 'x' is a sequence/),
  );
  await expect(bench.load(bench.write('bf16.onnx', identity('BFLOAT16')))).rejects.toEqual(
    failure('model-invalid', /bfloat16/),
  );
});

test('a missing file, missing weights and weights cut short are told apart, and no path of this machine shows', async () => {
  const gone = join(bench.folder, 'gone.onnx');
  await expect(bench.load([gone])).rejects.toEqual(failure('model-not-found', /model file is missing/));
  const files = bench.write('external.onnx', chainOfSize(1e6), true);
  truncateSync(files[1] ?? '', 5000);
  await expect(bench.load(files)).rejects.toEqual(failure('model-invalid', /shorter than the model says/));
  rmSync(files[1] ?? '');
  const loading = bench.load([files[0] ?? '']);
  await expect(loading).rejects.toEqual(failure('model-not-found', /weights of the model is missing/));
  await loading.catch((error: Error) => expect(error.message).not.toContain(bench.folder));
});

test('a file that may not be read is forbidden', async () => {
  const [path = ''] = bench.write('secret.onnx', identity('FLOAT'));
  chmodSync(path, 0o000);
  await asSomebody(() =>
    expect(bench.load([path])).rejects.toEqual(failure('model-forbidden', /no permission/)),
  );
});

/** Root may read everything, so it becomes somebody else for a while: all threads of the process do. */
async function asSomebody(work: () => Promise<void>): Promise<void> {
  if (process.getuid?.() !== 0) return work();
  chmodSync(bench.folder, 0o755);
  process.seteuid?.('nobody');
  try {
    await work();
  } finally {
    process.seteuid?.(0);
  }
}

test('a model that would not fit into memory is refused before it is read, with the figures', async () => {
  const limits = { cpus: 1, memoryBytes: anonymousBytes() + 20e6 };
  await expect(bench.load([TEXT_RECOGNISER], { limits })).rejects.toEqual(
    failure('model-out-of-memory', /11 MB needs about 41 MB for each of 1 instance/),
  );
});

test('a default number of instances shrinks to what fits; one that was asked for is refused', async () => {
  const limits = { cpus: 1, memoryBytes: anonymousBytes() + 60e6 };
  const shrunk = await bench.load([TEXT_RECOGNISER], { limits, instances: 4, instancesWanted: false });
  expect(shrunk.capacity).toBe(1);
  await expect(bench.load([TEXT_RECOGNISER], { limits, instances: 4 })).rejects.toMatchObject({
    code: 'model-out-of-memory',
  });
});

test('a load whose time is over ends at once with the reason that it was given', async () => {
  const timeUp = new Error('time is up');
  const controller = new AbortController();
  const loading = bench.load(bench.write('large.onnx', chainOfSize(64e6)), { signal: controller.signal });
  setImmediate(() => controller.abort(timeUp));
  await expect(loading).rejects.toBe(timeUp);
});
