import { holdsSlot, isOnItsWayOut, isOwnedBy, type ReplicaRecord } from '../core/replica-record.ts';
import { targetOf } from '../core/revisions.ts';
import { type ReplicaCounts, serviceStatus } from '../core/status.ts';
import type { StoredRevision } from '../ports.ts';
import type { EngineContext, ServiceEntry } from './engine-context.ts';
import { fitOf } from './fit.ts';

/** A write that failed is tried again after this long, with what then is to be written. */
const RETRY_MS = 2_000;

/** Keeps the revisions when they have changed. Credentials aren't part of what is kept. */
export function queueSave(context: EngineContext, entry: ServiceEntry): void {
  const { revisions } = entry;
  if (revisions === undefined || revisions === entry.savedRevisions || entry.isDeleted) return;
  entry.savedRevisions = revisions;
  context.queue
    .run(entry.uid, async () => {
      // Later changes that came while this one waited have a save of their own behind it.
      if (entry.savedRevisions === revisions) {
        await context.platform.saveRevisions(entry.uid, revisions.map(withoutCredentials));
      }
    })
    .catch((error: unknown) => {
      problem(context, entry, 'saveRevisions', error);
      if (entry.savedRevisions === revisions) entry.savedRevisions = undefined;
      context.clock.after(RETRY_MS, () => context.reconcile(entry));
    });
}

function withoutCredentials(revision: StoredRevision): StoredRevision {
  const { access: _credentials, ...resolved } = revision.resolved;
  return { ...revision, resolved };
}

/** Writes the status when it says something else than before; writes of one service never overtake each other. */
export function queueStatus(context: EngineContext, entry: ServiceEntry): void {
  if (entry.isDeleted || entry.revisions === undefined) return;
  entry.status = serviceStatus(
    {
      generation: entry.resolved.generation,
      url: entry.url,
      initialScale: entry.settings.initialScale,
      hasTags: entry.settings.hasTags,
      stopped: entry.settings.stopped,
      invalid: entry.invalid,
      revisions: entry.revisions,
      traffic: entry.traffic,
      counts: (revision) => countsOf(context, entry, revision),
      trouble: (revision) => entry.runtimes.get(revision)?.trouble,
      waitsFor: (revision) => waitsForOf(context, entry, revision),
      misfits: misfitsOf(context, entry),
      warnings: entry.resolved.warnings,
      scaling: scalingOf(entry),
      lastColdStart:
        entry.lastColdStartReplica === undefined
          ? undefined
          : context.coldStarts.get(entry.lastColdStartReplica),
      platformProblem: entry.platformProblem,
    },
    entry.status,
    context.clock.nowMs(),
  );
  const text = JSON.stringify(entry.status);
  if (text === entry.writtenStatus || entry.isStatusQueued) return;
  entry.isStatusQueued = true;
  const { statusPauseMs } = context.settings;
  const isAwaited = context.coldStarts.isAwaited(entry.uid, context.clock.nowMs() - statusPauseMs);
  if (isAwaited) context.clock.after(statusPauseMs, () => writeStatus(context, entry));
  else writeStatus(context, entry);
}

function writeStatus(context: EngineContext, entry: ServiceEntry): void {
  if (context.isStopped) return;
  context.queue
    .run(entry.uid, async () => {
      entry.isStatusQueued = false;
      const { status } = entry;
      if (status === undefined || entry.isDeleted) return;
      entry.writtenStatus = JSON.stringify(status);
      await context.platform.writeStatus(entry.uid, status);
    })
    .catch((error: unknown) => {
      problem(context, entry, 'writeStatus', error);
      entry.writtenStatus = undefined;
      context.clock.after(RETRY_MS, () => queueStatus(context, entry));
    });
}

function problem(
  context: EngineContext,
  entry: ServiceEntry,
  operation: 'saveRevisions' | 'writeStatus',
  error: unknown,
): void {
  context.counters.platformError(operation);
  const { namespace, name } = entry.settings;
  context.logger.error({ namespace, service: name, operation, err: error }, 'the platform refused a write');
}

/** Replicas of one revision, by where they are. */
export function countsOf(context: EngineContext, entry: ServiceEntry, revision: string): ReplicaCounts {
  let ready = 0;
  let starting = 0;
  let draining = 0;
  for (const record of context.records.values()) {
    const isReservation =
      record.reservedFor?.serviceUid === entry.uid && record.reservedFor.revision === revision;
    if (isReservation) starting++;
    if (!isOwnedBy(record, entry.uid, revision)) continue;
    if (record.phase === 'ready') ready++;
    else if (isOnItsWayOut(record)) draining++;
    else if (holdsSlot(record)) starting++;
  }
  starting += context.creating.get(`${entry.uid}/${revision}`) ?? 0;
  return { wanted: entry.runtimes.get(revision)?.wanted ?? 0, ready, starting, draining };
}

/** What keeps a replica of the revision from starting, told of the one that has waited longest. */
export function waitsForOf(
  context: EngineContext,
  entry: ServiceEntry,
  revision: string,
): ReplicaRecord['waitsFor'] {
  let longest: ReplicaRecord | undefined;
  for (const record of context.records.values()) {
    const owner = record.owner ?? record.reservedFor;
    if (record.waitsFor === undefined || isOnItsWayOut(record)) continue;
    if (owner?.serviceUid !== entry.uid || owner.revision !== revision) continue;
    if (longest === undefined || record.sinceMs < longest.sinceMs) longest = record;
  }
  return longest?.waitsFor;
}

function misfitsOf(context: EngineContext, entry: ServiceEntry): readonly string[] | undefined {
  const target = targetOf(entry.revisions ?? []);
  if (target === undefined) return undefined;
  return fitOf(context, entry, target).misfits;
}

function scalingOf(entry: ServiceEntry) {
  const { lastChange } = entry;
  if (lastChange === undefined) return undefined;
  const { reason, atMs, revision } = lastChange;
  const inPanic = entry.runtimes.get(revision)?.autoscaler?.panic !== undefined;
  const path: 'direct' | 'proxied' = entry.direct.isDirect ? 'direct' : 'proxied';
  return { reason, path, atMs, inPanic };
}
