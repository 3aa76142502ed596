import { afterEach, beforeEach, expect, test } from 'vitest';
import { firstRow, identity, matMulChain, tableLookup } from '../../e2e/models/onnx-models.ts';
import type { Tensor } from '../core/tensor.ts';
import type { InferenceCall } from '../ports.ts';
import type { ModelHandle } from './load-model.ts';
import { callWith, EngineBench, floats, floatsOf } from './testing/load-for-test.ts';

let bench: EngineBench;
beforeEach(() => {
  bench = new EngineBench();
});
afterEach(() => bench.close());

const EIGHT = { maxBatchSize: 8, maxLatencyMs: 0 };
const chain = (): string[] => bench.write('chain.onnx', matMulChain({ layers: 16, width: 512 }));
/** Keeps the one instance busy for a while, and is larger than a batch. */
const longCall = (): InferenceCall => callWith([floats('x', [1000, 512])]);

interface Outcome {
  outputs?: readonly Tensor[];
  code?: string;
}

function outcomeOf(model: ModelHandle, call: InferenceCall): Promise<Outcome> {
  return model.infer(call).then(
    ({ outputs }) => ({ outputs }),
    (error: { code: string }) => ({ code: error.code }),
  );
}

function sizesOf(model: ModelHandle): Record<number, number> {
  const sizes = model.executions?.().sizes ?? [];
  return Object.fromEntries(sizes.map(({ batchSize, count }) => [batchSize, count]));
}

const ids = (...numbers: number[]): Tensor[] => [
  { name: 'ids', datatype: 'INT64', shape: [numbers.length], data: BigInt64Array.from(numbers, BigInt) },
];

test('what waits for the instance is run together, and each gets what it would get alone', async () => {
  const model = await bench.load(chain(), { batching: EIGHT });
  expect(model.signature.maxBatchSize).toBe(8);
  expect(model.capacity).toBe(8);
  const running = model.infer(longCall());
  const rows = [1, 2, 1, 3, 1];
  const answers = await Promise.all(
    rows.map((count, index) => model.infer(callWith([floats('x', [count, 512], (index + 1) / 10)]))),
  );
  await running;
  // Eight rows at once; the long call is larger than a batch and in no size.
  expect(sizesOf(model)).toEqual({ 8: 1 });
  expect(model.executions?.().count).toBe(2);
  for (const [index, { outputs }] of answers.entries()) {
    expect(outputs[0]?.shape).toEqual([rows[index], 512]);
    const alone = await model.infer(callWith([floats('x', [rows[index] ?? 0, 512], (index + 1) / 10)]));
    const [together, single] = [floatsOf(outputs), floatsOf(alone.outputs)];
    together.forEach((value, at) => expect(value).toBeCloseTo(single[at] ?? Number.NaN, 3));
  }
});

test('a batch takes no more rows than it may, one shape, and the oldest first', async () => {
  const files = bench.write('any.onnx', identity('FLOAT', ['n', 'width']));
  const model = await bench.load(files, { batching: { maxBatchSize: 4, maxLatencyMs: 0 } });
  const widths = [3, 2, 2, 3, 2, 2, 2, 3];
  const answers = await Promise.all(
    widths.map((width, index) => model.infer(callWith([floats('x', [1, width], index)]))),
  );
  answers.forEach(({ outputs }, index) => {
    expect(outputs[0]?.shape).toEqual([1, widths[index]]);
    expect([...floatsOf(outputs)]).toEqual(Array.from({ length: widths[index] ?? 0 }, () => index));
  });
  // The first found the instance idle; then four of width 2, two of width 3, and the last of width 2.
  expect(sizesOf(model)).toEqual({ 1: 2, 2: 1, 4: 1 });
});

test('texts and large inputs, which the worker puts together, come back to whom they belong', async () => {
  const texts = await bench.load(bench.write('texts.onnx', identity('STRING', ['n', 2])), {
    batching: EIGHT,
  });
  const words = ['a', 'Zürich', '', '🙂'];
  const answers = await Promise.all(
    words.map((word) =>
      texts.infer(callWith([{ name: 'x', datatype: 'BYTES', shape: [1, 2], data: [word, `${word}!`] }])),
    ),
  );
  expect(answers.map(({ outputs }) => outputs[0]?.data)).toEqual(words.map((word) => [word, `${word}!`]));
  expect(sizesOf(texts)).toEqual({ 1: 1, 3: 1 });

  const large = await bench.load(bench.write('large.onnx', identity('FLOAT', ['n', 'width'])), {
    batching: EIGHT,
  });
  const images = await Promise.all(
    [1, 2, 3, 4].map((value) => large.infer(callWith([floats('x', [1, 150_000], value)]))),
  );
  images.forEach(({ outputs }, index) => {
    expect(floatsOf(outputs).length).toBe(150_000);
    expect(floatsOf(outputs).every((value) => value === index + 1)).toBe(true);
  });
  expect(sizesOf(large)).toEqual({ 1: 1, 3: 1 });
});

