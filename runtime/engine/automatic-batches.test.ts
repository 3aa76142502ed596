import { readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { firstRow, identity, matMulChain, mixedRows } from '../../e2e/models/onnx-models.ts';
import type { OnnxModel } from '../../e2e/models/onnx-writer.ts';
import type { LoadModelOptions, ModelHandle } from './load-model.ts';
import { modelClosed } from './load-model.ts';
import { ModelForms } from './model-forms.ts';
import { callWith, EngineBench, floats, floatsOf } from './testing/load-for-test.ts';

let bench: EngineBench;
beforeEach(() => {
  bench = new EngineBench();
});
afterEach(() => bench.close());

/** What the trial said, once it is over. */
async function verdict(): Promise<string> {
  const lines = (): string[] =>
    bench.told.map(({ line }) => line).filter((line) => line.startsWith('batches'));
  await expect.poll(lines, { timeout: 30_000 }).toHaveLength(1);
  return lines()[0] ?? '';
}

async function loaded(model: OnnxModel, more: Partial<LoadModelOptions> = {}): Promise<ModelHandle> {
  return bench.load(bench.write('model.onnx', model), { batching: undefined, ...more });
}

/** 16 MB of weights are read for each run, whatever its rows. */
const gaining = matMulChain({ layers: 4, width: 1024 });
const row = () => callWith([floats('x', [1, 1024], 0.5)]);

test('a model that names its batch and gains from it is served in batches, from behind its first answer on', async () => {
  const model = await loaded(gaining);
  expect(model.signature.maxBatchSize).toBe(0);
  expect(model.capacity).toBe(1);
  const first = await model.infer(row());
  expect(await verdict()).toBe('batches: gain');
  const { maxBatchSize } = model.signature;
  expect(maxBatchSize).toBeGreaterThanOrEqual(2);
  expect(model.capacity).toBe(maxBatchSize);
  const answers = await Promise.all(Array.from({ length: 9 }, () => model.infer(row())));
  expect(model.executions?.().sizes.some(({ batchSize }) => batchSize > 1)).toBe(true);
  for (const { outputs } of answers) {
    floatsOf(outputs).forEach((value, at) => expect(value).toBeCloseTo(floatsOf(first.outputs)[at] ?? 0, 3));
  }
});

test('nobody is asked before there was a request: a model that nobody calls is not tried', async () => {
  const workers: unknown[] = [];
  const onWorker = (worker: unknown): void => void workers.push(worker);
  process.on('worker', onWorker);
  try {
    const model = await loaded(gaining, { warmUp: true });
    await model.close(modelClosed());
    expect(workers).toHaveLength(1);
    expect(bench.told.map(({ line }) => line)).not.toContain('batches: gain');
  } finally {
    process.off('worker', onWorker);
  }
});

test('a model whose rows change each other is not, whatever it would gain', async () => {
  const model = await loaded(mixedRows({ layers: 4, width: 1024 }));
  await model.infer(row());
  expect(await verdict()).toBe('batches: none');
  expect(model.signature.maxBatchSize).toBe(0);
});

test('nor is one that drops rows, nor one that made-up inputs break', async () => {
  const model = await loaded(firstRow());
  await model.infer(callWith([floats('x', [1, 4])]));
  expect(await verdict()).toBe('batches: none');
});

test('a model that does not name its batch, or is told to leave it, is not tried', async () => {
  for (const [shape, more] of [
    [[1, 4], {}],
    [['n', 'n'], {}],
    [['batch', 4], { batching: { maxBatchSize: 1, maxLatencyMs: 0 } }],
  ] as const) {
    const model = await loaded(identity('FLOAT', shape), more);
    await model.infer(callWith([floats('x', shape[1] === 'n' ? [2, 2] : [1, 4])]));
    await model.close(modelClosed());
  }
  expect(bench.told.filter(({ line }) => line.startsWith('batches'))).toEqual([]);
});

test('what was found is known at the next start, until the number of threads changes', async () => {
  const [path = ''] = bench.write('kept.onnx', gaining);
  const place = { cacheDir: join(bench.folder, 'cache'), cacheBytes: 1e9 };
  const kept = () => new ModelForms(place, `content-${statSync(path).size}-${readFileSync(path).length}`);
  const first = await bench.load([path], { batching: undefined, kept: kept() });
  await first.infer(row());
  expect(await verdict()).toBe('batches: gain');
  const { maxBatchSize } = first.signature;
  await expect.poll(async () => (await kept().find('batches')) !== undefined).toBe(true);

  const next = await bench.load([path], { batching: undefined, kept: kept() });
  expect(next.signature.maxBatchSize).toBe(maxBatchSize);
  expect(next.capacity).toBe(maxBatchSize);
  await next.infer(row());
  const other = await bench.load([path], { batching: undefined, kept: kept(), threadsPerInstance: 2 });
  expect(other.signature.maxBatchSize).toBe(0);
  expect(bench.told.filter(({ line }) => line.startsWith('batches'))).toHaveLength(1);
});
