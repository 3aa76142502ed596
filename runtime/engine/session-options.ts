import type { InferenceSession } from 'onnxruntime-node';
import { WEIGHTS } from './compiled-graphs.ts';

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
  /** The same graph, optimised and saved before: see `CompiledGraphs`. */
  compiledPath?: string | undefined;
}

/** The sessions of a model over its life. */
export interface SessionPlans {
  /** What a waiting request gets: the session that is there soonest. */
  first: SessionPlan;
  /** What takes its place behind the first answer: the session that runs fastest. The same when nothing is gained. */
  settled: SessionPlan;
}

const IDLE_THREADS = { intra_op: { allow_spinning: '0' } };

/** Below this the copy that prepacking makes costs a few milliseconds, and its runs are faster. */
const MAP_FROM_BYTES = 32e6;

/**
 * How the sessions of a model are created. Whoever finds a faster way to the same session (a graph that was
 * optimised before, weights that were prepacked) returns other plans here; nothing else needs to know.
 *
 * - Optimising the graph costs time that a waiting request has no use for: the text recogniser of 10.8 MB takes
 *   48 ms to create as it is and 92 ms optimised at level `all`; its runs then take 20 ms and 15 ms on two threads.
 * - Idle threads don't spin: on two threads spinning burns 35 ms of CPU after a run (0.3 ms without) for runs
 *   that are 13 % shorter, and on a shared machine the neighbours pay for it.
 * - Where the weights lie in external data they are mapped, not read, and prepacking, which would copy
 *   them into anonymous memory, is left out: 64 MB create in 16 ms instead of 67. int8 weights would pay
 *   for that with slow runs, so it goes by the size of the model: small ones prepack.
 */
export function planSessions(input: SessionPlanInput, weightsBytes: number): SessionPlans {
  const mapped = input.files.length > 1 && weightsBytes >= MAP_FROM_BYTES;
  const plan = (graphOptimizationLevel: 'disabled' | 'all'): SessionPlan => ({
    mapped,
    path: input.modelPath,
    options: {
      executionProviders: ['cpu'],
      intraOpNumThreads: input.threadsPerInstance,
      interOpNumThreads: 1,
      executionMode: 'sequential',
      graphOptimizationLevel,
      extra: {
        session: {
          ...IDLE_THREADS,
          ...(mapped ? { disable_prepacking: '1' } : {}),
        },
      },
    },
  });
  const quick = plan('disabled');
  if (input.compiledPath === undefined) return { first: quick, settled: plan('all') };
  const compiled: SessionPlan = {
    mapped: true,
    path: input.compiledPath,
    options: { ...quick.options, extra: { session: { ...IDLE_THREADS, disable_prepacking: '1' } } },
  };
  return { first: compiled, settled: plan('all') };
}

/** The plan that writes the optimised graph to `graphPath` on its way, its weights beside it. */
export function compilePlan(input: SessionPlanInput, graphPath: string): SessionPlan {
  return {
    mapped: false,
    path: input.modelPath,
    options: {
      executionProviders: ['cpu'],
      intraOpNumThreads: input.threadsPerInstance,
      interOpNumThreads: 1,
      executionMode: 'sequential',
      graphOptimizationLevel: 'extended',
      optimizedModelFilePath: graphPath,
      extra: {
        session: {
          ...IDLE_THREADS,
          optimized_model_external_initializers_file_name: WEIGHTS,
          optimized_model_external_initializers_min_size_in_bytes: '1024',
        },
      },
    },
  };
}
