import type { z } from 'zod';
import { formatDuration } from './durations.ts';
import type { InferenceService, InferenceServiceInput } from './inference-service.ts';
import type { Resources } from './pod-fields.ts';
import { formatQuantity } from './quantities.ts';
import type { ScalingSpec } from './scaling.ts';
import type { TransformSpec, transformSchema } from './transform.ts';

type PredictorInput = InferenceServiceInput['spec']['predictor'];

/**
 * Writes a parsed service as a manifest again, every default spelled out: the inverse of
 * `parseInferenceService`, which reads it back to an equal service.
 */
export function toManifest(service: InferenceService): InferenceServiceInput {
  const { timeoutMs, scaling, model, containers, ...rest } = service.spec.predictor;
  const predictor: PredictorInput = {
    ...(rest as Omit<PredictorInput, 'timeout' | 'scaling'>),
    timeout: formatDuration(timeoutMs),
    scaling: scalingToInput(scaling),
  };
  if (model !== undefined) {
    const { transform, ...plain } = model;
    predictor.model = {
      ...plain,
      ...(transform !== undefined && { transform: transformToInput(transform) }),
      resources: resourcesToInput(model.resources),
    };
  } else {
    predictor.containers = containers.map((container) => ({
      ...container,
      resources: resourcesToInput(container.resources),
    }));
  }
  return { ...service, spec: { ...service.spec, predictor } };
}

function scalingToInput(scaling: ScalingSpec): NonNullable<PredictorInput['scaling']> {
  const {
    stableWindowMs,
    scaleToZeroGracePeriodMs,
    scaleToZeroRetentionMs,
    keepAliveMs,
    scaleDownDelayMs,
    startTimeoutMs,
    queue,
    schedules,
    ...rest
  } = scaling;
  return {
    ...rest,
    stableWindow: formatDuration(stableWindowMs),
    scaleToZeroGracePeriod: formatDuration(scaleToZeroGracePeriodMs),
    scaleToZeroRetention: formatDuration(scaleToZeroRetentionMs),
    keepAlive: formatDuration(keepAliveMs),
    scaleDownDelay: formatDuration(scaleDownDelayMs),
    startTimeout: formatDuration(startTimeoutMs),
    queue: { maxRequests: queue.maxRequests, maxBytes: formatQuantity(queue.maxBytes) },
    ...(schedules.length === 0 ? {} : { schedules }),
  };
}

function transformToInput({ timeout, memory, ...rest }: TransformSpec): z.input<typeof transformSchema> {
  return { ...rest, timeout: formatDuration(timeout), memory: formatQuantity(memory) };
}

function resourcesToInput(resources: Resources): {
  requests: Record<string, string>;
  limits: Record<string, string>;
} {
  const write = (amounts: Record<string, number>): Record<string, string> =>
    Object.fromEntries(Object.entries(amounts).map(([name, amount]) => [name, formatQuantity(amount)]));
  return { requests: write(resources.requests), limits: write(resources.limits) };
}
