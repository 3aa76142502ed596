import { z } from 'zod';
import { isIdentifier, shownValue } from './plain-message.ts';

/** Types of tensors by Triton's names, and what they are in the protocol. */
export const DATATYPE_OF = {
  TYPE_BOOL: 'BOOL',
  TYPE_UINT8: 'UINT8',
  TYPE_UINT16: 'UINT16',
  TYPE_UINT32: 'UINT32',
  TYPE_UINT64: 'UINT64',
  TYPE_INT8: 'INT8',
  TYPE_INT16: 'INT16',
  TYPE_INT32: 'INT32',
  TYPE_INT64: 'INT64',
  TYPE_FP16: 'FP16',
  TYPE_FP32: 'FP32',
  TYPE_FP64: 'FP64',
  TYPE_STRING: 'BYTES',
} as const;

/** A value of the text, or an issue that says what was expected. */
function reader<Value>(expected: string, read: (value: unknown) => Value | undefined) {
  return z.unknown().transform((value, context): Value => {
    const found = read(value);
    if (found !== undefined) return found;
    context.addIssue({ code: 'custom', message: `expected ${expected}, got ${shownValue(value)}` });
    return z.NEVER;
  });
}

const text = reader('a text in quotes', (value) =>
  typeof value === 'string' && value !== '' ? value : undefined,
);

function integer(min: number, max: number) {
  return reader(`a whole number from ${min} to ${max}`, (value) =>
    typeof value === 'number' && Number.isInteger(value) && value >= min && value <= max ? value : undefined,
  );
}

function named<const Names extends readonly [string, ...string[]]>(names: Names) {
  return reader<Names[number]>(`one of ${names.join(', ')}`, (value) =>
    isIdentifier(value) ? names.find((name) => name === value.identifier) : undefined,
  );
}

/** A switch of which only "off" is had. */
function off(why: string) {
  return reader(`false: ${why}`, (value) =>
    value === 0 || (isIdentifier(value) && /^(?:false|False|f)$/.test(value.identifier)) ? false : undefined,
  );
}

/** A field that may stand once. */
function one<Schema extends z.ZodType>(schema: Schema) {
  return z
    .array(schema)
    .max(1, 'expected once, found more often')
    .transform(([value]) => value)
    .optional();
}

function many<Schema extends z.ZodType>(schema: Schema, max: number) {
  return z.array(schema).max(max, `expected at most ${max}, found more`).default([]);
}

const TYPES = Object.keys(DATATYPE_OF) as [keyof typeof DATATYPE_OF, ...(keyof typeof DATATYPE_OF)[]];
const dimensions = z
  .array(
    integer(-1, 2 ** 31 - 1).refine((size) => size !== 0, {
      message: 'expected -1 or a size above 0, got 0',
    }),
  )
  .max(32)
  .optional();
const tensor = {
  name: one(text),
  data_type: one(named(TYPES)),
  dims: dimensions,
  is_shape_tensor: one(off('shape tensors belong to TensorRT')),
  is_non_linear_format_io: one(off('such formats belong to TensorRT')),
};

const modelInput = z.strictObject({
  ...tensor,
  // Says what the numbers mean, to people and clients: the model takes them as they are.
  format: one(named(['FORMAT_NONE', 'FORMAT_NHWC', 'FORMAT_NCHW'])),
  allow_ragged_batch: one(off('requests of different shapes are not put together')),
  optional: one(off('ONNX Runtime wants every input of a model')),
});

const modelOutput = z.strictObject({ ...tensor, label_filename: one(text) });

const MAX_INSTANCES = 1024;
const instanceGroup = z.strictObject({
  name: one(text),
  kind: one(named(['KIND_AUTO', 'KIND_CPU', 'KIND_GPU'])),
  count: one(integer(1, MAX_INSTANCES)),
  gpus: many(
    reader('0: a pod sees its own GPU as number 0', (value) => (value === 0 ? 0 : undefined)),
    1,
  ),
});

const dynamicBatching = z.strictObject({
  // An instance that is free takes the largest batch that waits, so that no size is preferred.
  preferred_batch_size: many(integer(1, 4_096), 64),
  max_queue_delay_microseconds: one(integer(0, 60_000_000)),
  preserve_ordering: one(off('each answer goes out as soon as it is there')),
});

const versionPolicy = z.strictObject({
  latest: one(z.strictObject({ num_versions: one(integer(1, 2 ** 31 - 1)) })),
  all: one(z.strictObject({})),
  specific: one(z.strictObject({ versions: many(integer(1, Number.MAX_SAFE_INTEGER), 1_024) })),
});

const flag = reader('true or false', (value) => {
  if (value === 0 || value === 1) return value === 1;
  if (!isIdentifier(value)) return undefined;
  if (/^(?:true|True|t)$/.test(value.identifier)) return true;
  return /^(?:false|False|f)$/.test(value.identifier) ? false : undefined;
});

const warmUpInput = z.strictObject({
  data_type: one(named(TYPES)),
  dims: many(integer(1, 2 ** 31 - 1), 32),
  zero_data: one(flag),
  random_data: one(flag),
  input_data_file: one(text),
});

const warmUp = z.strictObject({
  name: one(text),
  batch_size: one(integer(0, 4_096)),
  count: one(integer(0, 10_000)),
  inputs: many(z.strictObject({ key: one(text), value: one(warmUpInput) }), 1_024),
});

const parameter = z.strictObject({ key: one(text), value: one(z.strictObject({ string_value: one(text) })) });

/** What of a ModelConfig is read. Everything else is refused by its name. */
export const configSchema = z.strictObject({
  name: one(text),
  platform: one(text),
  backend: one(text),
  version_policy: one(versionPolicy),
  max_batch_size: one(integer(0, 4_096)),
  input: many(modelInput, 1_024),
  output: many(modelOutput, 1_024),
  instance_group: many(instanceGroup, 1),
  dynamic_batching: one(dynamicBatching),
  default_model_filename: one(text),
  model_transaction_policy: one(z.strictObject({ decoupled: one(off('a request has one answer')) })),
  parameters: many(parameter, 64),
  model_warmup: many(warmUp, 64),
});
