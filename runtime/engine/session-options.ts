import type { InferenceSession } from 'onnxruntime-node';
import { GRAPH, WEIGHTS } from '../storage/form-cache.ts';
import type { Accelerator } from './execution-provider.ts';
import type { StartingPoint } from './starting-point.ts';

/** Which file a session is created from, and how. */
export interface SessionPlan {
  path: string;
  options: InferenceSession.SessionOptions;
  /** True when the weights stay pages of their file instead of memory of the process. */
  mapped: boolean;
  /** Nothing is optimised any more, so that the shapes would only cost time: see `withoutShapes`. */
  leavesShapesOut: boolean;
}

type Source = Pick<StartingPoint, 'kind' | 'graphPath' | 'isMapped'>;

export interface PlanInput {
  threadsPerInstance: number;
  /** All files of the model. */
  sizeBytes: number;
}

/** Below this the copy that prepacking makes costs a few milliseconds, and its runs are faster. */
const MAP_FROM_BYTES = 32e6;

/**
 * The session that is there soonest, for a request that waits.
 *
 * - Optimising the graph costs time that a waiting request has no use for: the text recogniser of 10.8 MB takes
 *   48 ms to create as it is and 92 ms optimised at level `all`; its runs then take 20 ms and 15 ms on two threads.
 * - Where the weights lie outside they are mapped, not read, and prepacking, which would copy them into anonymous
 *   memory, is left out: 64 MB create in 4 ms instead of 109. Prepacked ones that were saved are mapped as well.
 */
export function quickPlan(source: Source, input: PlanInput): SessionPlan {
  const isForm = source.kind !== 'plain';
  const isPrepacked = source.kind === 'prepacked';
  const mapped = source.isMapped && (isForm || input.sizeBytes >= MAP_FROM_BYTES);
  const prepack = isPrepacked || !mapped;
  const leavesShapesOut = isCompiled(source);
  return sessionPlan(source.graphPath, input, 'disabled', { mapped, prepack, leavesShapesOut });
}

/**
 * The session that runs fastest from the same files. int8 weights pay for mapping with runs that take four times as
 * long, so that goes by the size of the model: small ones are prepacked in memory.
 */
export function settledPlan(source: Source, input: PlanInput): SessionPlan {
  const mapped = source.isMapped && input.sizeBytes >= MAP_FROM_BYTES;
  const prepack = source.kind === 'prepacked' || !mapped;
  const leavesShapesOut = isCompiled(source);
  const level = leavesShapesOut ? 'disabled' : 'all';
  return sessionPlan(source.graphPath, input, level, { mapped, prepack, leavesShapesOut });
}

/** A graph that ONNX Runtime has written, with all that it knows of its shapes. */
export function isCompiled({ kind }: Pick<StartingPoint, 'kind'>): boolean {
  return kind === 'optimised' || kind === 'prepacked';
}

/** Whether saving the weights prepacked is worth a thought: smaller models are prepacked in memory. */
export function isWorthPrepacking(sizeBytes: number): boolean {
  return sizeBytes >= MAP_FROM_BYTES;
}

/**
 * A session on an accelerator, what it can't compute on the CPU. The model as it is: forms of it are made for the CPU,
 * whose layouts no other provider knows.
 */
export function acceleratedPlan(
  modelPath: string,
  input: Pick<PlanInput, 'threadsPerInstance'>,
  provider: Accelerator,
): SessionPlan {
  const plan = sessionPlan(modelPath, input, 'all', { mapped: false, prepack: true, leavesShapesOut: false });
  return { ...plan, options: { ...plan.options, executionProviders: [provider, 'cpu'] } };
}

function sessionPlan(
  path: string,
  { threadsPerInstance }: Pick<PlanInput, 'threadsPerInstance'>,
  graphOptimizationLevel: 'disabled' | 'all',
  { mapped, prepack, leavesShapesOut }: { mapped: boolean; prepack: boolean; leavesShapesOut: boolean },
  session: Record<string, string> = {},
): SessionPlan {
  return {
    path,
    mapped,
    leavesShapesOut,
    options: {
      executionProviders: ['cpu'],
      intraOpNumThreads: threadsPerInstance,
      interOpNumThreads: 1,
      executionMode: 'sequential',
      graphOptimizationLevel,
      extra: {
        session: {
          // On two threads spinning burns 35 ms of CPU after a run (0.3 ms without) for runs that are 13 % shorter, and
          // on a shared machine the neighbours pay for it.
          intra_op: { allow_spinning: '0' },
          ...(prepack ? {} : { disable_prepacking: '1' }),
          ...session,
        },
      },
    },
  };
}

/**
 * The session that writes a form into `folder` while it is created: the graph optimised at level `all` or, from one
 * that is, the weights prepacked.
 */
export function compilePlan(graphPath: string, folder: string, kind: 'optimised' | 'prepacked'): SessionPlan {
  const prepack = kind === 'prepacked';
  const level = prepack ? 'disabled' : 'all';
  const plan = sessionPlan(
    graphPath,
    { threadsPerInstance: 1 },
    level,
    { mapped: true, prepack, leavesShapesOut: false },
    {
      optimized_model_external_initializers_file_name: WEIGHTS,
      optimized_model_external_initializers_min_size_in_bytes: '1024',
      ...(prepack ? { save_external_prepacked_constant_initializers: '1' } : {}),
    },
  );
  return { ...plan, options: { ...plan.options, optimizedModelFilePath: `${folder}/${GRAPH}` } };
}
