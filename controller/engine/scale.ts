import type { DecisionView } from '../../contracts/console.ts';
import { decide } from '../core/autoscaler/decide.ts';
import type { LoadSample, Observation, ValidDecision } from '../core/autoscaler/decision.ts';
import type { AutoscalerSpec } from '../core/autoscaler/spec.ts';
import { demandKey } from '../core/demand.ts';
import { holdsSlot, isOwnedBy } from '../core/replica-record.ts';
import type { RevisionNeed } from '../core/replicas.ts';
import { targetOf } from '../core/revisions.ts';
import { autoscalerSettings, serviceSettings } from '../core/service-settings.ts';
import { mayStart } from '../core/start-trouble.ts';
import { tagsOf } from '../core/tags.ts';
import type { StoredRevision } from '../ports.ts';
import { mayBeDirect } from './callers.ts';
import {
  type Cause,
  type EngineContext,
  type RevisionRuntime,
  runtimeOf,
  type ServiceEntry,
} from './engine-context.ts';
import { fitOf } from './fit.ts';

/** Decisions that are kept, over all services. */
const MAX_DECISIONS = 1_000;

/** What each revision of a service wants now: the autoscaler's word, and what overrules it. */
export function needsOf(context: EngineContext, entry: ServiceEntry, cause: Cause): RevisionNeed[] {
  const { revisions } = entry;
  if (revisions === undefined || entry.isDeleted) return [];
  const nowMs = context.clock.nowMs();
  const target = targetOf(revisions);
  const tags = tagsOf(revisions, entry.settings.hasTags);
  // Those with the most traffic first: they get the standbys.
  const ordered = [...revisions].sort(
    (left, right) => (entry.traffic.get(right.name) ?? 0) - (entry.traffic.get(left.name) ?? 0),
  );
  return ordered.map((revision) => {
    const runtime = runtimeOf(entry, revision.name);
    const { queued, isUncertain } = context.demand.now(demandKey(entry.uid, revision.name), nowMs);
    const isNeeded =
      revision === target || (entry.traffic.get(revision.name) ?? 0) > 0 || tags.has(revision.name);
    if (!isNeeded) runtime.autoscaler = undefined;
    else if (isAsked(runtime, cause, queued))
      askAutoscaler(context, entry, revision, runtime, isUncertain, cause);
    runtime.wanted = wantedOf(entry, runtime, isNeeded, queued);
    if (nowMs < runtime.adoptedUntilMs && isNeeded && entry.settings.stopped === undefined) {
      runtime.wanted = Math.max(runtime.wanted, slotsOf(context, entry, revision.name));
    }
    return needOf(context, entry, revision, runtime, queued > 0, nowMs);
  });
}

function isAsked(runtime: RevisionRuntime, cause: Cause, queued: number): boolean {
  return cause === 'tick' || runtime.autoscaler === undefined || (cause === 'demand' && queued > 0);
}

function wantedOf(entry: ServiceEntry, runtime: RevisionRuntime, isNeeded: boolean, queued: number): number {
  if (entry.settings.stopped !== undefined) return 0;
  if (isNeeded) return runtime.desired;
  // Requests that were given to it before its traffic went elsewhere still wait for it.
  runtime.desired = 0;
  return queued > 0 ? 1 : 0;
}

function needOf(
  context: EngineContext,
  entry: ServiceEntry,
  revision: StoredRevision,
  runtime: RevisionRuntime,
  hasWaiting: boolean,
  nowMs: number,
): RevisionNeed {
  const { modelUri, origin } = serviceSettings(revision.resolved);
  return {
    revision: revision.name,
    wanted: runtime.wanted,
    mayStart: mayStart(runtime.trouble, hasWaiting, nowMs),
    pools: origin === 'runtime' ? fitOf(context, entry, revision).pools : [],
    origin,
    ...(modelUri !== undefined && { modelUri }),
  };
}

/** Replicas that a revision has, ready or on their way to it. */
export function slotsOf(context: EngineContext, entry: ServiceEntry, revision: string): number {
  let slots = 0;
  for (const record of context.records.values()) {
    if (isOwnedBy(record, entry.uid, revision) && holdsSlot(record)) slots++;
  }
  return slots;
}

