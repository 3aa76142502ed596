import { demandKey } from '../core/demand.ts';
import { planPool } from '../core/pool.ts';
import { isOwnedBy } from '../core/replica-record.ts';
import { planService, type RevisionNeed, type ServiceAction } from '../core/replicas.ts';
import { assignTraffic, markRolledOut, trimRevisions } from '../core/revisions.ts';
import { mayStart, nextStartMs } from '../core/start-trouble.ts';
import { settleCarriage } from './activators.ts';
import { steerCallers } from './callers.ts';
import { claim } from './claims.ts';
import { createFor, createPoolStandby } from './creation.ts';
import { leave, remove } from './departures.ts';
import {
  type Cause,
  changeRecord,
  creatingKey,
  type EngineContext,
  type PoolEntry,
  type ServiceEntry,
} from './engine-context.ts';
import { countsOf, queueSave, queueStatus } from './persistence.ts';
import { publishRoute } from './publish.ts';
import { needsOf, slotsOf } from './scale.ts';

/**
 * Looks at one service: who gets traffic, what each revision wants, what is to be done for that. All of it
 * runs in one turn, so that nothing is claimed twice, and what it begins reports back by another look.
 */
export function reconcileService(context: EngineContext, entry: ServiceEntry, cause: Cause): void {
  if (!context.isSynced || context.isStopped || entry.revisions === undefined) return;
  shiftTraffic(context, entry);
  const needs = needsOf(context, entry, cause);
  const actions = planService({
    serviceUid: entry.uid,
    needs,
    records: context.records.values(),
    quarantine: context.quarantine,
    creating: creatingOf(context, entry),
    maxStartsAtOnce: context.settings.maxStartsAtOnce,
    nowMs: context.clock.nowMs(),
  });
  for (const action of actions) carryOut(context, entry, action);
  entry.isLacking = needs.some((need) => slotsOf(context, entry, need.revision) < need.wanted);
  wakeUpInTime(context, entry);
  for (const [name, runtime] of entry.runtimes) {
    if (runtime.startingPhase !== undefined && countsOf(context, entry, name).starting === 0) {
      runtime.startingPhase = undefined;
    }
  }
  if (cause === 'tick') settleCarriage(context, entry);
  steerCallers(context, entry);
  publishRoute(context, entry);
  entry.revisions = trimRevisions(entry.revisions, inUse(context, entry));
  entry.isQuiet = isQuiet(context, entry, needs);
  queueSave(context, entry);
  queueStatus(context, entry);
}

/** Moves the traffic to where the revisions' states want it. */
function shiftTraffic(context: EngineContext, entry: ServiceEntry): void {
  const { revisions = [], settings } = entry;
  const before = entry.traffic;
  const traffic = assignTraffic(revisions, settings);
  entry.traffic = traffic;
  entry.revisions = markRolledOut(revisions, traffic, settings.initialScale, context.clock.nowMs());
  const isSame =
    before.size === traffic.size && [...traffic].every(([name, percent]) => before.get(name) === percent);
  if (isSame || before.size === 0) return;
  const shares = [...traffic].map(([name, percent]) => `${name} ${percent} %`).join(', ');
  const { namespace, name } = settings;
  context.logger.info({ namespace, service: name, traffic: shares }, 'traffic moved');
  context.platform.recordEvent(entry.uid, { type: 'Normal', reason: 'TrafficMoved', message: shares });
}

function carryOut(context: EngineContext, entry: ServiceEntry, action: ServiceAction): void {
  if (action.do === 'create-standby')
    return createFor(context, entry, action.revision, { origin: 'standby', pool: action.pool });
  if (action.do === 'create-replica')
    return createFor(context, entry, action.revision, { origin: action.origin });
  if (action.do === 'release') {
    changeRecord(context, action.id, { reservedFor: undefined });
    context.coldStarts.drop(action.id);
    return undefined;
  }
  const record = context.records.get(action.id);
  if (record === undefined) return undefined;
  if (action.do === 'claim') return claim(context, entry, record, action.revision);
  return leave(context, record, action.why);
}

