import { expect, test } from 'vitest';
import type { ModelSignature } from '../core/model-signature.ts';
import type { Tensor } from '../core/tensor.ts';
import type { InferenceCall } from '../ports.ts';
import { labelled } from './labelled-model.ts';

const NAMES = ['cat', 'dog', 'cow'];
const ORDER = { file: { path: 'labels.txt' }, top: 2, output: undefined, keepScores: false };
const signature: ModelSignature = {
  inputs: [{ name: 'x', datatype: 'FP32', shape: [-1, 4] }],
  outputs: [
    { name: 'scores', datatype: 'FP32', shape: [-1, 3] },
    { name: 'features', datatype: 'FP32', shape: [-1, 1] },
  ],
  maxBatchSize: 0,
};
const scores: Tensor = {
  name: 'scores',
  datatype: 'FP32',
  shape: [2, 3],
  data: Float32Array.of(0.25, 0.5, 0.25, 0, 0, 5),
};
const features: Tensor = { name: 'features', datatype: 'FP32', shape: [2, 1], data: Float32Array.of(1, 2) };

function model(outputs: ModelSignature['outputs'] = signature.outputs) {
  const asked: (readonly string[] | undefined)[] = [];
  return {
    asked,
    signature: { ...signature, outputs },
    infer: ({ outputs: wanted }: InferenceCall) => {
      asked.push(wanted);
      return Promise.resolve({
        outputs: [scores, features].filter(({ name }) => wanted?.includes(name) !== false),
        queuedMs: 0,
        computeMs: 0,
      });
    },
  };
}

const call = (outputs?: readonly string[]): InferenceCall => ({
  inputs: [],
  deadlineMs: Number.POSITIVE_INFINITY,
  signal: new AbortController().signal,
  ...(outputs !== undefined && { outputs }),
});

test('the best classes of each row come in place of the scores, others beside them', async () => {
  const made = labelled(model(), { ...ORDER, output: 'scores' }, NAMES);
  expect(made.signature.outputs.map(({ name, shape }) => [name, ...shape])).toEqual([
    ['label', -1, 2],
    ['score', -1, 2],
    ['features', -1, 1],
  ]);
  const { outputs } = await made.infer(call());
  expect(outputs.map(({ name }) => name)).toEqual(['label', 'score', 'features']);
  expect(outputs[0]).toMatchObject({ datatype: 'BYTES', shape: [2, 2], data: ['dog', 'cat', 'cow', 'cat'] });
  expect(outputs[1]?.data[0]).toBe(0.5);
});

test('the model is asked for no more than an answer takes', async () => {
  const inner = model();
  const made = labelled(inner, { ...ORDER, output: 'scores' }, NAMES);
  expect((await made.infer(call(['features']))).outputs.map(({ name }) => name)).toEqual(['features']);
  expect((await made.infer(call(['score']))).outputs.map(({ name }) => name)).toEqual(['score']);
  expect(inner.asked).toEqual([['features'], ['scores']]);
});

test('names that the model has itself are left to it', () => {
  const inner = model([{ name: 'label', datatype: 'FP32', shape: [-1, 3] }]);
  const made = labelled(inner, { ...ORDER, keepScores: true }, NAMES);
  expect(made.signature.outputs.map(({ name }) => name)).toEqual(['label_label', 'score', 'label']);
});

test.each([
  [signature.outputs, {}, /say by labels\.output which one/],
  [signature.outputs, { output: 'x' }, /has no output 'x'; it gives 'scores', 'features'/],
  [[{ name: 's', datatype: 'FP32', shape: [-1, 4] }], {}, /has 3 lines, and output 's' has 4 classes/],
  [[{ name: 's', datatype: 'BYTES', shape: [-1, 3] }], {}, /expected numbers of shape/],
  [[{ name: 's', datatype: 'FP32', shape: [-1, 3, 2] }], {}, /expected numbers of shape/],
] as const)('what doesn’t go together is refused: %#', (outputs, more, message) => {
  expect(() => labelled(model(outputs), { ...ORDER, ...more }, NAMES)).toThrow(message);
});

test('FP16 scores are read as numbers', async () => {
  const inner = model([{ name: 'scores', datatype: 'FP16', shape: [-1, 3] }]);
  const halves = new Uint16Array(new Float16Array([0, 1, 0]).buffer);
  inner.infer = () =>
    Promise.resolve({
      outputs: [{ name: 'scores', datatype: 'FP16', shape: [1, 3], data: halves }],
      queuedMs: 0,
      computeMs: 0,
    });
  const { outputs } = await labelled(inner, ORDER, NAMES).infer(call());
  expect(outputs[0]?.data).toEqual(['dog', 'cat']);
});
