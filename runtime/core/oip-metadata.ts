import { isVariable, type ModelSignature, type TensorSignature } from './model-signature.ts';
import type { Datatype } from './tensor.ts';

/** The platform of ONNX models by Triton's name, which its clients look for; the specification's own is {@link SPECIFIED_PLATFORM}. */
const TRITON_PLATFORM = 'onnxruntime_onnx';
/** The platform of ONNX models in the Open Inference Protocol's table of platforms. */
export const SPECIFIED_PLATFORM = 'onnx_onnxv1';

/** What the server offers beyond the protocol's core; Triton's clients read these names. */
export type ServerExtension =
  | 'binary_tensor_data'
  | 'model_configuration'
  | 'statistics'
  | 'model_repository';

export interface ModelIdentity {
  readonly name: string;
  /** Undefined for a model without versions. */
  readonly version: string | undefined;
}

export interface ServerMetadata {
  readonly name: string;
  readonly version: string;
  readonly extensions: readonly string[];
}

export interface TensorMetadata {
  readonly name: string;
  readonly datatype: Datatype;
  readonly shape: readonly number[];
}

export interface ModelMetadata {
  readonly name: string;
  readonly versions?: readonly string[];
  readonly platform: string;
  readonly inputs: readonly TensorMetadata[];
  readonly outputs: readonly TensorMetadata[];
}

/** Body of GET `/v2`. */
export function serverMetadata(version: string, extensions: readonly ServerExtension[]): ServerMetadata {
  return { name: 'pilotlight', version, extensions };
}

/** Body of GET `/v2/models/{m}`: -1 stands for every dimension that a request chooses, named or not. */
export function modelMetadata(
  model: ModelIdentity,
  signature: ModelSignature,
  platform: string = TRITON_PLATFORM,
): ModelMetadata {
  return {
    name: model.name,
    ...(model.version === undefined ? {} : { versions: [model.version] }),
    platform,
    inputs: signature.inputs.map(tensorMetadata),
    outputs: signature.outputs.map(tensorMetadata),
  };
}

/** Body of the live and ready endpoints: the specification reads `live`, KServe `ready`, and each must find its key in both. */
export function readinessBody(ready: boolean): { readonly ready: boolean; readonly live: boolean } {
  return { ready, live: ready };
}

/** Body of GET `/v2/models/{m}/ready`; with the name, as KServe answers it. */
export function modelReadinessBody(
  name: string,
  ready: boolean,
): { readonly name: string; readonly ready: boolean; readonly live: boolean } {
  return { name, ready, live: ready };
}

/** Body of every answer that is not 2xx. */
export function errorBody(message: string): { readonly error: string } {
  return { error: message };
}

/** The sessions of a model. */
export interface InstanceGroup {
  readonly kind: 'KIND_CPU' | 'KIND_GPU';
  readonly count: number;
}

/** What there is to tell of a model's configuration. */
export interface ConfiguredModel {
  readonly signature: ModelSignature;
  /** Absent where requests are not put together. */
  readonly maxLatencyMs?: number | undefined;
  readonly instanceGroup?: InstanceGroup | undefined;
}

export interface ModelConfig {
  readonly name: string;
  readonly platform: string;
  readonly backend: string;
  readonly max_batch_size: number;
  readonly input: readonly ConfigTensor[];
  readonly output: readonly ConfigTensor[];
  /** How many sessions there are, and on what; absent where nobody says. */
  readonly instance_group?: readonly [InstanceGroup];
  /** Present where requests are put together. */
  readonly dynamic_batching?: { readonly max_queue_delay_microseconds: number };
}

interface ConfigTensor {
  readonly name: string;
  /** Triton's spelling: TYPE_FP32, and TYPE_STRING for BYTES. */
  readonly data_type: string;
  readonly dims: readonly number[];
}

/**
 * Body of GET `/v2/models/{m}/config`, which Triton adds and perf_analyzer reads. `dims` leave the batch dimension out
 * when there is one.
 */
export function modelConfig(
  model: ModelIdentity,
  { signature, maxLatencyMs, instanceGroup }: ConfiguredModel,
): ModelConfig {
  const batched = signature.maxBatchSize > 0;
  const configTensor = (tensor: TensorSignature): ConfigTensor => ({
    name: tensor.name,
    data_type: tensor.datatype === 'BYTES' ? 'TYPE_STRING' : `TYPE_${tensor.datatype}`,
    dims: shapeNumbers(tensor).slice(batched ? 1 : 0),
  });
  return {
    name: model.name,
    platform: TRITON_PLATFORM,
    backend: 'onnxruntime',
    max_batch_size: signature.maxBatchSize,
    input: signature.inputs.map(configTensor),
    output: signature.outputs.map(configTensor),
    ...(instanceGroup && { instance_group: [instanceGroup] }),
    ...(batched &&
      maxLatencyMs !== undefined && {
        dynamic_batching: { max_queue_delay_microseconds: Math.round(maxLatencyMs * 1000) },
      }),
  };
}

/** An entry of POST `/v2/repository/index`, which perf_analyzer and model analysers call. */
export function repositoryIndexEntry(
  model: ModelIdentity,
  ready: boolean,
  reason = '',
): { readonly name: string; readonly version: string; readonly state: string; readonly reason: string } {
  return {
    name: model.name,
    version: model.version ?? '1',
    state: ready ? 'READY' : 'UNAVAILABLE',
    reason,
  };
}

function tensorMetadata(tensor: TensorSignature): TensorMetadata {
  return { name: tensor.name, datatype: tensor.datatype, shape: shapeNumbers(tensor) };
}

function shapeNumbers(tensor: TensorSignature): number[] {
  return tensor.shape.map((dimension) => (isVariable(dimension) ? -1 : Number(dimension)));
}
