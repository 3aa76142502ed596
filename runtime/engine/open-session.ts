import type { ModelSignature } from '../core/model-signature.ts';
import type { OpenedModel } from '../storage/open-model.ts';
import { Instance } from './instance.ts';
import { quickPlan, type SessionPlan, settledPlan } from './session-options.ts';
import { signatureOf } from './signature.ts';

export interface OpenSession {
  instance: Instance;
  signature: ModelSignature;
  createMs: number;
}

/**
 * A session of a model as it is served once it has settled; of a form that was compiled ahead of time as that is. A
 * graph that can't be optimised is run as it is.
 *
 * @throws PilotlightError with a `model-*` code
 */
export async function openSession(model: OpenedModel, threadsPerInstance: number): Promise<OpenSession> {
  const isForm = model.modelPath.includes('/.pilotlight/');
  const source = {
    kind: isForm ? ('optimised' as const) : ('plain' as const),
    graphPath: model.modelPath,
    isMapped: model.files.length > 1,
  };
  const input = { threadsPerInstance, sizeBytes: model.sizeBytes };
  const instance = new Instance();
  try {
    const metadata = await create(instance, [settledPlan(source, input), quickPlan(source, input)]);
    const { inputs, outputs, createMs } = metadata;
    return { instance, signature: signatureOf(inputs, outputs), createMs };
  } catch (error) {
    await instance.retire();
    throw error;
  }
}

async function create(
  instance: Instance,
  [plan, ...others]: readonly [SessionPlan, ...SessionPlan[]],
): ReturnType<Instance['create']> {
  try {
    return await instance.create(plan);
  } catch (error) {
    const [next, ...rest] = others;
    if (next === undefined || instance.lost) throw error;
    return create(instance, [next, ...rest]);
  }
}
