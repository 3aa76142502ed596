import { expect, test } from 'vitest';
import { parseTritonConfig } from '../core/triton/model-config.ts';
import type { LoadOrder } from './load-order.ts';
import { completed } from './triton-order.ts';

const ORDER: LoadOrder = {
  name: 'm',
  uri: 'file:///m',
  requestTimeoutMs: 1,
  startTimeoutMs: 1,
  warmUp: 'run',
};
const CONFIG = parseTritonConfig(`
  max_batch_size: 8
  dynamic_batching { max_queue_delay_microseconds: 250 }
  instance_group { count: 3 kind: KIND_GPU }
  parameters { key: "intra_op_thread_count" value { string_value: "2" } }
`);

test('the configuration speaks where the service says nothing', () => {
  expect(completed(ORDER, CONFIG)).toMatchObject({
    instances: 3,
    threadsPerInstance: 2,
    execution: { provider: 'cuda', fallback: 'refuse' },
    batching: { maxBatchSize: 8, maxLatencyMs: 0.25 },
  });
});

test('what the service says goes first', () => {
  const said = {
    instances: 1,
    threadsPerInstance: 1,
    execution: { provider: 'cuda', fallback: 'cpu' },
    batching: { maxBatchSize: 2, maxLatencyMs: 0 },
  } as const;
  expect(completed({ ...ORDER, ...said }, CONFIG)).toMatchObject(said);
});

test('without dynamic_batching requests are not put together', () => {
  expect(completed(ORDER, parseTritonConfig('max_batch_size: 8'))).toMatchObject({
    batching: { maxBatchSize: 1, maxLatencyMs: 0 },
  });
});
