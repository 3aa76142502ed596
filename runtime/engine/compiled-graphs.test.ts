import { readdirSync, readFileSync, truncateSync, writeFileSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import { chainOfSize } from '../../e2e/models/onnx-models.ts';
import { TEXT_RECOGNISER } from '../../e2e/models/real-models.ts';
import { CompiledGraphs } from './compiled-graphs.ts';
import { callWith, EngineBench, floats, floatsOf } from './testing/load-for-test.ts';

let cacheDir: string;
let bench: EngineBench;
let compiled: CompiledGraphs;
beforeEach(async () => {
  cacheDir = await mkdtemp(join(tmpdir(), 'pilotlight-compiled-'));
  bench = new EngineBench();
  compiled = new CompiledGraphs(cacheDir);
});
afterEach(async () => {
  await bench.close();
  await rm(cacheDir, { recursive: true, force: true });
});

const input = () => floats('x', [1, 3, 48, 32], 0.3);

/** Loads, answers once, and waits until the optimised graph is kept. */
async function firstStart(files: readonly string[]): Promise<{ values: Float32Array; graph: string }> {
  const model = await bench.load(files, { compiled });
  const { outputs } = await model.infer(callWith([input()]));
  const graph = await vi.waitUntil(() => compiled.find(files), { timeout: 15_000 });
  return { values: floatsOf(outputs), graph };
}

function expectClose(left: Float32Array, right: Float32Array): void {
  expect(left.length).toBe(right.length);
  expect(
    Math.max(...left.map((value, index) => Math.abs(value - (right[index] ?? Number.NaN)))),
  ).toBeLessThan(1e-4);
}

test('behind the first answer the optimised graph is kept, and the next start answers the same from it', async () => {
  const { values, graph } = await firstStart([TEXT_RECOGNISER]);
  expect(readdirSync(dirname(graph)).sort()).toEqual(['graph.onnx', 'manifest.json', 'weights.bin']);
  expect(readFileSync(graph).length).toBeLessThan(200_000);
  const again = await bench.load([TEXT_RECOGNISER], { compiled });
  const { outputs } = await again.infer(callWith([input()]));
  expectClose(floatsOf(outputs), values);
});

test('an entry that is not whole is not used', async () => {
  const { graph } = await firstStart([TEXT_RECOGNISER]);
  truncateSync(join(dirname(graph), 'weights.bin'), 1_000);
  expect(await compiled.find([TEXT_RECOGNISER])).toBeUndefined();
});

test('an entry that is damaged without a change of its size costs the request nothing but time, and goes', async () => {
  const { values, graph } = await firstStart([TEXT_RECOGNISER]);
  writeFileSync(graph, Buffer.alloc(readFileSync(graph).length, 0xff));
  const again = await bench.load([TEXT_RECOGNISER], { compiled });
  const { outputs } = await again.infer(callWith([input()]));
  expectClose(floatsOf(outputs), values);
  await vi.waitUntil(async () => (await compiled.find([TEXT_RECOGNISER])) === undefined);
});

test('another file at the same place has an entry of its own', async () => {
  const files = bench.write('m.onnx', chainOfSize(100_000));
  await compiled.add(files, 1_000, async (path) => writeFileSync(path, 'one'));
  expect(await compiled.find(files)).toBeDefined();
  bench.write('m.onnx', chainOfSize(200_000));
  expect(await compiled.find(files)).toBeUndefined();
});

test('of two that add the same graph at once one entry stays, and a save that fails leaves nothing', async () => {
  const files = bench.write('m.onnx', chainOfSize(100_000));
  const save = (text: string) => async (path: string) => writeFileSync(path, text);
  await Promise.all([compiled.add(files, 1_000, save('one')), compiled.add(files, 1_000, save('two'))]);
  expect(readdirSync(join(cacheDir, 'compiled'))).toHaveLength(1);
  const others = bench.write('n.onnx', chainOfSize(100_000));
  const failing = compiled.add(others, 1_000, () => Promise.reject(new Error('no room')));
  await expect(failing).rejects.toThrow('no room');
  expect(readdirSync(join(cacheDir, 'compiled'))).toHaveLength(1);
});

test('a model that is too large to be compiled beside serving is left as it is', async () => {
  const files = bench.write('m.onnx', chainOfSize(100_000));
  await compiled.add(files, 1e9, async () => {
    throw new Error('not to be called');
  });
  expect(await compiled.find(files)).toBeUndefined();
});
