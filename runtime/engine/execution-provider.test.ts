import { existsSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { chainOfSize, identity } from '../../e2e/models/onnx-models.ts';
import { callWith, EngineBench, floats, floatsOf } from './testing/load-for-test.ts';

let bench: EngineBench;
beforeEach(() => {
  bench = new EngineBench();
});
afterEach(() => bench.close());

const hasGpu = existsSync('/dev/nvidia0') || existsSync('/dev/dri');

describe.skipIf(hasGpu).each([
  [
    'cuda',
    /libonnxruntime_providers_cuda\.so beside onnxruntime-node: (not )?there, \/dev\/nvidia0: not there/,
  ],
  ['webgpu', /No supported adapters.*\/dev\/dri\/renderD\*: not there/s],
] as const)('on a machine without a GPU, %s', (provider, message) => {
  test('is refused with what was looked for and what to do', async () => {
    const refused = bench.load(bench.write('m.onnx', identity('FLOAT')), {
      execution: { provider, fallback: 'refuse' },
    });
    await expect(refused).rejects.toMatchObject({
      code: 'execution-provider-unavailable',
      message: expect.stringMatching(message),
    });
    await expect(refused).rejects.toThrow(/docs\/gpu\.md.*fall back to the CPU/);
  });

  test('falls back to the CPU, every instance of it, and says so once', async () => {
    const model = await bench.load(bench.write('m.onnx', chainOfSize(100_000)), {
      execution: { provider, fallback: 'cpu' },
      instances: 2,
    });
    const width = Number(model.signature.inputs[0]?.shape[1]);
    const answers = await Promise.all([1, 2, 3].map(() => model.infer(callWith([floats('x', [1, width])]))));
    expect(answers.map(({ outputs }) => floatsOf(outputs).length)).toEqual([width, width, width]);
    const told = bench.told.filter(({ line }) => line === 'not accelerated');
    expect(told.map(({ error }) => error?.code)).toEqual(['execution-provider-unavailable']);
  });
});

test('a file that is no model is told as such, whatever was to compute it', async () => {
  const path = join(bench.folder, 'text.onnx');
  writeFileSync(path, 'hello');
  for (const fallback of ['cpu', 'refuse'] as const) {
    const load = bench.load([path], { execution: { provider: 'cuda', fallback } });
    await expect(load).rejects.toMatchObject({
      code: hasGpu || fallback === 'cpu' ? 'model-not-onnx' : 'execution-provider-unavailable',
    });
  }
});

test('the CPU is asked for no accelerator', async () => {
  await bench.load(bench.write('m.onnx', identity('FLOAT')), {
    execution: { provider: 'cpu', fallback: 'refuse' },
  });
  expect(bench.told.map(({ line }) => line)).toEqual(['created']);
});
