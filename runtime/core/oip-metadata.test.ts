import { expect, test } from 'vitest';
import type { ModelSignature } from './model-signature.ts';
import {
  errorBody,
  modelConfig,
  modelMetadata,
  modelReadinessBody,
  readinessBody,
  repositoryIndexEntry,
  SPECIFIED_PLATFORM,
  serverMetadata,
} from './oip-metadata.ts';

const signature: ModelSignature = {
  inputs: [{ name: 'x', datatype: 'FP32', shape: ['batch', 3, -1] }],
  outputs: [{ name: 'y', datatype: 'BYTES', shape: ['batch'] }],
  maxBatchSize: 0,
};

test('model metadata shows -1 for dimensions that a request chooses', () => {
  expect(modelMetadata({ name: 'm', version: '3' }, signature)).toEqual({
    name: 'm',
    versions: ['3'],
    platform: 'onnxruntime_onnx',
    inputs: [{ name: 'x', datatype: 'FP32', shape: [-1, 3, -1] }],
    outputs: [{ name: 'y', datatype: 'BYTES', shape: [-1] }],
  });
  const unversioned = modelMetadata({ name: 'm', version: undefined }, signature, SPECIFIED_PLATFORM);
  expect(unversioned).not.toHaveProperty('versions');
  expect(unversioned.platform).toBe('onnx_onnxv1');
});

test('the configuration leaves the batch dimension out when there is one, and names types as Triton does', () => {
  const model = { name: 'm', version: undefined };
  const batched = { ...signature, maxBatchSize: 8 };
  expect(modelConfig(model, { signature: batched, maxLatencyMs: 1.5 })).toMatchObject({
    max_batch_size: 8,
    input: [{ name: 'x', data_type: 'TYPE_FP32', dims: [3, -1] }],
    output: [{ name: 'y', data_type: 'TYPE_STRING', dims: [] }],
    dynamic_batching: { max_queue_delay_microseconds: 1500 },
  });
  expect(modelConfig(model, { signature: batched })).not.toHaveProperty('dynamic_batching');
  expect(modelConfig(model, { signature }).input[0]?.dims).toEqual([-1, 3, -1]);
});

test('readiness answers both keys, errors one', () => {
  expect(readinessBody(true)).toEqual({ ready: true, live: true });
  expect(modelReadinessBody('m', false)).toEqual({ name: 'm', ready: false, live: false });
  expect(errorBody('no')).toEqual({ error: 'no' });
});

test('server metadata names the extensions, the repository index the state', () => {
  expect(serverMetadata('1.2.3', ['binary_tensor_data'])).toEqual({
    name: 'pilotlight',
    version: '1.2.3',
    extensions: ['binary_tensor_data'],
  });
  expect(repositoryIndexEntry({ name: 'm', version: undefined }, false, 'loading')).toEqual({
    name: 'm',
    version: '1',
    state: 'UNAVAILABLE',
    reason: 'loading',
  });
});
