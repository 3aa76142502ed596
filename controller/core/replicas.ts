import { holdsSlot, isOnItsWayOut, isOwnedBy, type ReplicaRecord } from './replica-record.ts';

/** What one revision of a service wants. */
export interface RevisionNeed {
  readonly revision: string;
  /** Replicas in total; 0 for a revision that nobody needs. */
  readonly wanted: number;
  /** False while a failed start is backed off from: what there is stays, nothing new is begun. */
  readonly mayStart: boolean;
  /** The pools whose standbys can take it, best first; none: it starts replicas of its own. */
  readonly pools: readonly string[];
  readonly origin: 'runtime' | 'container';
  readonly modelUri?: string;
}

/** Another service may take a recycled standby only after this time, since routes may be stale. */
export interface Quarantine {
  readonly serviceUid: string;
  readonly untilMs: number;
}

export interface ServicePlanInput {
  readonly serviceUid: string;
  readonly needs: readonly RevisionNeed[];
  /** All replicas that there are, of every service. */
  readonly records: Iterable<ReplicaRecord>;
  /** By host: it goes with the process or pod, not with its incarnation. */
  readonly quarantine: ReadonlyMap<string, Quarantine>;
  /** Replicas asked for that the platform hasn't shown yet, by revision. */
  readonly creating: ReadonlyMap<string, number>;
  /** Starts of processes or pods at once for one service, so that a burst can't flood the machine. */
  readonly maxStartsAtOnce: number;
  readonly nowMs: number;
}

export type ServiceAction =
  | { do: 'claim'; id: string; revision: string }
  /** Starts a standby for this revision. */
  | { do: 'create-standby'; revision: string; pool: string }
  | { do: 'create-replica'; revision: string; origin: 'runtime' | 'container' }
  /** A standby that was started for this revision isn't needed by it any more. */
  | { do: 'release'; id: string }
  /** Out of the routes, drained, then recycled or removed. */
  | { do: 'leave'; id: string; why: 'surplus' | 'not-needed' };

/**
 * What is to be done for one service now. Each replica appears in one action at most, and the actions carried
 * out give each revision what it wants, or what it may have.
 */
export function planService(input: ServicePlanInput): ServiceAction[] {
  const records = [...input.records];
  const actions: ServiceAction[] = [];
  const taken = new Set<string>();
  for (const need of input.needs) {
    const own = records.filter(
      (record) => isOwnedBy(record, input.serviceUid, need.revision) && holdsSlot(record),
    );
    for (const record of own) {
      // A replica of its own that is up and blank: it waits for its model.
      if (record.phase === 'standby' && need.mayStart)
        actions.push({ do: 'claim', id: record.id, revision: need.revision });
    }
    const lacking = need.wanted - own.length;
    if (lacking > 0) actions.push(...fill(input, need, lacking, records, taken));
    else actions.push(...shrink(input, need, -lacking, own, records));
  }
  const known = new Set(input.needs.map((need) => need.revision));
  for (const record of records) {
    if (
      isOwnedBy(record, input.serviceUid) &&
      holdsSlot(record) &&
      !known.has(record.owner?.revision ?? '')
    ) {
      actions.push({ do: 'leave', id: record.id, why: 'not-needed' });
    }
    const { reservedFor } = record;
    if (reservedFor?.serviceUid === input.serviceUid && !known.has(reservedFor.revision)) {
      actions.push({ do: 'release', id: record.id });
    }
  }
  return actions;
}

function fill(
  input: ServicePlanInput,
  need: RevisionNeed,
  lacking: number,
  records: readonly ReplicaRecord[],
  taken: Set<string>,
): ServiceAction[] {
  const actions: ServiceAction[] = [];
  const creating = input.creating.get(need.revision) ?? 0;
  const [pool] = need.pools;
  if (pool === undefined) {
    const free = input.maxStartsAtOnce - creating - startingCount(records, input.serviceUid);
    const starts = need.mayStart ? Math.min(lacking - creating, free) : 0;
    for (let n = 0; n < starts; n++) {
      actions.push({ do: 'create-replica', revision: need.revision, origin: need.origin });
    }
    return actions;
  }
  const reserved = records.filter((record) => isReserved(record, input.serviceUid, need.revision));
  if (!need.mayStart) return [];
  const claimable = records
    .filter((record) => !taken.has(record.id) && isClaimable(record, input, need))
    .sort(byFitness(input, need));
  for (const record of claimable.slice(0, lacking)) {
    taken.add(record.id);
    actions.push({ do: 'claim', id: record.id, revision: need.revision });
  }
  const stillLacking = lacking - Math.min(lacking, claimable.length);
  const onTheirWay = reserved.filter((record) => record.phase === 'starting');
  for (const record of onTheirWay.slice(stillLacking)) actions.push({ do: 'release', id: record.id });
  // One of the pool that is still starting is as good as a new one, and sooner there.
  const adoptable = records.filter(
    (record) => isStartingFree(record) && isOfPools(record, need.pools) && !taken.has(record.id),
  );
  const free = input.maxStartsAtOnce - creating - startingCount(records, input.serviceUid);
  const starts = Math.min(stillLacking - onTheirWay.length - creating - adoptable.length, free);
  for (let n = 0; n < starts; n++) actions.push({ do: 'create-standby', revision: need.revision, pool });
  return actions;
}