test.each([
  ['small', 1],
  ['large enough to be handed over', 100_000],
])('one bad request among %s ones costs nobody else their answer', async (_size, count) => {
  const maxBatchSize = 4 * count;
  const model = await bench.load(bench.write('table.onnx', tableLookup(10)), {
    batching: { maxBatchSize, maxLatencyMs: 0 },
  });
  const many = (id: number): Tensor[] => ids(...Array.from({ length: count }, () => id));
  const outcomes = await Promise.all([1, 2, 99, 3].map((id) => outcomeOf(model, callWith(many(id)))));
  expect(outcomes.map(({ code }) => code)).toEqual([undefined, undefined, 'inference-failed', undefined]);
  expect(outcomes.map(({ outputs }) => outputs?.[0]?.data[count - 1])).toEqual([1, 2, undefined, 3]);
  expect(bench.told.filter(({ line }) => line === 'batch failed')).toHaveLength(1);
});

test('whoever left or ran out of time while waiting is not in the batch', async () => {
  const model = await bench.load(chain(), { batching: EIGHT });
  const running = model.infer(longCall());
  const client = new AbortController();
  const quick = (more: Partial<InferenceCall> = {}): Promise<Outcome> =>
    outcomeOf(model, callWith([floats('x', [1, 512])], more));
  const outcomes = [
    quick(),
    quick({ signal: client.signal }),
    quick({ deadlineMs: performance.now() + 5 }),
    quick(),
  ];
  client.abort();
  expect((await Promise.all(outcomes)).map(({ code }) => code)).toEqual([
    undefined,
    'client-closed',
    'inference-timeout',
    undefined,
  ]);
  await running;
  expect(sizesOf(model)).toEqual({ 2: 1 });
});

test('whose time is over during the run of a batch is told so, and the others get their answers', async () => {
  const model = await bench.load(chain(), { batching: { maxBatchSize: 8000, maxLatencyMs: 2_000 } });
  // Full with these two, and half a second of work at least.
  const impatient = callWith([floats('x', [4000, 512])], { deadlineMs: performance.now() + 50 });
  const [late, patient] = await Promise.all([
    outcomeOf(model, impatient),
    outcomeOf(model, callWith([floats('x', [4000, 512])])),
  ]);
  expect(late.code).toBe('inference-timeout');
  expect(patient.outputs?.[0]?.shape).toEqual([4000, 512]);
});

test('a call of a higher priority is in the next batch, however many wait before it', async () => {
  const model = await bench.load(chain(), { batching: { maxBatchSize: 2, maxLatencyMs: 0 } });
  const running = model.infer(longCall());
  const order: string[] = [];
  const ask = async (name: string, priority?: number): Promise<void> => {
    await model.infer(callWith([floats('x', [1, 512])], priority === undefined ? {} : { priority }));
    order.push(name);
  };
  await Promise.all([ask('a'), ask('b'), ask('low', 200), ask('c'), ask('first', 1)]);
  await running;
  expect(order).toEqual(['first', 'a', 'b', 'c', 'low']);
});

test('an instance that has nothing to do waits for company as long as it may', async () => {
  const files = bench.write('any.onnx', identity('FLOAT', ['n', 4]));
  const model = await bench.load(files, { batching: { maxBatchSize: 3, maxLatencyMs: 60_000 } });
  const calls = [1, 2, 3].map((value) => model.infer(callWith([floats('x', [1, 4], value)])));
  await Promise.all(calls);
  expect(sizesOf(model)).toEqual({ 3: 1 });
  const patient = await bench.load(files, { batching: { maxBatchSize: 3, maxLatencyMs: 20 } });
  const { queuedMs } = await patient.infer(callWith([floats('x', [1, 4])]));
  expect(queuedMs).toBeGreaterThanOrEqual(19);
});

test('a model that turns out to have no batch answers every request alone from then on', async () => {
  const model = await bench.load(bench.write('first.onnx', firstRow()), { batching: EIGHT });
  const ask = (): Promise<readonly number[][]> =>
    Promise.all(
      [1, 2, 3].map(async (value) => {
        const { outputs } = await model.infer(callWith([floats('x', [1, 4], value)]));
        return [...floatsOf(outputs)];
      }),
    );
  const expected = [1, 2, 3].map((value) => [value, value, value, value]);
  expect(await ask()).toEqual(expected);
  expect(bench.told.filter(({ line }) => line === 'trouble')).toHaveLength(1);
  expect(await ask()).toEqual(expected);
  expect(bench.told.filter(({ line }) => line === 'trouble')).toHaveLength(1);
});

test('batches of a model with a fixed first dimension are refused when it is loaded', async () => {
  const files = bench.write('fixed.onnx', identity('FLOAT', [1, 4]));
  await expect(bench.load(files, { batching: EIGHT })).rejects.toMatchObject({
    code: 'model-invalid',
    message: expect.stringContaining("input 'x' of shape [1, 4] has a first dimension that is fixed at 1"),
  });
  const alone = await bench.load(files, { batching: { maxBatchSize: 1, maxLatencyMs: 0 } });
  expect(alone.signature.maxBatchSize).toBe(0);
});
