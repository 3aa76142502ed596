import type {
  ParityOrder,
  SpecialiseEvent,
  SpecialiseRequest,
  TransformOrder,
} from '../../contracts/admin.ts';
import type { ColdStart } from '../../contracts/cold-start.ts';
import { PilotlightError, toPilotlightError } from '../../contracts/errors.ts';
import { executionOf } from '../../crds/execution.ts';
import type { ParitySpec } from '../../crds/parity.ts';
import type { TransformSpec } from '../../crds/transform.ts';
import { coldStartSentence } from '../core/cold-starts.ts';
import { demandKey } from '../core/demand.ts';
import { holdsSlot, isOwnedBy, type ReplicaRecord } from '../core/replica-record.ts';
import { findRevision, forgetIdentity, markFailed, markReady } from '../core/revisions.ts';
import { serviceSettings } from '../core/service-settings.ts';
import { afterFailedStart, afterReady, type StartFailure } from '../core/start-trouble.ts';
import { transformProblem } from '../core/user-code.ts';
import type { ResolvedService, StoredRevision } from '../ports.ts';
import { countAdminCall } from './admin-calls.ts';
import { claimToken } from './claim-token.ts';
import { dispose } from './departures.ts';
import { changeRecord, type EngineContext, runtimeOf, type ServiceEntry } from './engine-context.ts';
import { publishRoute } from './publish.ts';

/** What a start hangs in after each event, as a caller whose wait timed out is told. */
const PHASE_AFTER: Record<'claimed' | 'fetched' | 'created' | 'warmed', string> = {
  claimed: 'fetching the model',
  fetched: 'loading the model',
  created: 'warming up the model',
  warmed: 'about to be ready',
};

/**
 * Has a replica take the model of a revision. The call goes out in this very turn. A repeated claim with the
 * id of an earlier one (after a restart of the controller) takes up where that one is.
 */
export function claim(
  context: EngineContext,
  entry: ServiceEntry,
  record: ReplicaRecord,
  revisionName: string,
  earlier?: { claimId: string },
): void {
  const revision = findRevision(entry.revisions ?? [], revisionName);
  if (revision === undefined) return;
  const nowMs = context.clock.nowMs();
  const claimId = earlier?.claimId ?? context.newId();
  const { queued, oldestQueuedMs } = context.demand.now(demandKey(entry.uid, revisionName), nowMs);
  const isDemanded = queued > 0 && !hasReady(context, entry, revisionName);
  changeRecord(context, record.id, {
    phase: 'claiming',
    owner: { serviceUid: entry.uid, revision: revisionName },
    claimId,
    reservedFor: undefined,
    sinceMs: nowMs,
  });
  if (earlier === undefined && !context.coldStarts.has(record.id)) {
    context.coldStarts.begin({
      replica: record.id,
      namespace: entry.settings.namespace,
      service: entry.settings.name,
      serviceUid: entry.uid,
      revision: revisionName,
      via: record.origin === 'standby' ? 'standby' : 'new',
      queuedForMs: isDemanded ? oldestQueuedMs : undefined,
      decidedAtMs: nowMs,
    });
  }
  const runtime = runtimeOf(entry, revisionName);
  runtime.startingPhase = 'claiming a standby';
  const request = specialiseRequest(context, entry, revision, claimId, isDemanded);
  const onEvent = (event: SpecialiseEvent): void => onProgress(context, entry, record.id, claimId, event);
  let outcome: Promise<SpecialiseEvent>;
  try {
    refuseForbiddenCode(context, revision);
    outcome = context.platform.specialise(record.id, request, onEvent);
  } catch (error) {
    outcome = Promise.reject(toPilotlightError(error));
  }
  countAdminCall(context, 'specialise', outcome);
  outcome.then(onEvent, (thrown: unknown) => {
    const { code, message } = toPilotlightError(thrown);
    failed(context, entry, record.id, claimId, { code, message, isRuntimeAlive: false });
  });
}

/** A revision of before may have code that the operator allows no more. @throws PilotlightError `transform-forbidden` */
function refuseForbiddenCode({ settings }: EngineContext, { resolved }: StoredRevision): void {
  const problem = transformProblem(resolved.service, settings.allowTransforms, 'its configuration');
  if (problem !== undefined) {
    throw new PilotlightError('transform-forbidden', `${problem.path}: ${problem.message}`);
  }
}

function hasReady(context: EngineContext, entry: ServiceEntry, revision: string): boolean {
  for (const record of context.records.values()) {
    if (record.phase === 'ready' && isOwnedBy(record, entry.uid, revision)) return true;
  }
  return false;
}

