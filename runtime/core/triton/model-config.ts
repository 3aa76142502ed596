import type { z } from 'zod';
import { PilotlightError } from '../../../contracts/errors.ts';
import type { Datatype } from '../tensor.ts';
import { configSchema, DATATYPE_OF } from './config-schema.ts';
import { plainMessage, positionOf, shownValue } from './plain-message.ts';
import { parseTextFormat, type TextMessage } from './text-format.ts';
import { textError } from './text-lexer.ts';
import { adviceFor } from './unsupported.ts';
import type { WarmUpSample } from './warm-up-samples.ts';

export type VersionPolicy =
  | { readonly kind: 'latest'; readonly count: number }
  | { readonly kind: 'all' }
  | { readonly kind: 'specific'; readonly versions: readonly number[] };

/** An input or output as it is configured; what is left out is as the model has it. */
export interface ConfiguredTensor {
  readonly name: string;
  readonly datatype: Datatype | undefined;
  /** Without the batch dimension where there is one; -1 for any size. */
  readonly dims: readonly number[] | undefined;
}

/** What a `config.pbtxt` says, as far as it is carried out. */
export interface TritonConfig {
  readonly versionPolicy: VersionPolicy;
  readonly modelFilename: string | undefined;
  /** 0: tensors have no batch dimension. Undefined: as the model has it. */
  readonly maxBatchSize: number | undefined;
  /** Absent: requests are not put together. */
  readonly dynamicBatching: { readonly maxLatencyMs: number } | undefined;
  readonly inputs: readonly ConfiguredTensor[];
  readonly outputs: readonly ConfiguredTensor[];
  readonly kind: 'KIND_AUTO' | 'KIND_CPU' | 'KIND_GPU';
  readonly instances: number | undefined;
  readonly threadsPerInstance: number | undefined;
  readonly warmUp: readonly WarmUpSample[];
}

type RawConfig = z.infer<typeof configSchema>;

/**
 * Reads a `config.pbtxt`.
 *
 * @throws PilotlightError `model-layout` for what is no such text, `unsupported` for what is not carried out; both with
 *   line and column
 */
export function parseTritonConfig(text: string): TritonConfig {
  const message = parseTextFormat(text);
  const parsed = configSchema.safeParse(plainMessage(message));
  const [issue] = parsed.error?.issues ?? [];
  if (issue !== undefined) throw issueError(issue, message);
  if (parsed.data === undefined) throw new PilotlightError('internal', 'the configuration has no data');
  const raw = parsed.data;
  const at = (...path: PropertyKey[]) => positionOf(message, path);
  refuseOtherBackends(raw, (field, what) => unsupportedAt(at(field, 0), what));
  const group = raw.instance_group[0];
  const maxBatchSize = raw.max_batch_size;
  if (raw.dynamic_batching !== undefined && (maxBatchSize ?? 0) === 0) {
    throw textError(at('dynamic_batching'), 'dynamic_batching wants a max_batch_size above 0');
  }
  return {
    versionPolicy: versionPolicyOf(raw, (what) => textError(at('version_policy'), what)),
    modelFilename: raw.default_model_filename,
    maxBatchSize,
    dynamicBatching: raw.dynamic_batching && {
      maxLatencyMs: (raw.dynamic_batching.max_queue_delay_microseconds ?? 0) / 1000,
    },
    inputs: raw.input.map((tensor, index) => configured('input', tensor, () => at('input', index))),
    outputs: raw.output.map((tensor, index) => configured('output', tensor, () => at('output', index))),
    kind: group?.kind ?? 'KIND_AUTO',
    instances: group?.count,
    threadsPerInstance: threadsOf(raw, (index, what) => unsupportedAt(at('parameters', index), what)),
    warmUp: raw.model_warmup.map((sample, index) =>
      sampleOf(sample, (...path) => at('model_warmup', index, ...path)),
    ),
  };
}

type Place = ReturnType<typeof positionOf>;

function unsupportedAt(at: Place, what: string): PilotlightError {
  return new PilotlightError('unsupported', textError(at, what).message);
}

function issueError(issue: z.core.$ZodIssue, message: TextMessage): PilotlightError {
  const names = issue.path.filter((step) => typeof step === 'string');
  const field = names.join('.');
  if (issue.code === 'unrecognized_keys') {
    const [key = ''] = issue.keys;
    if (key === 'identifier')
      return textError(positionOf(message, issue.path), `'${field}': expected a message in braces`);
    const path = [...names, key].join('.');
    return unsupportedAt(positionOf(message, [...issue.path, key]), adviceFor(path));
  }
  const what = issue.code === 'invalid_type' ? 'expected a message in braces' : issue.message;
  return textError(positionOf(message, issue.path), `'${field}': ${what}`);
}

