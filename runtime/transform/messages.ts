import type { TransformRequest, TransformResponse } from '../../contracts/transform.ts';
import type { TakenAnswer, TakenInputs } from '../core/hook-results.ts';
import type { Tensor } from '../core/tensor.ts';

/** What the main thread and the thread of a user's module say to each other. */

export type Hook = 'preprocess' | 'postprocess';

/** A request or an answer on its way to a hook: tensors in our own form. */
export type RequestForHook = Omit<TransformRequest, 'inputs'> & { readonly inputs: readonly Tensor[] };
export type ResponseForHook = Omit<TransformResponse, 'outputs'> & { readonly outputs: readonly Tensor[] };

export type HookCall =
  | { readonly hook: 'preprocess'; readonly request: RequestForHook }
  | { readonly hook: 'postprocess'; readonly response: ResponseForHook };

/** What a hook gave, looked through. */
export type HookResult = TakenInputs | TakenAnswer;

export type ToModule =
  | { kind: 'load'; name: string; source: string }
  | ({ kind: 'call'; id: number } & HookCall);

export type FromModule =
  | { kind: 'loaded'; hooks: Hook[]; rawContentTypes: string[] }
  | { kind: 'load-failed'; message: string }
  /** The hook waits for something: the thread can take another call. */
  | { kind: 'yielded'; id: number }
  | { kind: 'done'; id: number; result: HookResult }
  /** `status` where the module's error names one from 400 to 499. */
  | { kind: 'failed'; id: number; message: string; status: number | undefined };