/** The request for a claim, from the revision as it was stored and the service's present credentials. */
export function specialiseRequest(
  context: EngineContext,
  entry: ServiceEntry,
  revision: StoredRevision,
  claimId: string,
  isDemanded: boolean,
): SpecialiseRequest {
  const { platform, settings } = context;
  const { resolved, identity } = revision;
  const own = serviceSettings(resolved);
  const { containerConcurrency, batcher, model } = resolved.service.spec.predictor;
  const { transform, imageInput, labels, parity } = model ?? {};
  const execution = model && executionOf(model);
  const { instances, threadsPerInstance, sha256 } = own.runtime;
  const access = accessTo(resolved, entry.resolved);
  return {
    claimId,
    epoch: platform.epoch,
    service: { namespace: entry.settings.namespace, name: entry.settings.name, uid: entry.uid },
    revision: revision.name,
    model: {
      name: own.models[0] ?? entry.settings.name,
      uri: own.modelUri ?? '',
      ...(identity !== undefined && { identity }),
      ...(sha256 !== undefined && { sha256 }),
      ...(access !== undefined && { access }),
      ...(transform !== undefined && { transform: transformOrder(transform) }),
      ...(imageInput !== undefined && { image: imageInput }),
      ...(labels !== undefined && { labels: { ...labels, file: { path: labels.file } } }),
      ...(parity !== undefined && { parity: parityOrder(parity, revision) }),
    },
    serving: {
      ...(containerConcurrency > 0 && { containerConcurrency }),
      ...(instances !== undefined && { instances }),
      ...(threadsPerInstance !== undefined && { threadsPerInstance }),
      ...(execution !== undefined && { execution }),
      ...(batcher !== undefined && {
        batching: { maxBatchSize: batcher.maxBatchSize, maxLatencyMs: batcher.maxLatency },
      }),
      requestTimeoutMs: entry.settings.requestTimeoutMs,
    },
    startTimeoutMs: entry.settings.startTimeoutMs,
    warmUp: isDemanded ? 'request' : 'run',
    stats: { url: settings.statsUrl(), token: claimToken(settings.tokenSecret, claimId) },
  };
}

/** What was loaded once and is the same by its identity was compared then. */
function parityOrder(
  { against, samples, tolerancePercent, agreementPercent }: ParitySpec,
  { everReady, identity }: StoredRevision,
): ParityOrder {
  return {
    against,
    ...(samples !== undefined && { samples: { path: samples } }),
    tolerance: tolerancePercent / 100,
    ...(agreementPercent !== undefined && { agreement: agreementPercent / 100 }),
    isPassed: everReady && identity !== undefined,
  };
}

function transformOrder({ module, sha256, timeout, memory }: TransformSpec): TransformOrder {
  return {
    module: { path: module, ...(sha256 !== undefined && { sha256: sha256.toLowerCase() }) },
    timeoutMs: timeout,
    memoryBytes: Math.floor(memory),
  };
}

/** Present credentials, unless the revision's model lies elsewhere: there its own were good. */
function accessTo(revised: ResolvedService, present: ResolvedService): ResolvedService['access'] {
  return revised.modelUri === present.modelUri ? present.access : (revised.access ?? present.access);
}

function onProgress(
  context: EngineContext,
  entry: ServiceEntry,
  id: string,
  claimId: string,
  event: SpecialiseEvent,
): void {
  const record = context.records.get(id);
  // The replica was given up meanwhile, or this is the last event for the second time.
  if (record?.claimId !== claimId || record.phase !== 'claiming') return;
  context.coldStarts.event(id, event, context.clock.nowMs());
  if (event.event === 'ready') {
    if (event.parity !== undefined) {
      const message = `${record.owner?.revision ?? ''}: ${event.parity}`;
      context.platform.recordEvent(entry.uid, { type: 'Normal', reason: 'ParityVerified', message });
    }
    ready(context, entry, record, event.capacity);
  } else if (event.event === 'failed') {
    failed(context, entry, id, claimId, { ...event, isRuntimeAlive: true });
  } else {
    const revision = record.owner?.revision ?? '';
    runtimeOf(entry, revision).startingPhase = PHASE_AFTER[event.event];
    if (event.event === 'fetched') runtimeOf(entry, revision).weightsBytes = event.sizeBytes;
    if (event.event === 'fetched' && entry.revisions !== undefined) {
      const known = findRevision(entry.revisions, revision);
      // Kept from the first load on; a cached start then asks no store. It counts once the model has loaded.
      if (known !== undefined && known.identity === undefined) {
        context.pendingIdentities.set(claimId, event.identity);
      }
    }
    publishRoute(context, entry);
  }
}

function ready(context: EngineContext, entry: ServiceEntry, record: ReplicaRecord, capacity: number): void {
  const nowMs = context.clock.nowMs();
  const revision = record.owner?.revision ?? '';
  changeRecord(context, record.id, { phase: 'ready', capacity, sinceMs: nowMs });
  const runtime = runtimeOf(entry, revision);
  runtime.capacity = capacity;
  runtime.trouble = afterReady(runtime.trouble, nowMs);
  if (entry.revisions !== undefined) {
    const identity = context.pendingIdentities.get(record.claimId ?? '');
    entry.revisions = markReady(entry.revisions, revision, identity);
  }
  context.pendingIdentities.delete(record.claimId ?? '');
  if (!isAnyStarting(context, entry, revision)) runtime.startingPhase = undefined;
  publishRoute(context, entry);
  context.coldStarts.routed(record.id, context.clock.nowMs());
  countColdStart(context, entry, record.id);
  context.logger.info(
    {
      namespace: entry.settings.namespace,
      service: entry.settings.name,
      revision,
      replica: record.id,
      capacity,
      startMs: Math.round(context.coldStarts.get(record.id)?.totalMs ?? nowMs - record.sinceMs),
    },
    'replica ready',
  );
  context.reconcile(entry);
  context.clock.after(context.settings.refillQuietMs, () => {
    context.reconcilePool();
  });
}

