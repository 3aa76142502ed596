import { ROUTES_SILENCE_MS } from '../../contracts/routes.ts';
import { isOnItsWayOut, newRecord, observe, type ReplicaRecord } from '../core/replica-record.ts';
import { findRevision, markReady } from '../core/revisions.ts';
import { afterCrash, afterReady } from '../core/start-trouble.ts';
import type { ObservedReplica } from '../ports.ts';
import { countAdminCall } from './admin-calls.ts';
import { mayBeDirect } from './callers.ts';
import { claim, countColdStart, noteFailedStart, specialiseRequest } from './claims.ts';
import { notePoolTrouble } from './creation.ts';
import { dispose, leave, remove } from './departures.ts';
import { changeRecord, type EngineContext, runtimeOf, type ServiceEntry } from './engine-context.ts';
import { publishRoute } from './publish.ts';

/** Activators notice within 7 s that their stream has ended, come back and report their demand. */
const ADOPTED_HOLD_MS = ROUTES_SILENCE_MS + 3_000;

/** Takes in what the platform sees of a replica, known or not. */
export function replicaChanged(context: EngineContext, observed: ObservedReplica): void {
  if (!context.isSynced) {
    context.unsorted.set(observed.id, observed);
    return;
  }
  const record = context.records.get(observed.id);
  if (record === undefined) {
    adopt(context, observed);
    return;
  }
  const changed = observe(record, observed);
  context.records.set(observed.id, changed);
  afterObservation(context, record, changed, observed);
  if (JSON.stringify(record.waitsFor) === JSON.stringify(changed.waitsFor)) return;
  // Callers and conditions are to say what the start waits for, or that it goes on.
  const entry = context.services.get((changed.owner ?? changed.reservedFor)?.serviceUid ?? '');
  if (entry !== undefined) context.reconcile(entry);
  else context.reconcilePool();
}

/**
 * Sorts a replica that this controller has not started, or not seen yet: claims of known revisions survive a
 * restart of the controller, what nobody knows goes back to the pool or ends.
 */
export function adopt(context: EngineContext, observed: ObservedReplica): void {
  const { claim: held, state } = observed;
  if (held === undefined) {
    const fresh = newRecord(observed);
    const reservedFor = context.expected.get(observed.id);
    context.expected.delete(observed.id);
    const record = reservedFor === undefined ? fresh : { ...fresh, reservedFor };
    context.records.set(observed.id, record);
    const isOrphan = record.owner !== undefined && !isKnown(context, record.owner);
    if (isOrphan) leave(context, record, 'orphan');
    else afterObservation(context, { ...record, phase: 'starting' }, record, observed);
    return;
  }
  const owner = { serviceUid: held.serviceUid, revision: held.revision };
  const entry = context.services.get(held.serviceUid);
  const record: ReplicaRecord = {
    ...newRecord(observed),
    owner,
    claimId: held.claimId,
    phase: state === 'ready' ? 'ready' : 'claiming',
  };
  context.records.set(observed.id, record);
  const fields = { replica: observed.id, service: held.serviceUid, revision: held.revision, state };
  if (entry === undefined || !isKnown(context, owner) || state === 'draining' || state === 'failed') {
    context.logger.info(fields, 'a replica with a claim of nobody is taken back');
    if (state === 'ready') leave(context, record, 'orphan');
    else dispose(context, record, { mayRecycle: state === 'failed' });
    return;
  }
  context.logger.info(fields, 'a replica of an earlier controller is adopted');
  runtimeOf(entry, held.revision).adoptedUntilMs = context.clock.nowMs() + ADOPTED_HOLD_MS;
  if (state === 'ready' && observed.capacity !== undefined) adoptReady(context, entry, record);
  else claim(context, entry, record, held.revision, { claimId: held.claimId });
}

/** It serves at once; that there is a newer controller, and where to push stats, it is told beside that. */
function adoptReady(context: EngineContext, entry: ServiceEntry, record: ReplicaRecord): void {
  const { owner, claimId = '', id, capacity } = record;
  if (owner === undefined || entry.revisions === undefined) return;
  entry.revisions = markReady(entry.revisions, owner.revision, undefined);
  runtimeOf(entry, owner.revision).capacity = capacity;
  const revision = findRevision(entry.revisions, owner.revision);
  if (revision === undefined) return;
  // The controller before may have led callers to it; the same claim again has it send them away.
  const lingersUntilMs = context.clock.nowMs() + context.settings.directLingerMs;
  if (mayBeDirect(context, entry)) entry.lingering.set(id, lingersUntilMs);
  const request = specialiseRequest(context, entry, revision, claimId, false);
  const taken = context.platform.specialise(id, request, () => undefined);
  countAdminCall(context, 'specialise', taken);
  taken.catch((error: unknown) => {
    context.counters.platformError('specialise');
    context.logger.warn({ replica: id, err: error }, 'an adopted replica did not take up its claim');
  });
}

function isKnown(context: EngineContext, owner: { serviceUid: string; revision: string }): boolean {
  const entry = context.services.get(owner.serviceUid);
  return (
    entry !== undefined &&
    !entry.isDeleted &&
    findRevision(entry.revisions ?? [], owner.revision) !== undefined
  );
}

