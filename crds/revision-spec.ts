import type { InferenceService } from './inference-service.ts';

/** Fields of a predictor that take effect without a new revision: they steer replicas, they don't change them. */
const NOT_IN_A_REVISION = [
  'minReplicas',
  'maxReplicas',
  'scaleTarget',
  'scaleMetric',
  'scaling',
  'canaryTrafficPercent',
  'timeoutMs',
  'labels',
  'annotations',
] as const;

type Predictor = InferenceService['spec']['predictor'];
export type RevisionSpec = Omit<Predictor, (typeof NOT_IN_A_REVISION)[number]>;

/**
 * The part of a service's spec whose change makes a new revision: what a replica runs (model or container,
 * arguments, environment, resources, concurrency) and where (pod fields). Keys are sorted at every level, so
 * that equal specs have equal `JSON.stringify` texts however they were written.
 */
export function revisionSpec(service: InferenceService): RevisionSpec {
  const predictor: Partial<Predictor> = { ...service.spec.predictor };
  for (const field of NOT_IN_A_REVISION) delete predictor[field];
  return sorted(predictor) as RevisionSpec;
}

/** The text to hash for a revision: JSON with sorted keys and without spaces. */
export function canonicalJson(value: unknown): string {
  return JSON.stringify(sorted(value));
}

function sorted(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(sorted);
  if (typeof value !== 'object' || value === null) return value;
  return Object.fromEntries(
    Object.entries(value)
      .filter(([, child]) => child !== undefined)
      .sort(([left], [right]) => (left < right ? -1 : 1))
      .map(([key, child]) => [key, sorted(child)]),
  );
}
