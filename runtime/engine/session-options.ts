import type { InferenceSession } from 'onnxruntime-node';

/** Which file a session is created from, and how. */
export interface SessionPlan {
  path: string;
  options: InferenceSession.SessionOptions;
  /** True when the weights stay pages of their file instead of memory of the process. */
  mapped: boolean;
}

export interface SessionPlanInput {
  modelPath: string;
  /** All files of the model, `modelPath` first; more than one means external data. */
  files: readonly string[];
  threadsPerInstance: number;
}

/**
 * How the sessions of a model are created. Whoever finds a faster way to the same session (a graph that was
 * optimised before, weights that were prepacked) returns another plan here; nothing else needs to know.
 *
 * - Optimisation `all`: the text recogniser of 10.8 MB takes 91 ms to create and 26 ms a run on one thread,
 *   against 47 ms and 34 ms without.
 * - Idle threads don't spin: on two threads spinning burns 35 ms of CPU after a run (0.3 ms without) for runs
 *   that are 13 % shorter, and on a shared machine the neighbours pay for it.
 * - Where the weights lie in external data they are mapped, not read, and prepacking, which would copy
 *   them into anonymous memory, is left out: 64 MB create in 16 ms instead of 67. int8 weights would pay
 *   for that with slow runs, so it goes by the size of the model: small ones prepack.
 */
export function planSession(input: SessionPlanInput, weightsBytes: number): SessionPlan {
  const mapped = input.files.length > 1 && weightsBytes >= MAP_FROM_BYTES;
  return {
    mapped,
    path: input.modelPath,
    options: {
      executionProviders: ['cpu'],
      intraOpNumThreads: input.threadsPerInstance,
      interOpNumThreads: 1,
      executionMode: 'sequential',
      graphOptimizationLevel: 'all',
      extra: {
        session: {
          intra_op: { allow_spinning: '0' },
          ...(mapped ? { disable_prepacking: '1' } : {}),
        },
      },
    },
  };
}

/** Below this the copy that prepacking makes costs a few milliseconds, and its runs are faster. */
const MAP_FROM_BYTES = 32e6;