function afterObservation(
  context: EngineContext,
  before: ReplicaRecord,
  now: ReplicaRecord,
  observed: ObservedReplica,
): void {
  const entry = context.services.get(now.owner?.serviceUid ?? '');
  if (observed.state === 'failed' && now.phase !== 'claiming' && !isOnItsWayOut(now)) {
    const failure = observed.failure ?? { code: 'replica-failed', message: 'the process failed' };
    changeRecord(context, now.id, { phase: 'removing' });
    remove(context, now.id, 0);
    lost(context, now, failure);
  } else if (observed.state === 'draining' && now.phase === 'ready') {
    // Somebody else ends it: a signal, a node that is being emptied.
    leave(context, now, 'ended from outside');
    if (entry !== undefined) context.reconcile(entry);
  } else if (observed.state === 'draining' && now.phase === 'standby') {
    // Its node takes no new pods, or is being emptied: another standby elsewhere takes its place.
    leave(context, now, 'ended from outside');
    context.reconcilePool();
  } else if (before.phase === 'starting' && now.phase !== 'starting') {
    cameUp(context, now, entry);
  } else if (now.phase === 'ready' && now.origin === 'container' && observed.state === 'starting') {
    // Its readiness is gone for now; it is out of the routes until it comes back.
    changeRecord(context, now.id, { phase: 'starting' });
    if (entry !== undefined) context.reconcile(entry);
  } else if (now.phase === 'ready' && entry !== undefined && before.address !== now.address) {
    publishRoute(context, entry);
  }
}

function cameUp(context: EngineContext, record: ReplicaRecord, entry: ServiceEntry | undefined): void {
  const nowMs = context.clock.nowMs();
  context.coldStarts.mark(record.id, 'started', nowMs);
  const pool = context.pools.get(record.pool ?? '');
  if (pool !== undefined) pool.trouble = afterReady(pool.trouble, nowMs);
  noteRecycled(context, record, nowMs);
  if (record.phase === 'ready' && entry?.revisions !== undefined) {
    // A container of the user's own: that it answers is all that there is to know.
    const revision = record.owner?.revision ?? '';
    entry.revisions = markReady(entry.revisions, revision, undefined);
    const runtime = runtimeOf(entry, revision);
    runtime.trouble = undefined;
    runtime.startingPhase = undefined;
    publishRoute(context, entry);
    if (context.coldStarts.routed(record.id, context.clock.nowMs()))
      countColdStart(context, entry, record.id);
  }
  const wanting = entry ?? context.services.get(record.reservedFor?.serviceUid ?? '');
  if (wanting !== undefined) context.reconcile(wanting);
  context.reconcilePool();
}

function noteRecycled(context: EngineContext, { id, host, pool }: ReplicaRecord, nowMs: number): void {
  const askedAtMs = context.recycles.get(host);
  if (askedAtMs === undefined || pool === undefined) return;
  context.recycles.delete(host);
  const elapsedMs = nowMs - askedAtMs;
  context.counters.recycled(pool, elapsedMs);
  context.logger.info({ replica: id, elapsedMs }, 'a replica that had served is a standby again');
}

/** A replica is gone, on purpose or not. */
export function replicaGone(context: EngineContext, id: string, reason: string): void {
  context.unsorted.delete(id);
  context.expected.delete(id);
  const record = context.records.get(id);
  if (record === undefined) return;
  context.records.delete(id);
  if (reason !== 'recycled') context.recycles.delete(record.host);
  const entry = context.services.get(record.owner?.serviceUid ?? record.reservedFor?.serviceUid ?? '');
  if (isOnItsWayOut(record)) {
    if (entry !== undefined) context.reconcile(entry);
    context.reconcilePool();
    return;
  }
  const { host } = record;
  context.logger.warn({ replica: id, host, phase: record.phase, reason }, 'a replica is gone');
  lost(context, record, { code: 'replica-failed', message: `the replica ${reason}` });
}

/** Draws the conclusions from a replica that nobody wanted to end. */
function lost(
  context: EngineContext,
  record: ReplicaRecord,
  failure: { code: string; message: string },
): void {
  const owner = record.owner ?? record.reservedFor;
  const entry = context.services.get(owner?.serviceUid ?? '');
  context.coldStarts.fail(record.id, `${failure.code}: ${failure.message}`);
  if (record.claimId !== undefined) context.demand.forgetClaim(record.claimId);
  if (owner === undefined || entry === undefined) {
    notePoolTrouble(context, record.pool ?? '', failure, record.phase === 'standby');
  } else if (record.phase === 'ready') {
    const runtime = runtimeOf(entry, owner.revision);
    runtime.trouble = afterCrash(runtime.trouble, failure.message, context.clock.nowMs());
    context.counters.crash(entry);
    const message = `${record.id} of ${owner.revision}: ${failure.message}`;
    context.platform.recordEvent(entry.uid, { type: 'Warning', reason: 'ReplicaCrashed', message });
  } else {
    noteFailedStart(context, entry, owner.revision, failure);
  }
  if (entry !== undefined) {
    publishRoute(context, entry);
    context.reconcile(entry);
  }
  context.reconcilePool();
}