/** Phases go to the metrics as they become known: those up to `routed` here, the answer when it is told. */
export function countColdStart(context: EngineContext, entry: ServiceEntry, replica: string): void {
  const start = context.coldStarts.get(replica);
  if (start === undefined) return;
  entry.lastColdStartReplica = replica;
  const { answered } = start.phasesMs;
  const isOver = !start.demanded || answered !== undefined;
  const phases = answered === undefined ? start.phasesMs : { answered };
  context.counters.coldStart(
    entry,
    { ...phases, ...(isOver && { total: start.totalMs }) },
    { via: start.via, model: modelOf(start), waited: start.demanded },
  );
  if (!isOver) return;
  const message = `${start.revision}: ${coldStartSentence(start)}`;
  context.platform.recordEvent(entry.uid, { type: 'Normal', reason: 'ColdStart', message });
}

function modelOf({ cached, phasesMs }: ColdStart): 'cached' | 'fetched' | 'none' {
  if (phasesMs.fetched === undefined) return 'none';
  return cached ? 'cached' : 'fetched';
}

interface ClaimFailure {
  code: string;
  message: string;
  /** The runtime itself reported it, so its process can be used again. */
  isRuntimeAlive: boolean;
}

function failed(
  context: EngineContext,
  entry: ServiceEntry,
  id: string,
  claimId: string,
  failure: ClaimFailure,
): void {
  const record = context.records.get(id);
  if (record?.claimId !== claimId || record.phase !== 'claiming') return;
  const { code, message, isRuntimeAlive } = failure;
  const revision = record.owner?.revision ?? '';
  context.pendingIdentities.delete(claimId);
  context.coldStarts.fail(id, `${code}: ${message}`);
  const fields = { namespace: entry.settings.namespace, service: entry.settings.name, revision, replica: id };
  context.logger.warn({ ...fields, code, reason: message }, 'replica failed to start');
  changeRecord(context, id, { phase: 'removing' });
  // Before the replica goes, whose going has the service looked at: it must know by then not to try at once.
  // A standby that somebody else holds says nothing about this revision; another one is tried.
  const isAnotherTry =
    code === 'claim-conflict' || (code === 'model-changed' && tookNewModel(context, entry, revision));
  if (!isAnotherTry) noteFailedStart(context, entry, revision, { code, message });
  dispose(context, record, { mayRecycle: isRuntimeAlive });
  context.reconcile(entry);
  context.reconcilePool();
}

/**
 * A model file was overwritten where it lay. While replicas serve the old one a revision must not serve two
 * models; when none does, the next start takes what is there.
 *
 * @returns whether a next start may go otherwise.
 */
function tookNewModel(context: EngineContext, entry: ServiceEntry, revision: string): boolean {
  if (entry.revisions === undefined || hasReady(context, entry, revision)) return false;
  const revisions = forgetIdentity(entry.revisions, revision);
  if (revisions === entry.revisions) return false;
  entry.revisions = revisions;
  runtimeOf(entry, revision).weightsBytes = undefined;
  const message = `${revision}: the model at its URI is another one than before and is taken from now on`;
  context.platform.recordEvent(entry.uid, { type: 'Warning', reason: 'ModelChanged', message });
  return true;
}

/** Counts a failed start of a revision, and marks the revision failed when that is what it is. */
export function noteFailedStart(
  context: EngineContext,
  entry: ServiceEntry,
  revision: string,
  failure: StartFailure,
): void {
  const nowMs = context.clock.nowMs();
  const runtime = runtimeOf(entry, revision);
  const { code, message } = failure;
  const wasFailed = runtime.trouble?.isFailed === true;
  runtime.trouble = afterFailedStart(runtime.trouble, failure, nowMs);
  if (!isAnyStarting(context, entry, revision)) runtime.startingPhase = undefined;
  context.counters.failedStart(entry, code);
  if (!runtime.trouble.isFailed || entry.revisions === undefined) return;
  entry.revisions = markFailed(entry.revisions, revision, { code, message, atMs: nowMs });
  if (!wasFailed) {
    const text = `${revision}: ${code}: ${message}`;
    context.platform.recordEvent(entry.uid, { type: 'Warning', reason: 'LoadFailed', message: text });
  }
}

function isAnyStarting(context: EngineContext, entry: ServiceEntry, revision: string): boolean {
  for (const record of context.records.values()) {
    if (isOwnedBy(record, entry.uid, revision) && holdsSlot(record) && record.phase !== 'ready') return true;
  }
  return false;
}
