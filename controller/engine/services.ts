import { createHash } from 'node:crypto';
import { canonicalJson, type InferenceServiceStatus, revisionSpec } from '../../crds/schema.ts';
import { NO_CARRIERS } from '../core/carriers.ts';
import { PROXIED } from '../core/direct.ts';
import { applySpec } from '../core/revisions.ts';
import { serviceSettings } from '../core/service-settings.ts';
import { serviceStatus } from '../core/status.ts';
import type { PlatformEvent, ResolvedService } from '../ports.ts';
import { type EngineContext, runtimeOf, type ServiceEntry } from './engine-context.ts';
import { publishRoute } from './publish.ts';

/** Revisions that can't be read are asked for again after this long. */
const RETRY_MS = 1_000;

/** A manifest that validates, new or changed. Resolves when the service's revisions are known. */
export async function serviceApplied(context: EngineContext, resolved: ResolvedService): Promise<void> {
  const { uid } = resolved;
  const { namespace, name } = resolved.service.metadata;
  context.invalid.delete(`${namespace}/${name}`);
  const known = context.services.get(uid);
  if (known !== undefined) {
    Object.assign(known, {
      resolved,
      settings: serviceSettings(resolved),
      invalid: undefined,
      isQuiet: false,
    });
    if (known.isDeleted) {
      // Back under the same identity before its replicas have gone.
      Object.assign(known, { isDeleted: false, revisions: undefined, writtenStatus: undefined });
      known.runtimes.clear();
      await readRevisions(context, known);
      return;
    }
    if (known.revisions === undefined) return;
    takeIn(context, known);
    context.reconcile(known, 'tick');
    return;
  }
  const entry = newEntry(context, resolved);
  context.services.set(uid, entry);
  await readRevisions(context, entry);
}

async function readRevisions(context: EngineContext, entry: ServiceEntry): Promise<void> {
  try {
    const stored = await context.queue.run(entry.uid, () => context.platform.loadRevisions(entry.uid));
    const revisions = [...stored].sort((left, right) => left.number - right.number);
    for (const revision of revisions) runtimeOf(entry, revision.name, revision.everReady);
    entry.revisions = revisions;
    entry.savedRevisions = revisions;
  } catch (error) {
    context.counters.platformError('loadRevisions');
    context.logger.error(
      { service: entry.settings.name, err: error },
      'revisions could not be read, trying again',
    );
    if (context.isStopped || entry.isDeleted) return;
    await new Promise<void>((resolve) => {
      context.clock.after(RETRY_MS, resolve);
    });
    await readRevisions(context, entry);
    return;
  }
  if (entry.isDeleted) return;
  takeIn(context, entry);
  context.reconcile(entry, 'tick');
}

/** Makes or finds the revision that the manifest asks for. */
function takeIn(context: EngineContext, entry: ServiceEntry): void {
  const { resolved, settings } = entry;
  const specHash = createHash('sha256')
    .update(canonicalJson(revisionSpec(resolved.service)))
    .digest('hex');
  const { revisions, change } = applySpec(
    entry.revisions ?? [],
    { specHash, resolved },
    context.clock.nowMs(),
  );
  entry.revisions = revisions;
  const target = revisions.at(-1);
  if (target === undefined) return;
  const runtime = runtimeOf(entry, target.name);
  // A changed manifest, even one that makes no revision, is a reason to try again: credentials may be right now.
  runtime.trouble = undefined;
  if (change === 'none') return;
  if (change === 'reused') {
    // It has to be proved again that it loads only if it never did; it starts like a new one.
    entry.runtimes.set(target.name, { ...runtime, autoscaler: undefined, desired: 0, wasInitialised: false });
  }
  const { namespace, name } = settings;
  context.logger.info({ namespace, service: name, revision: target.name, change }, 'revision');
  const verb = change === 'created' ? 'is new' : 'is wanted again';
  context.platform.recordEvent(entry.uid, {
    type: 'Normal',
    reason: change === 'created' ? 'RevisionCreated' : 'RevisionReused',
    message: `revision ${target.name} ${verb}`,
  });
}

