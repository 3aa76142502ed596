import type { MessageShape } from './message-shape.ts';

/** The messages that say the same as a JSON body of REST, key by key. Numbers as in inference.proto. */

const TENSOR_METADATA: MessageShape = {
  name: [1, 'string'],
  datatype: [2, 'string'],
  shape: [3, 'integers'],
};

export const SERVER_METADATA: MessageShape = {
  name: [1, 'string'],
  version: [2, 'string'],
  extensions: [3, 'string'],
};

export const MODEL_METADATA: MessageShape = {
  name: [1, 'string'],
  versions: [2, 'string'],
  platform: [3, 'string'],
  inputs: [4, TENSOR_METADATA],
  outputs: [5, TENSOR_METADATA],
};

const DATA_TYPE: ReadonlyMap<string, number> = new Map(
  [
    'TYPE_INVALID',
    'TYPE_BOOL',
    'TYPE_UINT8',
    'TYPE_UINT16',
    'TYPE_UINT32',
    'TYPE_UINT64',
    'TYPE_INT8',
    'TYPE_INT16',
    'TYPE_INT32',
    'TYPE_INT64',
    'TYPE_FP16',
    'TYPE_FP32',
    'TYPE_FP64',
    'TYPE_STRING',
    'TYPE_BF16',
  ].map((name, number) => [name, number]),
);

const INSTANCE_KIND: ReadonlyMap<string, number> = new Map([
  ['KIND_GPU', 1],
  ['KIND_CPU', 2],
]);

const MODEL_CONFIG: MessageShape = {
  name: [1, 'string'],
  platform: [2, 'string'],
  max_batch_size: [4, 'integer'],
  input: [5, { name: [1, 'string'], data_type: [2, DATA_TYPE], dims: [4, 'integers'] }],
  output: [6, { name: [1, 'string'], data_type: [2, DATA_TYPE], dims: [3, 'integers'] }],
  instance_group: [7, { kind: [4, INSTANCE_KIND], count: [2, 'integer'] }],
  dynamic_batching: [11, { max_queue_delay_microseconds: [2, 'integer'] }],
  backend: [17, 'string'],
};

export const MODEL_CONFIG_RESPONSE: MessageShape = { config: [1, MODEL_CONFIG] };

const DURATION: MessageShape = { count: [1, 'integer'], ns: [2, 'integer'] };

const MODEL_STATISTICS: MessageShape = {
  name: [1, 'string'],
  version: [2, 'string'],
  last_inference: [3, 'integer'],
  inference_count: [4, 'integer'],
  execution_count: [5, 'integer'],
  inference_stats: [
    6,
    {
      success: [1, DURATION],
      fail: [2, DURATION],
      queue: [3, DURATION],
      compute_input: [4, DURATION],
      compute_infer: [5, DURATION],
      compute_output: [6, DURATION],
      cache_hit: [7, DURATION],
      cache_miss: [8, DURATION],
    },
  ],
  batch_stats: [
    7,
    {
      batch_size: [1, 'integer'],
      compute_input: [2, DURATION],
      compute_infer: [3, DURATION],
      compute_output: [4, DURATION],
    },
  ],
};

export const MODEL_STATISTICS_RESPONSE: MessageShape = { model_stats: [1, MODEL_STATISTICS] };

export const REPOSITORY_INDEX_RESPONSE: MessageShape = {
  models: [1, { name: [1, 'string'], version: [2, 'string'], state: [3, 'string'], reason: [4, 'string'] }],
};
