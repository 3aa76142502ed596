import type { StandbyPoolSpec, StandbyPoolStatus } from '../../../../crds/standby-pool.ts';
import type { Condition } from '../../../../crds/status.ts';
import type { KubeSettings } from './settings.ts';

/** Why a pool's cache may not be where its manifest wants it, with what to do; undefined when it may. */
export function cacheProblem(
  { cache }: Pick<StandbyPoolSpec, 'cache'>,
  { allowCache }: Pick<KubeSettings, 'allowCache'>,
): string | undefined {
  if (cache.kind === 'emptyDir' || allowCache[cache.kind]) return undefined;
  return (
    `spec.cache.${cache.kind} is not allowed by the operator of this platform ` +
    `(allowCache.${cache.kind} of the controller’s configuration): use emptyDir`
  );
}

export interface PoolStatusInput {
  readonly generation: number;
  readonly spec: Pick<StandbyPoolSpec, 'size' | 'cache'>;
  readonly settings: Pick<KubeSettings, 'allowCache'>;
  readonly counts: {
    readonly ready: number;
    readonly starting: number;
    readonly serving: number;
    readonly quarantined: number;
  };
  /** Why the last pod could not be created, or what its start waits for, in Kubernetes' own words. */
  readonly trouble?: { readonly code: string; readonly message: string } | undefined;
}

/** @param previous The status before: a condition that stays as it was keeps its transition time. */
export function poolStatus(
  input: PoolStatusInput,
  previous: StandbyPoolStatus | undefined,
  nowMs: number,
): StandbyPoolStatus {
  const condition: Condition = { ...readyCondition(input), observedGeneration: input.generation };
  const before = previous?.conditions?.find(({ type }) => type === condition.type);
  const lastTransitionTime =
    before?.status === condition.status && before.lastTransitionTime !== undefined
      ? before.lastTransitionTime
      : `${new Date(nowMs).toISOString().slice(0, 19)}Z`;
  return {
    observedGeneration: input.generation,
    ...input.counts,
    conditions: [{ ...condition, lastTransitionTime }],
  };
}

/** Pods in quarantine are there, if only for one service; a pool that has all its pods wants nothing. */
function readyCondition({ spec, settings, counts, trouble }: PoolStatusInput): Condition {
  const type = 'Ready';
  const problem = cacheProblem(spec, settings);
  if (problem !== undefined) return { type, status: 'False', reason: 'CacheNotAllowed', message: problem };
  if (counts.ready >= spec.size) return { type, status: 'True' };
  const some = `${counts.ready} of ${spec.size} ready`;
  if (trouble !== undefined)
    return { type, status: 'False', reason: trouble.code, message: `${some}: ${trouble.message}` };
  return { type, status: 'False', reason: 'Starting', message: `${some}, ${counts.starting} starting` };
}
