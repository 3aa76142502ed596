import { PilotlightError } from '../../contracts/errors.ts';
import { providerUnavailable } from './execution-provider.ts';
import type { Instance, SessionMetadata } from './instance.ts';
import type { LoadModelOptions } from './load-model.ts';
import { anonymousBytes, doesNotFit, fittingInstances, type MemoryNeed } from './memory-fit.ts';
import type { ModelForms } from './model-forms.ts';
import { acceleratedPlan, isCompiled, quickPlan, type SessionPlan, settledPlan } from './session-options.ts';
import { markUnusable } from './settling.ts';
import { findStart, plainStart, type StartingPoint } from './starting-point.ts';
import { unlessAborted } from './unless-aborted.ts';

export interface FirstSession {
  metadata: SessionMetadata;
  plan: SessionPlan;
  start: StartingPoint;
  /** Instances that there is room for. */
  fitting: number;
  isAccelerated: boolean;
}

/**
 * A session on the accelerator that was asked for.
 *
 * @returns undefined where the CPU is to serve
 * @throws PilotlightError `execution-provider-unavailable` where that is refused; what else keeps the model from loading
 */
export async function createAccelerated(
  instance: Instance,
  options: LoadModelOptions,
): Promise<FirstSession | undefined> {
  const { provider, fallback } = options.execution ?? { provider: 'cpu' };
  if (provider === 'cpu') return undefined;
  const model = (await options.bringOriginal?.()) ?? options;
  const plan = acceleratedPlan(model.modelPath, options, provider);
  const need = needOf(plan, options.instances, options);
  const fitting = fittingInstances(need);
  if (fitting < (options.instancesWanted ? options.instances : 1)) throw doesNotFit(need);
  try {
    const metadata = await unlessAborted(instance.create(plan), options.signal);
    return { metadata, plan, start: plainStart(model), fitting, isAccelerated: true };
  } catch (error) {
    if (options.signal.aborted || instance.lost) throw error;
    // Where the model itself is at fault the CPU finds the same, and says it better.
    if (fallback === 'refuse' && error instanceof PilotlightError && error.code !== 'model-invalid')
      throw error;
    const unavailable = providerUnavailable(provider, error);
    if (fallback === 'refuse') throw unavailable;
    options.observer.notAccelerated?.(unavailable);
    return undefined;
  }
}

/**
 * The session that is there soonest. What can't be loaded is taken out and the next best tried, down to the model as
 * it is; and a graph may have to be optimised to run at all.
 *
 * @throws PilotlightError of the last try; `model-out-of-memory` before one that would not fit
 */
export async function createFirst(
  instance: Instance,
  given: StartingPoint,
  options: LoadModelOptions,
  onNext: (start: StartingPoint) => void,
): Promise<FirstSession> {
  const { signal, forms, warmUp: isWarmedAhead } = options;
  let start = given;
  // Nobody waits for a model that is warmed ahead.
  let isQuick = !isWarmedAhead || isCompiled(start);
  for (;;) {
    const plan = isQuick ? quickPlan(start, options) : settledPlan(start, options);
    const need = needOf(plan, options.instances, options);
    const fitting = fittingInstances(need);
    if (fitting < (options.instancesWanted ? options.instances : 1)) throw doesNotFit(need);
    try {
      const metadata = await unlessAborted(instance.create(plan), signal);
      return { metadata, plan, start, fitting, isAccelerated: false };
    } catch (error) {
      if (signal.aborted || instance.lost) throw error;
      if (start.kind === 'plain' || forms === undefined) {
        if (!isQuick) throw error;
        isQuick = false;
        continue;
      }
      const reason = error instanceof Error ? error.message : String(error);
      options.observer.notCompiled?.(`its ${start.kind} form could not be loaded: ${reason}`);
      start = await insteadOf(start, forms, options);
      isQuick = !isWarmedAhead || isCompiled(start);
      onNext(start);
    }
  }
}

/** What to start from after a form that can't be loaded: damaged ones go and are made again. */
async function insteadOf(
  failed: StartingPoint,
  forms: ModelForms,
  options: LoadModelOptions,
): Promise<StartingPoint> {
  await failed.release();
  if (failed.kind === 'plain') return failed;
  await forms.remove(failed.kind).catch(() => undefined);
  const model = (await options.bringOriginal?.()) ?? options;
  if (failed.kind !== 'external') return findStart(model, forms, () => undefined);
  // Nothing is at fault with its files, they were just looked at: ONNX Runtime wants these weights inside.
  await markUnusable(forms, 'external').catch(() => undefined);
  return plainStart(model);
}

export function needOf({ mapped }: SessionPlan, instances: number, options: LoadModelOptions): MemoryNeed {
  const { sizeBytes, limits } = options;
  return { sizeBytes, mapped, instances, residentBytes: anonymousBytes(), limitBytes: limits.memoryBytes };
}
