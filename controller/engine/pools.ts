import type { StandbyPool } from '../ports.ts';
import type { EngineContext } from './engine-context.ts';

/** A pool is there, or says something else than before: what fits it may have changed as well. */
export function poolApplied(context: EngineContext, { key, size }: StandbyPool): void {
  const known = context.pools.get(key);
  if (known === undefined) {
    context.pools.set(key, { key, size, isDeleted: false, trouble: undefined, wakeUp: undefined });
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
