import { parseRuntimeArguments, type RuntimeArguments } from '../../crds/schema.ts';
import { TAG_ANNOTATIONS } from '../../crds/warnings.ts';
import type { ResolvedService } from '../ports.ts';
import { type AutoscalerSpec, resolveTargetCapacity } from './autoscaler/spec.ts';

/** KServe's way to stop a service by hand: no replica, no cold start, and the manifest stays. */
const STOP_ANNOTATION = 'serving.kserve.io/stop';

/** What the engine reads of a service, in one place, so that the manifest's shape matters here alone. */
export interface ServiceSettings {
  readonly namespace: string;
  readonly name: string;
  /** Names by which OIP and V1 paths call its model; a foreign container has none that we know. */
  readonly models: readonly string[];
  readonly modelUri: string | undefined;
  readonly origin: 'runtime' | 'container';
  /** Share of the latest revision while a canary runs; undefined: all of it. */
  readonly canaryPercent: number | undefined;
  readonly initialScale: number;
  readonly maxReplicas: number;
  readonly startTimeoutMs: number;
  readonly requestTimeoutMs: number;
  readonly queue: { readonly maxRequests: number; readonly maxBytes: number };
  readonly retryAll: boolean;
  /** Whether each revision has an address of its own. */
  readonly hasTags: boolean;
  /** Set when stopped by hand: the text that callers get. */
  readonly stopped: string | undefined;
  readonly runtime: RuntimeArguments;
}

/** Reads the settings of a service; all defaults are the schema's. */
export function serviceSettings({ service, modelUri }: ResolvedService): ServiceSettings {
  const { metadata, spec } = service;
  const { predictor } = spec;
  const { scaling, model } = predictor;
  const parsed = model === undefined ? undefined : parseRuntimeArguments(model.args);
  const runtime = parsed?.ok === true ? parsed.value : {};
  const isStopped = metadata.annotations[STOP_ANNOTATION] === 'true';
  return {
    namespace: metadata.namespace,
    name: metadata.name,
    models: model === undefined ? [] : [runtime.modelName ?? metadata.name],
    modelUri,
    origin: model === undefined ? 'container' : 'runtime',
    canaryPercent: predictor.canaryTrafficPercent,
    initialScale: initialScaleOf(predictor),
    maxReplicas: predictor.maxReplicas,
    startTimeoutMs: scaling.startTimeoutMs,
    requestTimeoutMs: predictor.timeoutMs,
    queue: scaling.queue,
    retryAll: scaling.retryAll,
    hasTags: TAG_ANNOTATIONS.some((name) => metadata.annotations[name] === 'true'),
    stopped: isStopped ? `${metadata.name} is stopped by its annotation ${STOP_ANNOTATION}` : undefined,
    runtime,
  };
}

/** A model that is to be compared with another one is started once before it gets traffic, whatever was asked for. */
function initialScaleOf({ scaling, model }: ResolvedService['service']['spec']['predictor']): number {
  return model?.parity === undefined ? scaling.initialScale : Math.max(1, scaling.initialScale);
}

/**
 * The settings of a service's autoscaler.
 *
 * @param capacity Requests at once that a replica of the revision has reported; it stands in where the
 *   manifest says neither a target nor a limit: aiming for KPA's 100 where 4 are served would queue 96.
 */
export function autoscalerSettings(
  { service }: ResolvedService,
  capacity: number | undefined,
): AutoscalerSpec {
  const { predictor } = service.spec;
  const { scaling } = predictor;
  const limit = predictor.containerConcurrency === 0 ? capacity : predictor.containerConcurrency;
  return {
    metric: predictor.scaleMetric,
    targetCapacity: resolveTargetCapacity(predictor.scaleMetric, limit, predictor.scaleTarget),
    targetUtilisation: scaling.targetUtilizationPercentage / 100,
    stableWindowMs: scaling.stableWindowMs,
    panicWindowPercentage: scaling.panicWindowPercentage,
    panicThresholdPercentage: scaling.panicThresholdPercentage,
    maxScaleUpRate: scaling.maxScaleUpRate,
    maxScaleDownRate: scaling.maxScaleDownRate,
    targetBurstCapacity: scaling.burstCapacity,
    scaleToZeroGraceMs: scaling.scaleToZeroGracePeriodMs,
    scaleToZeroRetentionMs: scaling.scaleToZeroRetentionMs,
    keepAliveMs: scaling.keepAliveMs,
    scaleDownDelayMs: scaling.scaleDownDelayMs,
    initialScale: initialScaleOf(predictor),
    activationScale: scaling.activationScale,
    minReplicas: predictor.minReplicas,
    maxReplicas: predictor.maxReplicas,
  };
}
