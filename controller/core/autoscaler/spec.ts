/** What the autoscaler counts: requests at once, or requests per second. */
export type ScaleMetric = 'concurrency' | 'rps';

/** The settings of one revision's autoscaler. All of Knative's KPA, and `keepAliveMs`, which is ours. */
export interface AutoscalerSpec {
  readonly metric: ScaleMetric;
  /** What one replica takes: requests at once, or requests per second when `metric` is `rps`. */
  readonly targetCapacity: number;
  /** The share of `targetCapacity` to aim for, above 0 up to 1. */
  readonly targetUtilisation: number;
  readonly stableWindowMs: number;
  /** The panic window as a percentage of the stable window. */
  readonly panicWindowPercentage: number;
  /** Panic starts when the load needs this percentage of the replicas that are ready. */
  readonly panicThresholdPercentage: number;
  /** One decision asks for at most this many times the ready replicas. */
  readonly maxScaleUpRate: number;
  /** One decision asks for at least the ready replicas divided by this. */
  readonly maxScaleDownRate: number;
  /** Requests at once to keep room for: 0 = activator in the path only at zero, -1 = always. */
  readonly targetBurstCapacity: number;
  readonly scaleToZeroGraceMs: number;
  /** The last replica stays at least this long after the revision was found idle. */
  readonly scaleToZeroRetentionMs: number;
  /** Never to zero before this long after the last request. */
  readonly keepAliveMs: number;
  /** A lower count takes effect only after the load has wanted it for this long. */
  readonly scaleDownDelayMs: number;
  /** Replicas that a new revision starts with; ignored once it has had them. */
  readonly initialScale: number;
  /** Any count above zero is raised to this. */
  readonly activationScale: number;
  readonly minReplicas: number;
  /** 0 = unlimited. */
  readonly maxReplicas: number;
}

/** How often the autoscaler is asked without a reason; KPA's `tick-interval`. */
export const TICK_MS = 2_000;
/** The resolution of the windows; KPA's `BucketSize`. */
export const BUCKET_MS = 1_000;
/** The longest stable window, retention and delay; KPA's `WindowMax`. It bounds the size of the state. */
const WINDOW_MAX_MS = 3_600_000;
/** No replica is expected to take less than this; KPA's `TargetMin`. It keeps the division sane. */
const TARGET_MIN = 0.01;

/** KPA's defaults, each with its key in the ConfigMap `config-autoscaler` or its annotation. */
const DEFAULTS = Object.freeze({
  metric: 'concurrency', // autoscaling.knative.dev/metric
  targetUtilisation: 0.7, // container-concurrency-target-percentage: 70
  stableWindowMs: 60_000, // stable-window
  panicWindowPercentage: 10, // panic-window-percentage: 10 % of 60 s = 6 s
  panicThresholdPercentage: 200, // panic-threshold-percentage
  maxScaleUpRate: 1000, // max-scale-up-rate
  maxScaleDownRate: 2, // max-scale-down-rate
  targetBurstCapacity: 211, // target-burst-capacity
  scaleToZeroGraceMs: 30_000, // scale-to-zero-grace-period
  scaleToZeroRetentionMs: 0, // scale-to-zero-pod-retention-period
  keepAliveMs: 0, // ours
  scaleDownDelayMs: 0, // scale-down-delay
  initialScale: 1, // initial-scale
  activationScale: 1, // activation-scale
  minReplicas: 0, // min-scale
  maxReplicas: 0, // max-scale
} satisfies Omit<AutoscalerSpec, 'targetCapacity'>);

const DEFAULT_CAPACITY = Object.freeze({
  concurrency: 100, // container-concurrency-target-default
  rps: 200, // requests-per-second-target-default
} satisfies Record<ScaleMetric, number>);

/**
 * Fills what is not given with KPA's defaults.
 *
 * @example autoscalerSpec({ targetCapacity: 4 }) // 4 at once, aims for 2.8 per replica
 */
export function autoscalerSpec(given: Partial<AutoscalerSpec> = {}): AutoscalerSpec {
  const metric = given.metric ?? DEFAULTS.metric;
  return Object.freeze({ ...DEFAULTS, targetCapacity: DEFAULT_CAPACITY[metric], ...given });
}

/**
 * What one replica takes, from what a manifest says. An explicit target wins, but never above what the
 * container takes at once: aiming for 10 where 4 are served would leave 6 of them waiting for ever.
 * A `containerConcurrency` of 0 means unlimited. Source: KPA's `ResolveMetricTarget`.
 */
export function resolveTargetCapacity(
  metric: ScaleMetric,
  containerConcurrency: number | undefined,
  scaleTarget: number | undefined,
): number {
  if (metric === 'rps') return scaleTarget ?? DEFAULT_CAPACITY.rps;
  const limit =
    containerConcurrency === undefined || containerConcurrency === 0 ? undefined : containerConcurrency;
  if (scaleTarget === undefined) return limit ?? DEFAULT_CAPACITY.concurrency;
  return limit === undefined ? scaleTarget : Math.min(scaleTarget, limit);
}

/** The load that one replica is meant to carry: capacity × utilisation, 100 × 0.7 = 70 by default. */
export function targetOf(spec: AutoscalerSpec): number {
  return Math.max(TARGET_MIN, spec.targetCapacity * spec.targetUtilisation);
}

/** Buckets of the stable window, at least one, at most an hour's worth. */
export function stableBuckets(spec: AutoscalerSpec): number {
  return toBuckets(spec.stableWindowMs);
}

/** Buckets of the panic window: 10 % of 60 s = 6; 10 % of 6 s = 0.6, rounded to 1; never less than 1. */
export function panicBuckets(spec: AutoscalerSpec): number {
  return toBuckets((spec.stableWindowMs * spec.panicWindowPercentage) / 100);
}

function toBuckets(windowMs: number): number {
  return Math.min(WINDOW_MAX_MS / BUCKET_MS, Math.max(1, Math.round(windowMs / BUCKET_MS)));
}
