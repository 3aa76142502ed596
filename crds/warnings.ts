import type { InferenceService } from './inference-service.ts';
import { CLUSTER_ONLY_POD_FIELDS } from './pod-fields.ts';
import { type Problem, problemAt } from './problems.ts';
import { STORAGE_SECRET_ANNOTATIONS } from './storage-secret.ts';

/** KServe's annotations of a service that mean the same here; `stop: "true"` stops it by hand. */
const EFFECTIVE_KSERVE_ANNOTATIONS = new Set<string>([
  ...STORAGE_SECRET_ANNOTATIONS,
  'serving.kserve.io/stop',
  'serving.kserve.io/enable-tag-routing',
]);

/** `"true"` gives each revision an address of its own; the first is KServe's name for it. */
export const TAG_ANNOTATIONS = [
  'serving.kserve.io/enable-tag-routing',
  'serving.pilotlight.dev/enable-tag-routing',
] as const;

/** Knative's annotations and the field that says the same here. */
const KNATIVE_ANNOTATIONS: Record<string, string> = {
  metric: 'spec.predictor.scaleMetric',
  target: 'spec.predictor.scaleTarget',
  'target-utilization-percentage': 'spec.predictor.scaling.targetUtilizationPercentage',
  'min-scale': 'spec.predictor.minReplicas',
  minScale: 'spec.predictor.minReplicas',
  'max-scale': 'spec.predictor.maxReplicas',
  maxScale: 'spec.predictor.maxReplicas',
  'initial-scale': 'spec.predictor.scaling.initialScale',
  'activation-scale': 'spec.predictor.scaling.activationScale',
  window: 'spec.predictor.scaling.stableWindow',
  'panic-window-percentage': 'spec.predictor.scaling.panicWindowPercentage',
  'panic-threshold-percentage': 'spec.predictor.scaling.panicThresholdPercentage',
  'scale-down-delay': 'spec.predictor.scaling.scaleDownDelay',
  'scale-to-zero-pod-retention-period': 'spec.predictor.scaling.scaleToZeroRetention',
  'target-burst-capacity': 'spec.predictor.scaling.burstCapacity',
};

/**
 * What a valid service says without any effect here. `input` is the document as it was written, which still
 * holds what the parsed form leaves out.
 */
export function serviceWarnings(service: InferenceService, input: unknown): Problem[] {
  const warnings: Problem[] = [];
  for (const name of Object.keys(service.metadata.annotations)) {
    const path = ['metadata', 'annotations', name];
    const knative = /^autoscaling\.knative\.dev\/(.+)$/.exec(name)?.[1];
    if (knative !== undefined) {
      const field = KNATIVE_ANNOTATIONS[knative];
      warnings.push(problemAt(path, `has no effect here${field === undefined ? '' : `: use ${field}`}`));
    } else if (
      !EFFECTIVE_KSERVE_ANNOTATIONS.has(name) &&
      /^serving\.(kserve\.io|kubeflow\.org)\//.test(name)
    ) {
      warnings.push(problemAt(path, 'has no effect here'));
    }
  }
  const model = service.spec.predictor.model;
  if (model !== undefined) {
    const path = ['spec', 'predictor', hasOldStyleModel(input) ? 'onnx' : 'model'];
    for (const field of ['runtime', 'runtimeVersion'] as const) {
      if (model[field] !== undefined) {
        warnings.push(
          problemAt([...path, field], 'has no effect: Pilotlight serves ONNX models with its own runtime'),
        );
      }
    }
  }
  return warnings;
}

/** Pod fields that are kept for a cluster and do nothing on a single machine. */
export function localPlatformWarnings(service: InferenceService): Problem[] {
  return CLUSTER_ONLY_POD_FIELDS.filter((field) => service.spec.predictor[field] !== undefined).map((field) =>
    problemAt(['spec', 'predictor', field], 'has no effect on the local platform, only in a cluster'),
  );
}

function hasOldStyleModel(input: unknown): boolean {
  const predictor = (input as { spec?: { predictor?: object } }).spec?.predictor;
  return predictor !== undefined && 'onnx' in predictor;
}
