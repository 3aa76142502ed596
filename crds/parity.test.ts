import { expect, test } from 'vitest';
import { parseInferenceService } from './schema.ts';

function parsed(parity: object) {
  return parseInferenceService({
    apiVersion: 'serving.pilotlight.dev/v1alpha1',
    kind: 'InferenceService',
    metadata: { name: 'int8', namespace: 'team' },
    spec: {
      predictor: {
        model: { modelFormat: { name: 'onnx' }, storageUri: 's3://models/int8.onnx', parity },
      },
    },
  });
}

test('one percent is allowed unless it is said otherwise, and scores may disagree', () => {
  const outcome = parsed({ against: 's3://models/fp32.onnx' });
  expect(outcome.ok && outcome.service.spec.predictor.model?.parity).toEqual({
    against: 's3://models/fp32.onnx',
    tolerancePercent: 1,
  });
});

test.each([
  [{}, 'spec.predictor.model.parity.against', /expected/],
  [{ against: 'fp32.onnx' }, 'spec.predictor.model.parity.against', /expected a URI/],
  [{ against: 'pvc://claim/fp32.onnx' }, 'spec.predictor.model.parity.against', /not supported yet/],
  [
    { against: 's3://b/m.onnx', samples: '../s.jsonl' },
    'spec.predictor.model.parity.samples',
    /samples\.jsonl/,
  ],
  [{ against: 's3://b/m.onnx', samples: 's.npy' }, 'spec.predictor.model.parity.samples', /samples\.jsonl/],
  [
    { against: 's3://b/m.onnx', tolerancePercent: 101 },
    'spec.predictor.model.parity.tolerancePercent',
    /100/,
  ],
  [{ against: 's3://b/m.onnx', agreementPercent: -1 }, 'spec.predictor.model.parity.agreementPercent', /0/],
])('%j is refused at %s', (parity, path, message) => {
  const outcome = parsed(parity);
  expect(outcome.ok).toBe(false);
  if (outcome.ok) return;
  expect(outcome.problems).toEqual([
    expect.objectContaining({ path, message: expect.stringMatching(message) }),
  ]);
});
