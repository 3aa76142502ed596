import { poolReports } from '../core/pool-report.ts';
import type { StandbyPool } from '../ports.ts';
import { creatingKey, type EngineContext } from './engine-context.ts';

/** A pool is there, or says something else than before: what fits it may have changed as well. */
export function poolApplied(context: EngineContext, { key, size }: StandbyPool): void {
  const known = context.pools.get(key);
  if (known === undefined) {
    const entry = { key, size, isDeleted: false, trouble: undefined, wakeUp: undefined, reported: undefined };
    context.pools.set(key, entry);
  } else {
    // Changed settings are a reason to try again.
    known.wakeUp?.();
    Object.assign(known, { size, isDeleted: false, trouble: undefined, wakeUp: undefined });
  }
  lookAgain(context);
}

/** Nothing is started for it any more; its standbys go, those that serve when they are done. */
export function poolDeleted(context: EngineContext, key: string): void {
  const known = context.pools.get(key);
  if (known === undefined) return;
  known.wakeUp?.();
  Object.assign(known, { size: 0, isDeleted: true, wakeUp: undefined });
  lookAgain(context);
}

function lookAgain(context: EngineContext): void {
  if (!context.isSynced) return;
  for (const entry of context.services.values()) context.reconcile(entry);
  context.reconcilePool();
}

/** Tells the platform how each pool stands, where that has changed. */
export function reportPools(context: EngineContext): void {
  const { platform, pools, records, quarantine, creating } = context;
  if (platform.reportPool === undefined || !context.isSynced || context.isStopped) return;
  const reports = poolReports({
    pools: pools.values(),
    records: records.values(),
    quarantine,
    creating: (pool) => creating.get(creatingKey(pool)) ?? 0,
    nowMs: context.clock.nowMs(),
  });
  for (const [key, report] of reports) {
    const entry = pools.get(key);
    const text = JSON.stringify(report);
    if (entry === undefined || entry.reported === text) continue;
    entry.reported = text;
    platform.reportPool(key, report);
  }
}
