import { toPilotlightError } from '../../contracts/errors.ts';
import { demandKey } from '../core/demand.ts';
import { PlatformRefusal } from '../core/platform-refusal.ts';
import { findRevision } from '../core/revisions.ts';
import { afterCrash, afterFailedStart, type StartFailure } from '../core/start-trouble.ts';
import { noteFailedStart } from './claims.ts';
import {
  changeRecord,
  creatingKey,
  type EngineContext,
  runtimeOf,
  type ServiceEntry,
} from './engine-context.ts';
import { countsOf } from './persistence.ts';

/** Starts a standby for a pool. */
export function createPoolStandby(context: EngineContext, pool: string): void {
  const key = creatingKey(pool);
  count(context, key, 1);
  attempt(() => context.platform.createStandby(pool)).then(
    () => {
      count(context, key, -1);
    },
    (thrown: unknown) => {
      count(context, key, -1);
      notePoolTrouble(context, pool, startFailure(thrown));
    },
  );
}

/** A standby couldn't be started or has died: the next one waits for a while that grows. */
export function notePoolTrouble(
  context: EngineContext,
  pool: string,
  failure: StartFailure,
  wasUp = false,
): void {
  const nowMs = context.clock.nowMs();
  context.counters.platformError('standby');
  context.counters.standbyFailed(pool);
  const entry = context.pools.get(pool);
  if (entry === undefined) return;
  entry.trouble = wasUp
    ? afterCrash(entry.trouble, failure.message, nowMs)
    : afterFailedStart(entry.trouble, failure, nowMs);
  const { failures, crashes, retryAtMs } = entry.trouble;
  context.logger.error({ pool, failures, crashes, reason: failure.message }, 'a standby failed');
  entry.wakeUp?.();
  entry.wakeUp = context.clock.after(Math.max(0, retryAtMs - context.clock.nowMs()), () => {
    entry.wakeUp = undefined;
    context.reconcilePool();
  });
}

/** Starts a standby because this revision wants one now, or a replica of its own that no standby can be. */
export function createFor(
  context: EngineContext,
  entry: ServiceEntry,
  revisionName: string,
  as: { origin: 'standby'; pool: string } | { origin: 'runtime' | 'container' },
): void {
  const revision = findRevision(entry.revisions ?? [], revisionName);
  if (revision === undefined) return;
  const { uid, settings } = entry;
  const key = demandKey(uid, revisionName);
  const decidedAtMs = context.clock.nowMs();
  const { queued, oldestQueuedMs } = context.demand.now(key, decidedAtMs);
  // Beside replicas that serve it is a start for more room: no single request waits for just this one.
  const isDemanded = queued > 0 && countsOf(context, entry, revisionName).ready === 0;
  const queuedForMs = isDemanded ? oldestQueuedMs : undefined;
  runtimeOf(entry, revisionName).startingPhase = 'starting a replica';
  count(context, key, 1);
  const started = attempt(() =>
    as.origin === 'standby'
      ? context.platform.createStandby(as.pool)
      : context.platform.createReplica({
          serviceUid: uid,
          namespace: settings.namespace,
          service: settings.name,
          revision: revisionName,
          origin: as.origin,
          spec: revision.resolved.service.spec.predictor,
          env: revision.resolved.env,
        }),
  );
  started.then(
    ({ id }) => {
      count(context, key, -1);
      const wanted = { serviceUid: uid, revision: revisionName };
      context.coldStarts.begin({
        replica: id,
        namespace: settings.namespace,
        service: settings.name,
        serviceUid: uid,
        revision: revisionName,
        via: 'new',
        queuedForMs,
        decidedAtMs,
      });
      context.coldStarts.mark(id, 'scheduled', context.clock.nowMs());
      if (as.origin === 'standby' && changeRecord(context, id, { reservedFor: wanted }) === undefined) {
        context.expected.set(id, wanted);
      }
      context.reconcile(entry);
    },
    (thrown: unknown) => {
      count(context, key, -1);
      context.counters.platformError('create');
      context.logger.error(
        { namespace: settings.namespace, service: settings.name, err: thrown },
        'a replica could not be started',
      );
      noteFailedStart(context, entry, revisionName, startFailure(thrown));
      context.reconcile(entry);
    },
  );
}

/** A refusal in the platform's own words, as people know them from elsewhere; anything else by our codes. */
function startFailure(thrown: unknown): StartFailure {
  if (thrown instanceof PlatformRefusal)
    return { code: thrown.reason, message: thrown.message, isLasting: !thrown.isPassing };
  const { code, message } = toPilotlightError(thrown);
  return { code, message };
}

/** A call that throws before it returns a promise is a failed call like any other. */
async function attempt<Result>(call: () => Promise<Result>): Promise<Result> {
  return await call();
}

function count(context: EngineContext, key: string, change: number): void {
  const now = (context.creating.get(key) ?? 0) + change;
  if (now > 0) context.creating.set(key, now);
  else context.creating.delete(key);
}