/** Replicas asked for and not seen yet, by revision's name. */
function creatingOf(context: EngineContext, entry: ServiceEntry): ReadonlyMap<string, number> {
  const creating = new Map<string, number>();
  for (const [key, count] of context.creating) {
    if (key.startsWith(`${entry.uid}/`)) creating.set(key.slice(entry.uid.length + 1), count);
  }
  return creating;
}

function inUse(context: EngineContext, entry: ServiceEntry): Set<string> {
  const names = new Set(entry.traffic.keys());
  for (const record of context.records.values()) {
    if (isOwnedBy(record, entry.uid)) names.add(record.owner?.revision ?? '');
  }
  return names;
}

/** A service that backs off is looked at when its time has come, not at some later tick. */
function wakeUpInTime(context: EngineContext, entry: ServiceEntry): void {
  const nowMs = context.clock.nowMs();
  let atMs = Infinity;
  for (const { trouble } of entry.runtimes.values()) {
    if (trouble === undefined) continue;
    // At the first of them the error leaves the routes, at the second a start is tried unasked.
    for (const timeMs of [nextStartMs(trouble, true), trouble.retryAtMs]) {
      if (timeMs > nowMs) atMs = Math.min(atMs, timeMs);
    }
  }
  if (entry.wakeUp?.atMs === atMs) return;
  entry.wakeUp?.cancel();
  entry.wakeUp = undefined;
  if (atMs === Infinity) return;
  const cancel = context.clock.after(atMs - nowMs, () => {
    entry.wakeUp = undefined;
    context.reconcile(entry);
  });
  entry.wakeUp = { atMs, cancel };
}

function isQuiet(context: EngineContext, entry: ServiceEntry, needs: readonly RevisionNeed[]): boolean {
  if (needs.some((need) => need.wanted > 0)) return false;
  for (const record of context.records.values()) if (isOwnedBy(record, entry.uid)) return false;
  return true;
}

/** Keeps the pools at their sizes. */
export function reconcilePools(context: EngineContext): void {
  if (!context.isSynced || context.isStopped) return;
  for (const pool of context.pools.values()) {
    reconcilePool(context, pool);
    const isEmpty = ![...context.records.values()].some((record) => record.pool === pool.key);
    if (pool.isDeleted && isEmpty && !context.creating.has(creatingKey(pool.key))) {
      context.pools.delete(pool.key);
      context.usage.forget(pool.key);
      context.counters.forgetPool(pool.key);
    }
  }
}

function reconcilePool(context: EngineContext, pool: PoolEntry): void {
  const nowMs = context.clock.nowMs();
  const actions = planPool({
    pool: pool.key,
    standbys: pool.size,
    records: context.records.values(),
    quarantine: context.quarantine,
    creating: context.creating.get(creatingKey(pool.key)) ?? 0,
    mayStart: mayStart(pool.trouble, false, nowMs),
    refillDelayMs: context.settings.refillDelayMs,
    refillQuietMs: context.settings.refillQuietMs,
    nowMs,
  });
  for (const action of actions) {
    if (action.do === 'create-standby') {
      createPoolStandby(context, pool.key);
    } else {
      context.logger.info({ replica: action.id, pool: pool.key }, 'a surplus standby is ended');
      changeRecord(context, action.id, { phase: 'removing', sinceMs: nowMs });
      remove(context, action.id, 0);
    }
  }
}

/** Services that want replicas, those that have waited longest first. */
export function reconcileLacking(context: EngineContext): void {
  const nowMs = context.clock.nowMs();
  const waited = (entry: ServiceEntry): number =>
    Math.max(
      0,
      ...(entry.revisions ?? []).map(
        ({ name }) => context.demand.now(demandKey(entry.uid, name), nowMs).oldestQueuedMs,
      ),
    );
  [...context.services.values()]
    .filter((entry) => entry.isLacking)
    .map((entry) => ({ entry, waitedMs: waited(entry) }))
    .sort((left, right) => right.waitedMs - left.waitedMs)
    .forEach(({ entry }) => context.reconcile(entry));
}
