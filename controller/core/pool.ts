import { isOnItsWayOut, type ReplicaRecord } from './replica-record.ts';
import { isQuarantined, type Quarantine } from './replicas.ts';

export interface PoolInput {
  readonly pool: string;
  /** Standbys to keep for whoever comes. 0: no pool; standbys are then started on demand. */
  readonly standbys: number;
  readonly records: Iterable<ReplicaRecord>;
  readonly quarantine: ReadonlyMap<string, Quarantine>;
  /** Standbys asked for that the platform hasn't shown yet, those for a certain revision not counted. */
  readonly creating: number;
  /** False while failed starts of standbys are backed off from. */
  readonly mayStart: boolean;
  /** How long a start under way puts off the refill at most: a process that starts takes CPU from it. */
  readonly refillDelayMs: number;
  /** How long a replica that has just become ready puts it off: it answers its first request, its warm-up. */
  readonly refillQuietMs: number;
  readonly nowMs: number;
}

export type PoolAction = { do: 'create-standby' } | { do: 'remove'; id: string };

/**
 * Keeps the pool at its size. Standbys in quarantine are for one service only, so they don't count towards
 * the size; of them as many stay as the pool is large, those with a model in their cache first.
 */
export function planPool(input: PoolInput): PoolAction[] {
  // Taken once: what comes may be an iterator.
  const all = [...input.records];
  const records = all.filter(({ pool }) => pool === input.pool);
  const isHeld = (record: ReplicaRecord): boolean =>
    isQuarantined(record, input.quarantine, undefined, input.nowMs);
  const pool = records.filter(isInPool);
  const open = pool.filter((record) => !isHeld(record) && record.isOutdated !== true);
  const held = pool.filter((record) => isHeld(record) && record.isOutdated !== true);
  const outdated = pool.filter((record) => record.isOutdated === true);
  // What is outdated still serves in need; it goes as those that take its place come up.
  const replaced =
    open.filter(isUp).length >= input.standbys ? outdated : outdated.filter((one) => !isUp(one));
  const actions: PoolAction[] = [
    ...surplus(open, open.length - input.standbys),
    ...surplus(held, held.length - input.standbys),
    ...surplus(replaced, replaced.length),
  ];
  const coming = records.filter((record) => record.phase === 'recycling' && !isHeld(record)).length;
  const lacking = input.standbys - open.length - coming - input.creating;
  if (lacking > 0 && input.mayStart && !isStartUnderWay(all, input)) {
    for (let n = 0; n < lacking; n++) actions.push({ do: 'create-standby' });
  }
  return actions;
}

/**
 * Whether a standby that leaves its service goes back to the pool. It does where the pool has room for one
 * that only the same service may claim for a while, and so a service that comes back soon finds its cache warm.
 */
export function shouldRecycle(
  leaving: ReplicaRecord,
  input: Pick<PoolInput, 'standbys' | 'records' | 'quarantine' | 'nowMs'>,
): boolean {
  if (leaving.isOutdated === true) return false;
  let held = 0;
  for (const record of input.records) {
    if (record.origin !== 'standby' || record.pool !== leaving.pool) continue;
    const isComing = record.phase === 'recycling';
    if (isComing || (isInPool(record) && isQuarantined(record, input.quarantine, undefined, input.nowMs)))
      held++;
  }
  return held < input.standbys;
}

function isInPool(record: ReplicaRecord): boolean {
  return (
    record.origin === 'standby' &&
    record.owner === undefined &&
    record.reservedFor === undefined &&
    !isOnItsWayOut(record)
  );
}

function isUp(record: ReplicaRecord): boolean {
  return record.phase === 'standby';
}

/** The blank ones first, of them those that are still starting, then the youngest. */
function surplus(records: readonly ReplicaRecord[], count: number): PoolAction[] {
  return [...records]
    .sort(
      (left, right) =>
        left.cachedModels.length - right.cachedModels.length ||
        Number(isUp(left)) - Number(isUp(right)) ||
        right.sinceMs - left.sinceMs ||
        (left.id < right.id ? -1 : 1),
    )
    .slice(0, Math.max(0, count))
    .map((record) => ({ do: 'remove', id: record.id }));
}

/** Of whatever pool: they share the machine, or at least the control plane. */
function isStartUnderWay(records: readonly ReplicaRecord[], input: PoolInput): boolean {
  return records.some((record) => {
    const sinceMs = input.nowMs - record.sinceMs;
    if (record.phase === 'claiming' || record.reservedFor !== undefined) return sinceMs < input.refillDelayMs;
    return record.phase === 'ready' && sinceMs < input.refillQuietMs;
  });
}