function askAutoscaler(
  context: EngineContext,
  entry: ServiceEntry,
  revision: StoredRevision,
  runtime: RevisionRuntime,
  isUncertain: boolean,
  cause: Cause,
): void {
  const nowMs = context.clock.nowMs();
  const observed = observe(context, entry, revision.name, runtime, isUncertain, nowMs);
  const settings = scalingOf(entry, revision, runtime);
  const decision = decide(
    runtime.autoscaler,
    observed,
    // Where callers can't do without it, an activator is always in the path: its grace on the way to zero is over then.
    mayBeDirect(context, entry) ? settings : { ...settings, targetBurstCapacity: -1 },
    nowMs,
  );
  runtime.autoscaler = decision.state;
  runtime.lastDecision = decision;
  // "Don't know" holds what there is.
  const held = Math.max(runtime.desired, observed.readyReplicas ?? 0);
  const desired = decision.valid ? decision.desired : held;
  if (cause !== 'tick' && desired < runtime.desired) return;
  if (decision.valid && desired !== runtime.desired) {
    keepDecision(context, entry, revision.name, runtime.desired, decision);
  }
  runtime.desired = desired;
}

/** A revision that can be called by its tag alone has no replicas but for those calls. */
function scalingOf(
  entry: ServiceEntry,
  revision: StoredRevision,
  { capacity }: RevisionRuntime,
): AutoscalerSpec {
  const settings = autoscalerSettings(entry.resolved, capacity);
  const isByTagAlone =
    revision !== targetOf(entry.revisions ?? []) && (entry.traffic.get(revision.name) ?? 0) === 0;
  return isByTagAlone ? { ...settings, minReplicas: 0, initialScale: 0 } : settings;
}

function observe(
  context: EngineContext,
  entry: ServiceEntry,
  revision: string,
  runtime: RevisionRuntime,
  isUncertain: boolean,
  nowMs: number,
): Observation {
  const key = demandKey(entry.uid, revision);
  const { queued, inFlight } = context.demand.now(key, nowMs);
  let readyReplicas = 0;
  let startingReplicas = 0;
  for (const replica of context.records.values()) {
    if (!isOwnedBy(replica, entry.uid, revision)) continue;
    if (replica.phase === 'ready') readyReplicas++;
    else if (holdsSlot(replica)) startingReplicas++;
  }
  return {
    samples: [...context.demand.takeSamples(key), ...zeros(runtime, isUncertain, nowMs)],
    readyReplicas,
    startingReplicas,
    queuedNow: queued,
    inFlightNow: inFlight,
    activatorProved: context.subscribers.size > 0,
    initialised: runtime.wasInitialised,
  };
}

/**
 * Sources say nothing while they have no requests, so silence is a load of zero: a sample that adds nothing to
 * what they report and covers the time. It is withheld while one that had requests has gone silent.
 */
function zeros(runtime: RevisionRuntime, isUncertain: boolean, nowMs: number): LoadSample[] {
  const sinceMs = runtime.zerosUntilMs;
  if (isUncertain) return [];
  runtime.zerosUntilMs = nowMs;
  if (sinceMs === 0 || nowMs <= sinceMs) return [];
  return [{ atMs: nowMs, intervalMs: nowMs - sinceMs, concurrency: 0, requestsPerSecond: 0 }];
}

function keepDecision(
  context: EngineContext,
  entry: ServiceEntry,
  revision: string,
  from: number,
  decision: ValidDecision,
): void {
  const view: DecisionView = {
    atMs: context.clock.nowMs(),
    namespace: entry.settings.namespace,
    service: entry.settings.name,
    revision,
    from,
    to: decision.desired,
    mode: decision.mode,
    reason: decision.reason,
    reasonCode: decision.reasonCode,
  };
  entry.lastChange = view;
  context.decisions.push(view);
  if (context.decisions.length > MAX_DECISIONS) context.decisions.splice(0, MAX_DECISIONS / 10);
  context.counters.decision(entry, decision.reasonCode);
  const { namespace, service, to, reason, reasonCode } = view;
  context.logger.info({ namespace, service, revision, from, to, reason, reasonCode }, 'scaling decision');
  const verb = to > from ? 'ScaledUp' : 'ScaledDown';
  context.platform.recordEvent(entry.uid, {
    type: 'Normal',
    reason: verb,
    message: `${revision} from ${from} to ${to}: ${reason}`,
  });
}