function shrink(
  input: ServicePlanInput,
  need: RevisionNeed,
  surplus: number,
  own: readonly ReplicaRecord[],
  records: readonly ReplicaRecord[],
): ServiceAction[] {
  const why = need.wanted === 0 ? 'not-needed' : 'surplus';
  const victims = [...own].sort(byDispensability).slice(0, surplus);
  return [
    ...records
      .filter((record) => isReserved(record, input.serviceUid, need.revision))
      .map((record): ServiceAction => ({ do: 'release', id: record.id })),
    ...victims.map((record): ServiceAction => ({ do: 'leave', id: record.id, why })),
  ];
}

function isReserved(record: ReplicaRecord, uid: string, revision: string): boolean {
  return record.reservedFor?.serviceUid === uid && record.reservedFor.revision === revision;
}

function isStartingFree(record: ReplicaRecord): boolean {
  return record.origin === 'standby' && record.phase === 'starting' && record.reservedFor === undefined;
}

function startingCount(records: readonly ReplicaRecord[], uid: string): number {
  return records.filter((record) => {
    const owner = record.owner ?? record.reservedFor;
    return record.phase === 'starting' && owner?.serviceUid === uid;
  }).length;
}

function isOfPools(record: ReplicaRecord, pools: readonly string[]): boolean {
  return record.pool !== undefined && pools.includes(record.pool);
}

function isClaimable(record: ReplicaRecord, input: ServicePlanInput, need: RevisionNeed): boolean {
  if (record.phase !== 'standby' || record.origin !== 'standby' || record.owner !== undefined) return false;
  if (record.reservedFor !== undefined && !isReserved(record, input.serviceUid, need.revision)) return false;
  if (!isOfPools(record, need.pools)) return false;
  return !isQuarantined(record, input.quarantine, input.serviceUid, input.nowMs);
}

/** Whether its last service's callers may still come to it, so that no other service may have it yet. */
export function isQuarantined(
  record: ReplicaRecord,
  quarantine: ReadonlyMap<string, Quarantine>,
  forServiceUid: string | undefined,
  nowMs: number,
): boolean {
  const held = quarantine.get(record.host);
  return held !== undefined && held.serviceUid !== forServiceUid && nowMs < held.untilMs;
}

/** First those that have the model, then those that others can't have, then the better pool, then the longest there. */
function byFitness(input: ServicePlanInput, need: RevisionNeed) {
  const rank = (record: ReplicaRecord): number => {
    const isCached = need.modelUri !== undefined && record.cachedModels.includes(need.modelUri);
    const isOurs = input.quarantine.get(record.host)?.serviceUid === input.serviceUid;
    return (isCached ? 0 : 4) + (isOurs ? 0 : 2) + (record.reservedFor === undefined ? 1 : 0);
  };
  const poolRank = (record: ReplicaRecord): number => need.pools.indexOf(record.pool ?? '');
  return (left: ReplicaRecord, right: ReplicaRecord): number =>
    rank(left) - rank(right) ||
    poolRank(left) - poolRank(right) ||
    left.sinceMs - right.sinceMs ||
    compareIds(left, right);
}

const GIVE_UP_ORDER = { starting: 0, standby: 1, claiming: 2, ready: 3 };

/** First what doesn't serve yet, then the least loaded, then the youngest. */
function byDispensability(left: ReplicaRecord, right: ReplicaRecord): number {
  return (
    order(left) - order(right) ||
    left.inFlight - right.inFlight ||
    right.sinceMs - left.sinceMs ||
    compareIds(left, right)
  );
}

function order(record: ReplicaRecord): number {
  return isOnItsWayOut(record) ? -1 : GIVE_UP_ORDER[record.phase as keyof typeof GIVE_UP_ORDER];
}

function compareIds(left: ReplicaRecord, right: ReplicaRecord): number {
  return left.id < right.id ? -1 : 1;
}
