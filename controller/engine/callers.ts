import { hasRoomNow, stepDirect } from '../core/direct.ts';
import { isOwnedBy, type ReplicaRecord } from '../core/replica-record.ts';
import { countAdminCall } from './admin-calls.ts';
import type { EngineContext, ServiceEntry } from './engine-context.ts';
import { publishRoute } from './publish.ts';

/** EndpointSlices that can't be written hold up no departure for longer than this. */
const MAX_WRITE_MS = 5_000;

/** Decides anew whether the callers of a service reach its replicas themselves, and leads them. */
export function steerCallers(context: EngineContext, entry: ServiceEntry): void {
  const { network } = context.platform;
  if (network === undefined) return;
  const revision = wholeRevision(entry);
  const replicas = revision === undefined ? [] : servingAlone(context, entry, revision);
  const before = entry.direct;
  entry.direct = stepDirect(
    before,
    {
      isPossible: mayBeDirect(context, entry) && !entry.isDeleted,
      isRuntime: entry.settings.origin === 'runtime',
      isStopped: entry.settings.stopped !== undefined,
      revisions: entry.traffic.size,
      hasHeadroom: entry.runtimes.get(revision ?? '')?.lastDecision?.mode === 'direct',
      replicas: replicas.map(loadOf),
      burstCapacity: burstCapacityOf(entry),
    },
    context.clock.nowMs(),
  );
  if (entry.direct.isDirect !== before.isDirect) noteTurn(context, entry);
  lead(context, entry, entry.direct.isDirect ? replicas : []);
}

/** Whether a revision of this service may ever be direct; its autoscaler need not think of it otherwise. */
export function mayBeDirect({ platform }: EngineContext, { settings }: ServiceEntry): boolean {
  return platform.network?.mayBeDirect === true && settings.origin === 'runtime';
}

/** A runtime has reported more than its replicas have room for: back behind the queue, without waiting for a tick. */
export function heedLoad(context: EngineContext, entry: ServiceEntry): void {
  const revision = wholeRevision(entry);
  if (!entry.direct.isDirect || revision === undefined) return;
  const replicas = servingAlone(context, entry, revision).map(loadOf);
  if (hasRoomNow({ replicas, burstCapacity: burstCapacityOf(entry) })) return;
  steerCallers(context, entry);
  publishRoute(context, entry);
}

/**
 * Resolves when a replica that callers are no longer led to may be drained: EndpointSlices and routes have had time to
 * spread, and those who came straight to it have had theirs to go.
 */
export async function callersLeft(
  context: EngineContext,
  entry: ServiceEntry | undefined,
  id: string,
): Promise<void> {
  const { clock, settings } = context;
  const after = (delayMs: number): Promise<void> =>
    new Promise((resolve) => {
      clock.after(delayMs, resolve);
    });
  if (entry !== undefined) await Promise.race([entry.leading, after(MAX_WRITE_MS)]);
  const lingersUntilMs = entry?.lingering.get(id) ?? 0;
  entry?.lingering.delete(id);
  await after(Math.max(settings.spreadMs, lingersUntilMs - clock.nowMs()));
}

/** The revision that has all of the traffic. */
function wholeRevision({ traffic }: ServiceEntry): string | undefined {
  for (const [name, percent] of traffic) if (percent === 100) return name;
  return undefined;
}

/** Ready replicas whose load is known without an activator. */
function servingAlone(context: EngineContext, entry: ServiceEntry, revision: string): ReplicaRecord[] {
  return [...context.records.values()].filter(
    (record) =>
      record.phase === 'ready' &&
      isOwnedBy(record, entry.uid, revision) &&
      record.claimId !== undefined &&
      context.demand.hasStatsOf(record.claimId),
  );
}

function loadOf({ capacity = 0, inFlight }: ReplicaRecord): { capacity: number; inFlight: number } {
  return { capacity, inFlight };
}

function burstCapacityOf({ resolved }: ServiceEntry): number {
  return resolved.service.spec.predictor.scaling.burstCapacity;
}

function noteTurn(context: EngineContext, entry: ServiceEntry): void {
  const { namespace, name } = entry.settings;
  const { isDirect } = entry.direct;
  context.logger.info({ namespace, service: name, direct: isDirect }, 'callers are led anew');
  if (entry.isDeleted) return;
  context.platform.recordEvent(entry.uid, {
    type: 'Normal',
    reason: isDirect ? 'CallersDirect' : 'CallersProxied',
    message: isDirect ? 'callers reach the replicas themselves' : 'callers go through an activator',
  });
}

/** Has the EndpointSlices name these replicas, or the activators. */
function lead(context: EngineContext, entry: ServiceEntry, replicas: readonly ReplicaRecord[]): void {
  const { platform, clock, settings } = context;
  const ids = replicas.map(({ id }) => id).sort();
  if (platform.network === undefined || ids.join() === [...entry.led].join()) return;
  const come = ids.filter((id) => !entry.led.has(id));
  const gone = [...entry.led].filter((id) => !ids.includes(id));
  entry.led = new Set(ids);
  for (const id of gone) entry.lingering.set(id, clock.nowMs() + MAX_WRITE_MS + settings.directLingerMs);
  const { network } = platform;
  // Nobody is led to a replica that would send him away, and nobody sent away from one that he is still led to.
  const written = Promise.all(come.map((id) => welcome(context, id, true)))
    .then(() => network.lead(entry.uid, [...entry.led]))
    .catch((error: unknown) => {
      context.counters.platformError('lead');
      context.logger.warn({ service: entry.settings.name, err: error }, 'callers could not be led');
    });
  entry.leading = Promise.all([entry.leading, written]).then(() => undefined);
  void written.then(() => {
    for (const id of gone) {
      if (entry.led.has(id)) continue;
      entry.lingering.set(id, clock.nowMs() + settings.spreadMs + settings.directLingerMs);
      void welcome(context, id, false);
      clock.after(2 * settings.directLingerMs, () => {
        if (!context.records.has(id)) entry.lingering.delete(id);
      });
    }
  });
}

async function welcome(context: EngineContext, id: string, isWelcome: boolean): Promise<void> {
  const { platform, records, settings, counters, logger } = context;
  const claimId = records.get(id)?.claimId;
  if (claimId === undefined || platform.network === undefined) return;
  const told = platform.network.welcomeCallers(id, claimId, isWelcome, settings.directLingerMs);
  countAdminCall(context, 'callers', told);
  try {
    await told;
  } catch (error) {
    // It goes on as it was: callers that are led to it come back for each request, or keep a connection for longer.
    counters.platformError('callers');
    logger.warn(
      { replica: id, welcome: isWelcome, err: error },
      'a replica could not be told of its callers',
    );
  }
}
