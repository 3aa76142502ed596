import { DEMAND_INTERVAL_MS } from '../../contracts/demand.ts';
import { demandKey } from '../core/demand.ts';
import { shouldRecycle } from '../core/pool.ts';
import { isOnItsWayOut, type ReplicaRecord } from '../core/replica-record.ts';
import { findRevision } from '../core/revisions.ts';
import { hasUserCode } from '../core/user-code.ts';
import { countAdminCall } from './admin-calls.ts';
import { callersLeft, steerCallers } from './callers.ts';
import { changeRecord, type EngineContext } from './engine-context.ts';
import { publishRoute } from './publish.ts';

/** A removal that fails is tried again, 1, 2, 4 … 30 s later, for as long as the replica is there. */
const RETRY_BASE_MS = 1_000;
const RETRY_MAX_MS = 30_000;
/** An activator that has requests reports each 100 ms; one report may be late. */
const FIRST_REPORT_MS = 2 * DEMAND_INTERVAL_MS + 50;

/**
 * Has a replica leave its service: out of the routes, time for that to spread, drained, then back to the pool
 * or ended. A replica that doesn't serve yet is ended at once.
 */
export function leave(context: EngineContext, record: ReplicaRecord, why: string): void {
  if (isOnItsWayOut(record)) return;
  const { id, owner } = record;
  const fields = { replica: id, service: owner?.serviceUid, revision: owner?.revision, reason: why };
  if (record.phase !== 'ready') {
    context.logger.info(fields, 'a starting replica is given up');
    context.coldStarts.drop(id);
    dispose(context, record, { mayRecycle: false });
    return;
  }
  context.logger.info(fields, 'replica leaves');
  changeRecord(context, id, { phase: 'leaving', sinceMs: context.clock.nowMs() });
  const entry = context.services.get(owner?.serviceUid ?? '');
  if (entry !== undefined) {
    steerCallers(context, entry);
    publishRoute(context, entry);
  }
  callersLeft(context, entry, id)
    .then(() => drain(context, id, entry?.settings.requestTimeoutMs ?? 0))
    .catch((error: unknown) => {
      context.logger.error({ replica: id, err: error }, 'a departure failed');
    });
}

async function drain(context: EngineContext, id: string, deadlineMs: number): Promise<void> {
  const record = changeRecord(context, id, { phase: 'draining', sinceMs: context.clock.nowMs() });
  if (record === undefined || context.isStopped) return;
  let isEmpty = false;
  try {
    const drained = context.platform.drain(id, record.claimId ?? '', deadlineMs);
    if (record.origin === 'container') {
      const [isDrained, isAlone] = await Promise.all([drained, requestsEnded(context, record, deadlineMs)]);
      isEmpty = isDrained && isAlone;
    } else {
      countAdminCall(context, 'drain', drained);
      isEmpty = await drained;
    }
    if (!isEmpty)
      context.logger.warn({ replica: id, deadlineMs }, 'requests were still running at the drain deadline');
  } catch (error) {
    context.counters.platformError('drain');
    context.logger.warn({ replica: id, err: error }, 'draining failed, ending the replica');
  }
  const now = context.records.get(id);
  if (now !== undefined) dispose(context, now, { mayRecycle: isEmpty });
}

/**
 * Waits until no activator has requests at a user's own server, which can't say itself what it still does. The
 * server has left the routes, and that has spread.
 *
 * @returns false when requests were still there at the deadline.
 */
async function requestsEnded(
  context: EngineContext,
  { id, owner }: ReplicaRecord,
  deadlineMs: number,
): Promise<boolean> {
  if (owner === undefined) return true;
  const { clock, demand, records } = context;
  const key = demandKey(owner.serviceUid, owner.revision);
  const leftAtMs = clock.nowMs();
  // What was sent just before the news came is in the next report.
  let waitMs = FIRST_REPORT_MS;
  while (true) {
    await new Promise<void>((resolve) => void clock.after(waitMs, resolve));
    if (context.isStopped || !records.has(id)) return true;
    const nowMs = clock.nowMs();
    if (!demand.mayHaveRequests(id, key, leftAtMs, nowMs)) return true;
    if (nowMs - leftAtMs >= deadlineMs) return false;
    waitMs = DEMAND_INTERVAL_MS;
  }
}

/** Puts a replica that serves nobody any more back to the pool, or ends it. */
export function dispose(context: EngineContext, record: ReplicaRecord, how: { mayRecycle: boolean }): void {
  const { id, owner, claimId, origin } = record;
  const { clock, settings, records, quarantine } = context;
  const nowMs = clock.nowMs();
  if (claimId !== undefined) context.demand.forgetClaim(claimId);
  // A replica that has been in the routes may be called by whoever hasn't heard yet.
  if (owner !== undefined && record.phase === 'draining') {
    quarantine.set(record.host, { serviceUid: owner.serviceUid, untilMs: nowMs + settings.quarantineMs });
    clock.after(settings.quarantineMs, () => {
      if ((quarantine.get(record.host)?.untilMs ?? Infinity) <= clock.nowMs()) quarantine.delete(record.host);
      context.reconcilePool();
    });
  }
  const isRecycled =
    how.mayRecycle &&
    origin === 'standby' &&
    claimId !== undefined &&
    !ranUserCode(context, record) &&
    shouldRecycle(record, {
      standbys: context.pools.get(record.pool ?? '')?.size ?? 0,
      records: records.values(),
      quarantine,
      nowMs,
    });
  changeRecord(context, id, { phase: isRecycled ? 'recycling' : 'removing', sinceMs: nowMs });
  if (!isRecycled) {
    remove(context, id, 0);
    return;
  }
  context.recycles.set(record.host, nowMs);
  const recycled = context.platform.recycle(id, claimId);
  countAdminCall(context, 'recycle', recycled);
  recycled.catch((error: unknown) => {
    context.recycles.delete(record.host);
    context.counters.platformError('recycle');
    context.logger.warn({ replica: id, err: error }, 'recycling failed, ending the replica');
    if (changeRecord(context, id, { phase: 'removing' }) !== undefined) remove(context, id, 0);
  });
}

/** By its revision; a runtime whose revision nobody knows any more refuses to be recycled itself. */
function ranUserCode(context: EngineContext, { owner }: ReplicaRecord): boolean {
  if (owner === undefined) return false;
  const { revisions } = context.services.get(owner.serviceUid) ?? {};
  const revision = findRevision(revisions ?? [], owner.revision);
  return revision !== undefined && hasUserCode(revision.resolved.service);
}

/** Ends a replica, for as long as it takes. */
export function remove(context: EngineContext, id: string, attempt: number): void {
  context.platform.remove(id).catch((error: unknown) => {
    context.counters.platformError('remove');
    context.logger.warn({ replica: id, attempt, err: error }, 'ending a replica failed, trying again');
    const delayMs = Math.min(RETRY_MAX_MS, RETRY_BASE_MS * 2 ** Math.min(10, attempt));
    context.clock.after(delayMs, () => {
      if (context.records.has(id) && !context.isStopped) remove(context, id, attempt + 1);
    });
  });
}
