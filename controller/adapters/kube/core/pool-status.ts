import type { StandbyPoolSpec, StandbyPoolStatus } from '../../../../crds/standby-pool.ts';
import type { Condition } from '../../../../crds/status.ts';
import type { PoolReport } from '../../../ports.ts';
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

/** Why a pool is not in force: no pods are made for it as its manifest stands. */
export interface PoolRefusal {
  readonly reason: 'CacheNotAllowed' | 'InvalidSpec';
  readonly message: string;
}

export interface PoolStatusInput {
  readonly generation: number;
  /** Pods that the pool is to have; of no meaning while it is refused. */
  readonly size: number;
  readonly refusal?: PoolRefusal | undefined;
  readonly report: PoolReport;
}

/** As long as the API takes in a condition. */
const MAX_REASON_LENGTH = 1_024;
const MAX_MESSAGE_LENGTH = 32_768;

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
  const { ready, starting, serving, quarantined } = input.report;
  return {
    observedGeneration: input.generation,
    ready,
    starting,
    serving,
    quarantined,
    conditions: [{ ...condition, lastTransitionTime }],
  };
}

function readyCondition({ size, refusal, report }: PoolStatusInput): Condition {
  const type = 'Ready';
  if (refusal !== undefined) return { type, status: 'False', ...refusal };
  if (report.ready >= size) return { type, status: 'True' };
  const { ready, starting, trouble } = report;
  const some = `${ready} of ${size} ready`;
  if (trouble === undefined)
    return { type, status: 'False', reason: 'Starting', message: `${some}, ${starting} starting` };
  const message = `${some}: ${trouble.message}`.slice(0, MAX_MESSAGE_LENGTH);
  return { type, status: 'False', reason: trouble.code.slice(0, MAX_REASON_LENGTH), message };
}
