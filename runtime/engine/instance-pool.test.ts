import { monitorEventLoopDelay } from 'node:perf_hooks';
import type { Worker } from 'node:worker_threads';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { chainOfSize, identity, matMulChain } from '../../e2e/models/onnx-models.ts';
import { TEXT_RECOGNISER } from '../../e2e/models/real-models.ts';
import type { Tensor } from '../core/tensor.ts';
import { modelClosed } from './load-model.ts';
import { callWith, EngineBench, floats, floatsOf } from './testing/load-for-test.ts';

let bench: EngineBench;
beforeEach(() => {
  bench = new EngineBench();
});
afterEach(() => bench.close());

/** 16 layers of 512² take about 8 million multiplications a row: 2,000 rows keep a thread busy for 0.3 s or more. */
const slowModel = () => bench.write('slow.onnx', matMulChain({ layers: 16, width: 512 }));
const slowInput = (rows = 2000): Tensor[] => [floats('x', [rows, 512])];
const quickInput = (): Tensor[] => [floats('x', [1, 512])];

async function errorOf(promise: Promise<unknown>): Promise<{ code?: string }> {
  return promise.then(
    () => ({}),
    (error: { code?: string }) => error,
  );
}

test('calls wait for the one instance and are answered in their order', async () => {
  const model = await bench.load(slowModel(), { warmUp: true });
  const order: number[] = [];
  const calls = [0, 1, 2, 3].map(async (index) => {
    const { queuedMs } = await model.infer(callWith(index === 0 ? slowInput() : quickInput()));
    order.push(index);
    return queuedMs;
  });
  const queuedMs = await Promise.all(calls);
  expect(order).toEqual([0, 1, 2, 3]);
  expect(queuedMs[0]).toBe(0);
  expect(queuedMs[3]).toBeGreaterThanOrEqual(queuedMs[1] ?? Number.NaN);
});

test('two instances work at the same time', async () => {
  const model = await bench.load(slowModel(), { instances: 2 });
  expect(model.capacity).toBe(2);
  const quickWhileSlow = async (): Promise<boolean> => {
    let slowDone = false;
    const slow = model.infer(callWith(slowInput())).then(() => {
      slowDone = true;
    });
    await model.infer(callWith(quickInput()));
    const overtook = !slowDone;
    await slow;
    return overtook;
  };
  // The second instance is made behind the first answer.
  await expect.poll(quickWhileSlow, { timeout: 15_000 }).toBe(true);
});

test('a client that leaves the list costs the instance nothing', async () => {
  const model = await bench.load(slowModel());
  const running = model.infer(callWith(slowInput()));
  const controller = new AbortController();
  const waiting = errorOf(model.infer(callWith(slowInput(), { signal: controller.signal })));
  const behind = model.infer(callWith(quickInput()));
  controller.abort();
  expect((await waiting).code).toBe('client-closed');
  await running;
  const { queuedMs } = await behind;
  expect(queuedMs).toBeGreaterThan(0);
  expect(bench.told.filter(({ line }) => line === 'inference')).toHaveLength(2);
});

test('a call whose client left before is refused at once', async () => {
  const model = await bench.load(slowModel());
  const error = await errorOf(model.infer(callWith(quickInput(), { signal: AbortSignal.abort() })));
  expect(error.code).toBe('client-closed');
});

test('a client that leaves during its run gets client-closed when the slot is free again, not before', async () => {
  const model = await bench.load(slowModel());
  const controller = new AbortController();
  const leaving = errorOf(model.infer(callWith(slowInput(), { signal: controller.signal })));
  setImmediate(() => controller.abort());
  expect((await leaving).code).toBe('client-closed');
  expect(bench.told.filter(({ line }) => line === 'inference')).toHaveLength(1);
});

test('a call that waits past its deadline gets inference-timeout and is not run', async () => {
  const model = await bench.load(slowModel());
  const running = model.infer(callWith(slowInput()));
  const late = await errorOf(model.infer(callWith(quickInput(), { deadlineMs: performance.now() + 20 })));
  expect(late.code).toBe('inference-timeout');
  await running;
  expect(bench.told.filter(({ line }) => line === 'inference')).toHaveLength(1);
});

test('the list of waiting calls is bounded, and what is over gets server-busy', async () => {
  const model = await bench.load(slowModel());
  const calls = Array.from({ length: 100 }, () => errorOf(model.infer(callWith(quickInput()))));
  const codes = (await Promise.all(calls)).map(({ code }) => code);
  // One runs, 64 wait.
  expect(codes.filter((code) => code === 'server-busy')).toHaveLength(35);
  expect(codes.filter((code) => code === undefined)).toHaveLength(65);
});

test('a run over its time limit is told to the caller at once; the instance serves again when it returns', async () => {
  const model = await bench.load(slowModel());
  const error = await errorOf(model.infer(callWith(slowInput(), { deadlineMs: performance.now() + 30 })));
  expect(error.code).toBe('inference-timeout');
  await model.infer(callWith(quickInput()));
  expect(bench.told.map(({ line }) => line)).not.toContain('trouble');
});

test('a run that hangs past its grace costs its worker, and a new one serves', async () => {
  const model = await bench.load(slowModel(), { hangGraceMs: 50 });
  const hung = await errorOf(model.infer(callWith(slowInput(8000), { deadlineMs: performance.now() + 30 })));
  expect(hung.code).toBe('inference-timeout');
  const { outputs } = await model.infer(callWith(quickInput()));
  expect(outputs[0]?.shape).toEqual([1, 512]);
  expect(bench.told.find(({ line }) => line === 'trouble')?.error?.code).toBe('inference-timeout');
}, 60_000);

