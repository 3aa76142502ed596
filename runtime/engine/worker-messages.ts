import type { ErrorCode } from '../../contracts/errors.ts';
import type { Tensor } from '../core/tensor.ts';
import type { SessionPlan } from './session-options.ts';

/** What the main thread and an inference worker say to each other. A worker does one thing at a time. */
export type ToWorker =
  | { kind: 'create'; plan: SessionPlan }
  /** `outputs` names the wanted ones; all when absent. */
  | { kind: 'run'; inputs: readonly Tensor[]; outputs: readonly string[] | undefined }
  /** One run of several calls, to be put together here unless it is one piece already. */
  | {
      kind: 'run-batch';
      calls: readonly (readonly Tensor[])[];
      outputs: readonly string[] | undefined;
    };

export type FromWorker =
  /** ONNX Runtime is loaded and its environment made; the worker takes a model. */
  | { kind: 'started' }
  | { kind: 'created'; inputs: ValueMetadata[]; outputs: ValueMetadata[]; createMs: number }
  /** ONNX Runtime's own message: `loadError` turns it into one of ours. */
  | { kind: 'create-failed'; message: string }
  /** `calls`: what came in pieces and was not answered piece by piece goes back, to be run again. */
  | { kind: 'ran'; outputs: Tensor[]; computeMs: number; calls?: readonly (readonly Tensor[])[] }
  | { kind: 'run-failed'; code: ErrorCode; message: string; calls?: readonly (readonly Tensor[])[] };

/** An input or output as onnxruntime-node describes it; an unnamed variable dimension is `''`. */
export type ValueMetadata =
  | { name: string; isTensor: false }
  | { name: string; isTensor: true; type: string; shape: readonly (number | string)[] };