function newEntry(context: EngineContext, resolved: ResolvedService): ServiceEntry {
  const settings = serviceSettings(resolved);
  const { hosts, ownHosts = [], url } = context.platform.addresses(settings.namespace, settings.name);
  return {
    uid: resolved.uid,
    resolved,
    settings,
    hosts,
    ownHosts,
    url,
    revisions: undefined,
    traffic: new Map(),
    carriage: NO_CARRIERS,
    direct: PROXIED,
    led: new Set(),
    lingering: new Map(),
    leading: Promise.resolve(),
    runtimes: new Map(),
    invalid: undefined,
    isDeleted: false,
    isLacking: false,
    isQuiet: false,
    platformProblem: undefined,
    lastChange: undefined,
    lastColdStartReplica: undefined,
    status: undefined,
    writtenStatus: undefined,
    isStatusQueued: false,
    savedRevisions: undefined,
    rateMarks: [],
    wakeUp: undefined,
  };
}

/** A manifest that doesn't validate: the service that is there serves on as it was. */
export function serviceInvalid(
  context: EngineContext,
  event: Extract<PlatformEvent, { type: 'service-invalid' }>,
): void {
  const { namespace, name, problems, object } = event;
  context.logger.warn({ namespace, service: name, problems }, 'a manifest was refused');
  for (const entry of context.services.values()) {
    if (entry.isDeleted || entry.settings.namespace !== namespace || entry.settings.name !== name) continue;
    entry.invalid = problems;
    context.reconcile(entry);
    return;
  }
  context.invalid.set(`${namespace}/${name}`, problems);
  if (object === undefined || problems.length === 0) return;
  const status = strangerStatus(event, object.generation, context);
  context.queue
    .run(object.uid, () => context.platform.writeStatus(object.uid, status))
    .catch((error: unknown) => {
      context.counters.platformError('writeStatus');
      context.logger.error({ namespace, service: name, err: error }, 'the platform refused a write');
    });
}

/** Of a service that never was good: nothing of it runs, and it says why. */
function strangerStatus(
  { namespace, name, problems }: { namespace: string; name: string; problems: readonly string[] },
  generation: number,
  { platform, clock }: EngineContext,
): InferenceServiceStatus {
  const nothing = { wanted: 0, ready: 0, starting: 0, draining: 0 };
  return serviceStatus(
    {
      generation,
      url: platform.addresses(namespace, name).url,
      initialScale: 0,
      hasTags: false,
      stopped: undefined,
      invalid: problems,
      revisions: [],
      traffic: new Map(),
      counts: () => nothing,
      trouble: () => undefined,
      waitsFor: () => undefined,
      misfits: undefined,
      warnings: [],
      scaling: undefined,
      lastColdStart: undefined,
      platformProblem: undefined,
    },
    undefined,
    clock.nowMs(),
  );
}

/** The service is gone: no more routes at once, and its replicas leave. */
export function serviceDeleted(context: EngineContext, uid: string): void {
  const entry = context.services.get(uid);
  if (entry === undefined) return;
  context.logger.info(
    { namespace: entry.settings.namespace, service: entry.settings.name },
    'service deleted',
  );
  entry.isDeleted = true;
  entry.wakeUp?.cancel();
  entry.wakeUp = undefined;
  publishRoute(context, entry);
  context.reconcile(entry);
  forgetIfGone(context, entry);
}

/** A deleted service is forgotten when the last of its replicas is gone. */
export function forgetIfGone(context: EngineContext, entry: ServiceEntry): void {
  if (!entry.isDeleted) return;
  for (const record of context.records.values()) {
    if ((record.owner ?? record.reservedFor)?.serviceUid === entry.uid) return;
  }
  for (const key of context.creating.keys()) if (key.startsWith(`${entry.uid}/`)) return;
  context.services.delete(entry.uid);
  context.usage.forget(entry.uid);
  context.counters.forgetService(entry);
}
