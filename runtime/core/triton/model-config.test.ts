import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { PilotlightError } from '../../../contracts/errors.ts';
import { allowedVersions } from './choose-version.ts';
import { parseTritonConfig } from './model-config.ts';

const WHOLE = `
name: "resnet"
platform: "onnxruntime_onnx"
backend: "onnxruntime"
max_batch_size: 8
input [ { name: "x" data_type: TYPE_FP32 format: FORMAT_NCHW dims: [ 3, 224, -1 ] } ]
output [ { name: "y" data_type: TYPE_STRING dims: [ 1000 ] label_filename: "labels.txt" } ]
instance_group [ { count: 2 kind: KIND_CPU } ]
dynamic_batching { preferred_batch_size: [ 4, 8 ] max_queue_delay_microseconds: 1500 preserve_ordering: false }
version_policy: { specific: { versions: [ 1, 3 ] } }
default_model_filename: "net.onnx"
model_transaction_policy { decoupled: false }
parameters { key: "intra_op_thread_count" value: { string_value: "3" } }
parameters { key: "execution_mode" value: { string_value: "0" } }
`;

test('all that is carried out is read', () => {
  expect(parseTritonConfig(WHOLE)).toEqual({
    versionPolicy: { kind: 'specific', versions: [1, 3] },
    modelFilename: 'net.onnx',
    maxBatchSize: 8,
    dynamicBatching: { maxLatencyMs: 1.5 },
    inputs: [{ name: 'x', datatype: 'FP32', dims: [3, 224, -1] }],
    outputs: [{ name: 'y', datatype: 'BYTES', dims: [1000] }],
    kind: 'KIND_CPU',
    instances: 2,
    threadsPerInstance: 3,
    warmUp: [],
  });
});

test('an empty configuration leaves all to the model', () => {
  expect(parseTritonConfig('')).toEqual({
    versionPolicy: { kind: 'latest', count: 1 },
    inputs: [],
    outputs: [],
    kind: 'KIND_AUTO',
    warmUp: [],
  });
});

describe('what is not carried out is refused by name, with its place and what to do', () => {
  test.each([
    ['platform: "tensorrt_plan"', 'line 1, column 11: platform "tensorrt_plan" is not supported'],
    [
      'backend: "python"',
      'backend "python" is not supported, only "onnxruntime" is: export the model to ONNX',
    ],
    [
      'name: "a"\n  sequence_batching { }',
      "line 2, column 3: 'sequence_batching' is not supported: requests of a sequence",
    ],
    ['ensemble_scheduling { step [ ] }', "'ensemble_scheduling' is not supported: a service has one model"],
    [
      'input [{ name: "x" }, { name: "z" reshape: { shape: [ ] } }]',
      "line 1, column 35: 'input.reshape' is not supported",
    ],
    ['optimization { graph { level: 1 } }', "'optimization' is not supported"],
    [
      'dynamic_batching { priority_levels: 2 }',
      "'dynamic_batching.priority_levels' is not supported: a request says its priority itself",
    ],
    [
      'parameters { key: "enable_mem_arena" value { string_value: "1" } }',
      'parameter "enable_mem_arena" is not supported',
    ],
    ['parameters { key: "inter_op_thread_count" value { string_value: "4" } }', 'one after the other'],
    ['max_batchsize: 4', "line 1, column 1: 'max_batchsize' is no field that is read here"],
  ])('%j', (text, message) => {
    expect(() => parseTritonConfig(text)).toThrow(expect.objectContaining({ code: 'unsupported' }));
    expect(() => parseTritonConfig(text)).toThrow(message);
  });
});

describe('what is written wrongly is refused with its place and what was expected', () => {
  test.each([
    [
      'max_batch_size: "8"',
      `line 1, column 17: 'max_batch_size': expected a whole number from 0 to 4096, got "8"`,
    ],
    ['max_batch_size: -1', 'expected a whole number from 0 to 4096, got -1'],
    ['max_batch_size: 1 max_batch_size: 2', "'max_batch_size': expected once, found more often"],
    ['name: resnet', "'name': expected a text in quotes, got resnet"],
    ['input: x', "'input': expected a message in braces"],
    ['input: 5', "'input': expected a message in braces"],
    ['input { dims: 4 }', 'line 1, column 7: this input has no name'],
    ['input { name: "x" data_type: TYPE_FP8 }', "'input.data_type': expected one of TYPE_BOOL"],
    ['input { name: "x" dims: [ 3, 0 ] }', "line 1, column 30: 'input.dims': expected -1 or a size above 0"],
    [
      'input { name: "x" optional: true }',
      "'input.optional': expected false: ONNX Runtime wants every input",
    ],
    [
      'instance_group { gpus: [ 3 ] }',
      "'instance_group.gpus': expected 0: a pod sees its own GPU as number 0, got 3",
    ],
    ['instance_group { kind: KIND_MODEL }', 'expected one of KIND_AUTO, KIND_CPU, KIND_GPU, got KIND_MODEL'],
    ['model_transaction_policy { decoupled: true }', 'a request has one answer'],
    ['version_policy { all { } latest { num_versions: 2 } }', 'wants one of latest, all and specific'],
    ['version_policy { specific { } }', 'names no versions'],
    ['dynamic_batching { }', 'dynamic_batching wants a max_batch_size above 0'],
    ['max_batch_size: 99999999999999999999', 'got 99999999999999999999'],
  ])('%j', (text, message) => {
    expect(() => parseTritonConfig(text)).toThrow(expect.objectContaining({ code: 'model-layout' }));
    expect(() => parseTritonConfig(text)).toThrow(message);
  });
});

test('whatever stands in a configuration, it is read or refused with its place', () => {
  const field = fc.constantFrom(
    'name',
    'platform',
    'max_batch_size',
    'input',
    'output',
    'dims',
    'data_type',
    'version_policy',
    'latest',
    'specific',
    'versions',
    'instance_group',
    'count',
    'kind',
    'parameters',
    'key',
    'value',
    'string_value',
    'dynamic_batching',
    '__proto__',
    'constructor',
    'identifier',
  );
  const value = fc.constantFrom('1', '-1', '0', '"x"', 'TYPE_FP32', 'true', '1.5', '[1, 2]', '[]', '{}');
  const { text } = fc.letrec<{ text: string }>((tie) => ({
    text: fc
      .array(
        fc.oneof(
          { maxDepth: 3 },
          fc.tuple(field, value).map(([name, it]) => `${name}: ${it}`),
          fc.tuple(field, tie('text')).map(([name, inner]) => `${name} { ${inner} }`),
        ),
        { maxLength: 4 },
      )
      .map((parts) => parts.join('\n')),
  }));
  fc.assert(
    fc.property(text, (any) => {
      try {
        parseTritonConfig(any);
      } catch (error) {
        expect(error).toBeInstanceOf(PilotlightError);
        expect((error as PilotlightError).message).toMatch(/^line \d+, column \d+: /);
        expect((error as PilotlightError).code).toMatch(/^(?:model-layout|unsupported)$/);
      }
    }),
    { numRuns: 1_000 },
  );
});

describe('the versions that a policy allows, highest first', () => {
  const versions = ['2', '10', '1', '03'];
  test.each([
    [{ kind: 'all' }, ['10', '03', '2', '1']],
    [{ kind: 'latest', count: 2 }, ['10', '03']],
    [{ kind: 'specific', versions: [1, 3, 7] }, ['03', '1']],
  ] as const)('%j', (policy, allowed) => {
    expect(allowedVersions(policy, versions)).toEqual(allowed);
  });
});
