import { readFileSync } from 'node:fs';
import { dirname } from 'node:path';
import type * as OnnxRuntime from 'onnxruntime-node';
import { type ShapelessGraph, withoutShapes } from '../core/shapeless-graph.ts';
import type { SessionPlan } from './session-options.ts';
import type { ValueMetadata } from './worker-messages.ts';

/** Errors come as exceptions with the same text; ONNX Runtime's own log lines on standard error would double them. */
export const LOG_NOTHING_BELOW_FATAL = 4;

export interface CreatedSession {
  session: OnnxRuntime.InferenceSession;
  inputs: ValueMetadata[];
  outputs: ValueMetadata[];
}

/**
 * The session of a plan, created on the calling thread, which that blocks.
 *
 * @throws Error of ONNX Runtime, which `loadError` turns into one of ours
 */
export async function createSession(
  ort: typeof OnnxRuntime,
  plan: Pick<SessionPlan, 'path' | 'options' | 'leavesShapesOut'>,
): Promise<CreatedSession> {
  const options = { ...plan.options, logSeverityLevel: LOG_NOTHING_BELOW_FATAL } as const;
  const shapeless = plan.leavesShapesOut ? shapelessGraph(plan.path) : undefined;
  const create = (): Promise<OnnxRuntime.InferenceSession> => ort.InferenceSession.create(plan.path, options);
  // Whatever it has against a graph without shapes: with them it has been loaded before.
  const session = await (shapeless === undefined
    ? create()
    : ort.InferenceSession.create(shapeless.model, besideItsWeights(options, plan.path)).catch(create));
  const inputs = [...session.inputMetadata] as ValueMetadata[];
  return {
    session,
    inputs: inputs.map((input) => {
      const shape = shapeless?.inputShapes.get(input.name);
      return shape === undefined || !input.isTensor ? input : { ...input, shape };
    }),
    outputs: [...session.outputMetadata] as ValueMetadata[],
  };
}

/** @returns undefined for a file that is to be loaded as it is; what is wrong with one, loading it says better. */
function shapelessGraph(path: string): ShapelessGraph | undefined {
  try {
    return withoutShapes(readFileSync(path));
  } catch {
    return undefined;
  }
}

/** A model that comes as bytes has no folder in which its weights could lie, unless it is told of one. */
function besideItsWeights(
  options: OnnxRuntime.InferenceSession.SessionOptions,
  path: string,
): OnnxRuntime.InferenceSession.SessionOptions {
  const { session, ...extra } = options.extra ?? {};
  return {
    ...options,
    extra: {
      ...extra,
      session: { ...(session as object), model_external_initializers_file_folder_path: dirname(path) },
    },
  };
}