// A message that no worker understands throws in it, outside of any call: it dies as of a bug.
test('a worker that dies fails its call cleanly and is replaced', async () => {
  const workers: Worker[] = [];
  const onWorker = (worker: Worker) => workers.push(worker);
  process.on('worker', onWorker);
  try {
    const model = await bench.load(slowModel());
    workers[0]?.postMessage(undefined);
    const failing = errorOf(model.infer(callWith(quickInput())));
    expect((await failing).code).toBe('inference-failed');
    await model.infer(callWith(quickInput()));
    expect(workers).toHaveLength(2);
  } finally {
    process.off('worker', onWorker);
  }
});

test('a model whose workers can’t be replaced is broken: what waits is told, and so is the life cycle', async () => {
  const workers: Worker[] = [];
  const onWorker = (worker: Worker) => workers.push(worker);
  process.on('worker', onWorker);
  try {
    const [path = ''] = bench.write('slow.onnx', matMulChain({ layers: 16, width: 512 }));
    const model = await bench.load([path]);
    bench.write('slow.onnx', { ...identity('FLOAT'), opset: 99 });
    workers[0]?.postMessage(undefined);
    const failing = errorOf(model.infer(callWith(quickInput())));
    const waiting = errorOf(model.infer(callWith(quickInput())));
    expect((await failing).code).toBe('inference-failed');
    expect((await waiting).code).toBe('model-unsupported-operator');
    expect(bench.told.at(-1)).toMatchObject({
      line: 'broken',
      error: { code: 'model-unsupported-operator' },
    });
    expect((await errorOf(model.infer(callWith(quickInput())))).code).toBe('model-unsupported-operator');
  } finally {
    process.off('worker', onWorker);
  }
});

test('a waiting request gets the session that is there soonest, and behind its answer comes one that runs faster', async () => {
  const workers: Worker[] = [];
  const gone: Worker[] = [];
  const onWorker = (worker: Worker): void => {
    workers.push(worker);
    worker.once('exit', () => gone.push(worker));
  };
  process.on('worker', onWorker);
  try {
    const model = await bench.load([TEXT_RECOGNISER]);
    const image = () => [floats('x', [1, 3, 48, 64], 0.5)];
    const first = await model.infer(callWith(image()));
    expect(workers).toHaveLength(1);
    await expect.poll(() => gone.length, { timeout: 15_000 }).toBe(1);
    expect(workers).toHaveLength(2);
    const settled = await model.infer(callWith(image()));
    expect(workers).toHaveLength(2);
    const [a, b] = [floatsOf(first.outputs), floatsOf(settled.outputs)];
    a.forEach((value, index) => expect(b[index]).toBeCloseTo(value, 3));
    expect(bench.told.map(({ line }) => line)).not.toContain('trouble');
  } finally {
    process.off('worker', onWorker);
  }
});

test('a model that is warmed ahead has its settled session from the start', async () => {
  const workers: Worker[] = [];
  const onWorker = (worker: Worker) => workers.push(worker);
  process.on('worker', onWorker);
  try {
    const model = await bench.load([TEXT_RECOGNISER], { warmUp: true });
    await model.infer(callWith([floats('x', [1, 3, 48, 64])]));
    await model.close(modelClosed());
    expect(workers).toHaveLength(1);
  } finally {
    process.off('worker', onWorker);
  }
});

test('closing rejects what waits and lets what runs finish', async () => {
  const model = await bench.load(slowModel());
  const running = errorOf(model.infer(callWith(slowInput())));
  const waiting = errorOf(model.infer(callWith(quickInput())));
  await model.close(modelClosed());
  expect((await waiting).code).toBe('draining');
  expect((await running).code).toBeUndefined();
});

test('large inputs are handed over, small ones copied, and a view of a larger buffer is left alone', async () => {
  const model = await bench.load(bench.write('identity.onnx', identity('FLOAT', ['n'])));
  const large = floats('x', [4096]);
  const small = floats('x', [4]);
  const body = new ArrayBuffer(1 << 20);
  const view: Tensor = { ...floats('x', [4096]), data: new Float32Array(body, 4096, 4096).fill(3) };
  for (const tensor of [large, small, view]) {
    const { outputs } = await model.infer(callWith([tensor]));
    expect(outputs[0]?.shape).toEqual(tensor.shape);
  }
  expect(large.data.length).toBe(0);
  expect(small.data.length).toBe(4);
  expect(view.data[0]).toBe(3);
  expect(body.byteLength).toBe(1 << 20);
});

/** Longest time that the event loop was kept from turning while `work` went on, in ms. */
async function longestBlockMs(work: () => Promise<unknown>): Promise<number> {
  const delay = monitorEventLoopDelay({ resolution: 1 });
  delay.enable();
  await new Promise((resolve) => setTimeout(resolve, 5));
  delay.reset();
  await work();
  delay.disable();
  return delay.max / 1e6;
}

/** The part of the time that something took for which the event loop was kept from turning; the least of some tries. */
async function keptPart(work: () => Promise<unknown>): Promise<number> {
  let least = 1;
  // A machine that is busy with other things keeps this process from the CPU now and then.
  for (let attempt = 0; attempt < 5 && least > 0.5; attempt += 1) {
    const fromMs = performance.now();
    const blockedMs = await longestBlockMs(work);
    least = Math.min(least, blockedMs / (performance.now() - fromMs));
  }
  return least;
}

// How long it is kept in milliseconds is a row of the benchmark of the runtime.
test('the event loop turns while a session is created and while it runs', async () => {
  const large = bench.write('large.onnx', chainOfSize(100e6));
  expect(await keptPart(() => bench.load(large))).toBeLessThan(0.5);
  const model = await bench.load([TEXT_RECOGNISER]);
  expect(await keptPart(() => model.infer(callWith([floats('x', [1, 3, 48, 3200])])))).toBeLessThan(0.5);
}, 60_000);
