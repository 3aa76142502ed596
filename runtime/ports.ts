import type { PilotlightError } from '../contracts/errors.ts';
import type { ModelSignature } from './core/model-signature.ts';
import type { InstanceGroup } from './core/oip-metadata.ts';
import type { Tensor } from './core/tensor.ts';
import type { ImageFormat } from './transform/image-messages.ts';
import type { HookCall, HookResult } from './transform/messages.ts';
import type { HookTiming } from './transform/module-host.ts';
import type { ModuleExports } from './transform/module-thread.ts';

/**
 * What the runtime's server (HTTP, gRPC) needs of its engine (workers, sessions, life cycle), and nothing more.
 */

/** One inference as the server hands it over; tensors are already checked against the signature. */
export interface InferenceCall {
  inputs: readonly Tensor[];
  /** Names of the wanted outputs; all when absent. */
  outputs?: readonly string[];
  /** Epoch-free deadline: `performance.now()` value after which the result is of no use. */
  deadlineMs: number;
  /** Aborted when the client left: a call that still waits for an instance is dropped at no cost. */
  signal: AbortSignal;
  /** 1 is the highest; absent: `DEFAULT_PRIORITY` of core/priority-queue.ts. */
  priority?: number;
}

/** Runs of batches of one size, cumulative. */
export interface ExecutionsOfSize {
  readonly batchSize: number;
  count: number;
  /** Inputs put together. */
  joinMs: number;
  computeMs: number;
  /** Outputs taken apart. */
  splitMs: number;
}

/** Runs of a model since it was loaded. */
export interface ExecutionCounts {
  readonly count: number;
  /** By size, ascending; runs of a single request that is larger than a batch are in `count` alone. */
  readonly sizes: readonly ExecutionsOfSize[];
}

export interface InferenceResult {
  outputs: readonly Tensor[];
  /** Waiting for a free instance. */
  queuedMs: number;
  /** In the worker. */
  computeMs: number;
}

export interface LoadedModel {
  name: string;
  /** Version folders found, highest last; `['1']` for a plain file. */
  versions: readonly string[];
  /** Its `maxBatchSize` may change once: when a trial shows that batches pay. */
  readonly signature: ModelSignature;
  /** Requests at once that make sense: instances × batch, or the service's containerConcurrency. */
  readonly capacity: number;
  /**
   * Requests that may be at the model at once, where they are more than its capacity: those that wait for the next
   * batch while one runs. Absent: its capacity.
   */
  readonly places?: number;
  /** How long a batch may wait to fill; absent where requests are not put together. */
  readonly maxLatencyMs?: number | undefined;
  /** Its sessions, and on what they compute. */
  readonly instanceGroup?: InstanceGroup;
  /** Calls that wait for an instance now. */
  readonly waiting?: number;
  /** Runs, where they are not one for each request. */
  executions?(): ExecutionCounts;
  sizeBytes: number;
  /** The service's own code around the model. */
  userModule?: UserModule | undefined;
  /** Where images are taken as requests. */
  images?: Images | undefined;
  /** @throws PilotlightError `inference-failed`, `inference-timeout`, `server-busy`, `client-closed`. */
  infer(call: InferenceCall): Promise<InferenceResult>;
}

/** The service's own code before and after a model, in a thread of its own. */
export interface UserModule {
  readonly exports: ModuleExports;
  /** @throws PilotlightError `transform-*`, `inference-timeout`, `server-busy`, `client-closed`. */
  call(call: HookCall, timing: HookTiming): Promise<HookResult>;
}

/** Makes the model's input of an image. */
export interface Images {
  /** @throws PilotlightError `invalid-request`, `body-too-large`, `server-busy`, `client-closed`, `inference-timeout`. */
  read(bytes: Uint8Array, format: ImageFormat, timing: HookTiming): Promise<Tensor>;
}

/** Whom this runtime serves under the platform; a runtime on its own serves anybody. */
export interface Claim {
  claimId: string;
  epoch: number;
  serviceUid: string;
  revision: string;
  /** By which callers that come straight here name it in `Host`. */
  service: { namespace: string; name: string };
}

/** What this process is doing now. */
export type RuntimePhase =
  | { phase: 'standby' }
  | { phase: 'specialising'; modelName: string; claim: Claim | undefined }
  | { phase: 'ready'; model: LoadedModel; claim: Claim | undefined }
  | { phase: 'draining'; model: LoadedModel | undefined; claim: Claim | undefined }
  | { phase: 'failed'; modelName: string; claim: Claim | undefined; error: PilotlightError };

/** The engine as the server sees it. */
export interface Engine {
  readonly current: RuntimePhase;
  /**
   * Whether callers may come straight here. Otherwise those that do are served, and told to come through an
   * activator next time. A runtime on its own has no activator.
   */
  readonly welcomesCallers: boolean;
}

/** The server as the life cycle sees it: counts for drain, stats and state. */
export interface ServingLoad {
  /** Requests that are being worked on, by how they came. Cumulative integrals since the last reset. */
  snapshot(): {
    direct: { requestSeconds: number; requests: number; inFlight: number };
    proxied: { requestSeconds: number; requests: number; inFlight: number };
  };
  /** Begins the integrals anew, for a new claim. */
  reset(): void;
  /** Resolves with true once nothing is in flight, with false at the deadline. */
  idle(deadlineMs: number): Promise<boolean>;
}
