import { toPilotlightError } from '../../contracts/errors.ts';
import { demandKey } from '../core/demand.ts';
import { findRevision } from '../core/revisions.ts';
import { afterCrash, afterFailedStart } from '../core/start-trouble.ts';
import { noteFailedStart } from './claims.ts';
import {
  changeRecord,
  type EngineContext,
  POOL_KEY,
  runtimeOf,
  type ServiceEntry,
} from './engine-context.ts';
import { countsOf } from './persistence.ts';

/** Starts a standby for the pool. */
export function createPoolStandby(context: EngineContext): void {
  count(context, POOL_KEY, 1);
  attempt(() => context.platform.createStandby()).then(
    () => {
      count(context, POOL_KEY, -1);
    },
    (thrown: unknown) => {
      count(context, POOL_KEY, -1);
      notePoolTrouble(context, toPilotlightError(thrown));
    },
  );
}

/** A standby couldn't be started or has died: the next one waits for a while that grows. */
export function notePoolTrouble(
  context: EngineContext,
  failure: { code: string; message: string },
  wasUp = false,
): void {
  const nowMs = context.clock.nowMs();
  context.counters.platformError('standby');
  context.poolTrouble = wasUp
    ? afterCrash(context.poolTrouble, failure.message, nowMs)
    : afterFailedStart(context.poolTrouble, failure, nowMs);
  const { failures, crashes, retryAtMs } = context.poolTrouble;
  context.logger.error({ failures, crashes, reason: failure.message }, 'a standby failed');
  context.poolWakeUp?.();
  context.poolWakeUp = context.clock.after(Math.max(0, retryAtMs - context.clock.nowMs()), () => {
    context.poolWakeUp = undefined;
    context.reconcilePool();
  });
}

/** Starts a standby because this revision wants one now, or a replica of its own that no standby can be. */
export function createFor(
  context: EngineContext,
  entry: ServiceEntry,
  revisionName: string,
  origin: 'standby' | 'runtime' | 'container',
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
    origin === 'standby'
      ? context.platform.createStandby()
      : context.platform.createReplica({
          serviceUid: uid,
          namespace: settings.namespace,
          service: settings.name,
          revision: revisionName,
          origin,
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
      if (origin === 'standby' && changeRecord(context, id, { reservedFor: wanted }) === undefined) {
        context.expected.set(id, wanted);
      }
      context.reconcile(entry);
    },
    (thrown: unknown) => {
      count(context, key, -1);
      const { code, message } = toPilotlightError(thrown);
      context.counters.platformError('create');
      context.logger.error(
        { namespace: settings.namespace, service: settings.name, err: thrown },
        'a replica could not be started',
      );
      noteFailedStart(context, entry, revisionName, { code, message });
      context.reconcile(entry);
    },
  );
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
