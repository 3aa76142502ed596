import { describe, expect, it } from 'vitest';
import { parseInferenceService, revisionSpec } from './schema.ts';

const BASE = {
  minReplicas: 0,
  model: {
    modelFormat: { name: 'onnx' },
    storageUri: 's3://bucket/m.onnx',
    env: [{ name: 'A', value: '1' }],
    resources: { limits: { cpu: '1' } },
  },
};

function revisionOf(predictor: object): string {
  const result = parseInferenceService({
    apiVersion: 'serving.pilotlight.dev/v1alpha1',
    kind: 'InferenceService',
    metadata: { name: 'digits' },
    spec: { predictor },
  });
  if (!result.ok) throw new Error(JSON.stringify(result.problems));
  return JSON.stringify(revisionSpec(result.service));
}

describe('a new revision', () => {
  it.each<[string, object]>([
    ['the number of replicas', { minReplicas: 1, maxReplicas: 4 }],
    ['scale targets', { scaleTarget: 7, scaleMetric: 'rps' }],
    ['the share of a canary', { canaryTrafficPercent: 10 }],
    ['the request timeout', { timeout: 5 }],
    ['settings of the autoscaler', { scaling: { stableWindow: '10s', startTimeout: '5s' } }],
    ['labels', { labels: { a: 'b' } }],
    [
      'another way to write a quantity',
      { model: { ...BASE.model, resources: { limits: { cpu: '1000m' } } } },
    ],
    ['a default spelled out', { containerConcurrency: 0 }],
  ])('is not made by %s', (_what, change) => {
    expect(revisionOf({ ...BASE, ...change })).toBe(revisionOf(BASE));
  });

  it.each<[string, object]>([
    ['another model', { model: { ...BASE.model, storageUri: 's3://bucket/other.onnx' } }],
    ['an argument', { model: { ...BASE.model, args: ['--instances=2'] } }],
    ['the environment', { model: { ...BASE.model, env: [{ name: 'A', value: '2' }] } }],
    ['resources', { model: { ...BASE.model, resources: { limits: { cpu: '2' } } } }],
    ['requests at once', { containerConcurrency: 3 }],
    ['the service account', { serviceAccountName: 'other' }],
    ['a pod field', { nodeSelector: { a: 'b' } }],
  ])('is made by %s', (_what, change) => {
    expect(revisionOf({ ...BASE, ...change })).not.toBe(revisionOf(BASE));
  });
});