function refuseOtherBackends(
  { platform, backend }: RawConfig,
  error: (field: string, what: string) => PilotlightError,
): void {
  const others = [
    { field: 'platform', found: platform, wanted: 'onnxruntime_onnx' },
    { field: 'backend', found: backend, wanted: 'onnxruntime' },
  ];
  for (const { field, found, wanted } of others) {
    if (found === undefined || found === wanted) continue;
    throw error(
      field,
      `${field} ${shownValue(found)} is not supported, only "${wanted}" is: export the model to ONNX, and say platform: "onnxruntime_onnx"`,
    );
  }
}

function versionPolicyOf(
  { version_policy: policy }: RawConfig,
  error: (what: string) => PilotlightError,
): VersionPolicy {
  if (policy === undefined) return { kind: 'latest', count: 1 };
  const { latest, all, specific } = policy;
  if ([latest, all, specific].filter((one) => one !== undefined).length > 1) {
    throw error('version_policy wants one of latest, all and specific');
  }
  if (all !== undefined) return { kind: 'all' };
  if (specific === undefined) return { kind: 'latest', count: latest?.num_versions ?? 1 };
  if (specific.versions.length === 0) throw error('version_policy.specific names no versions');
  return { kind: 'specific', versions: specific.versions };
}

function configured(
  role: string,
  { name, data_type: type, dims }: RawConfig['input'][number] | RawConfig['output'][number],
  at: () => Place,
): ConfiguredTensor {
  if (name === undefined) throw textError(at(), `this ${role} has no name`);
  return { name, datatype: type && DATATYPE_OF[type], dims };
}

function sampleOf(
  { name = '', batch_size: rows, count, inputs }: RawConfig['model_warmup'][number],
  at: (...path: PropertyKey[]) => Place,
): WarmUpSample {
  return {
    name,
    rows: Math.max(1, rows ?? 1),
    runs: Math.max(1, count ?? 1),
    inputs: inputs.map(({ key, value }, index) => {
      const fail = (what: string): PilotlightError => textError(at('inputs', index), what);
      if (key === undefined || value?.data_type === undefined) {
        throw fail('an input of a warm-up sample wants a key, and a value with data_type and dims');
      }
      const { zero_data: zero, random_data: random, input_data_file: file, data_type: type, dims } = value;
      const chosen = [
        ...(zero === true ? (['zero'] as const) : []),
        ...(random === true ? (['random'] as const) : []),
        ...(file === undefined ? [] : [{ file }]),
      ];
      const [data] = chosen;
      if (data === undefined || chosen.length > 1) {
        throw fail(
          `input '${key}' of a warm-up sample wants one of zero_data, random_data and input_data_file`,
        );
      }
      return { name: key, datatype: DATATYPE_OF[type], dims, data };
    }),
  };
}

function threadsOf(
  { parameters }: RawConfig,
  error: (index: number, what: string) => PilotlightError,
): number | undefined {
  let threads: number | undefined;
  for (const [index, { key = '', value }] of parameters.entries()) {
    const given = value?.string_value ?? '';
    switch (key) {
      case 'intra_op_thread_count': {
        const count = /^\d{1,4}$/.test(given) ? Number(given) : Number.NaN;
        if (!(count <= 1_024))
          throw error(index, `parameter "${key}": expected a number from 0 to 1024, got "${given}"`);
        // 0 leaves it to the runtime.
        if (count > 0) threads = count;
        break;
      }
      case 'inter_op_thread_count':
        if (given !== '0' && given !== '1') {
          throw error(
            index,
            `parameter "${key}" is not supported beyond 1: the nodes of a graph run one after the other; remove it and use intra_op_thread_count`,
          );
        }
        break;
      case 'execution_mode':
        if (given !== '0') {
          throw error(
            index,
            `parameter "${key}" is not supported but for "0": the nodes of a graph run one after the other; remove it`,
          );
        }
        break;
      default:
        throw error(
          index,
          `parameter ${shownValue(key)} is not supported; intra_op_thread_count is: remove it`,
        );
    }
  }
  return threads;
}
