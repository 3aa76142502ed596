import { randomBytes, randomUUID } from 'node:crypto';
import type { DemandReport } from '../../contracts/demand.ts';
import type { RoutesMessage } from '../../contracts/routes.ts';
import type { StatsReport } from '../../contracts/stats.ts';
import type { Logger } from '../../process/logger.ts';
import { ActivatorRoster } from '../core/activator-roster.ts';
import { ColdStartLog } from '../core/cold-starts.ts';
import { DemandMerger, demandKey } from '../core/demand.ts';
import { ReplicaUsage } from '../core/replica-usage.ts';
import { findRevision } from '../core/revisions.ts';
import { RouteLog } from '../core/routes.ts';
import type { Clock, Platform, PlatformEvent } from '../ports.ts';
import { type ActivatorName, activatorConnected, activatorReported } from './activators.ts';
import { adopt, replicaChanged, replicaGone } from './adoption.ts';
import { heedLoad } from './callers.ts';
import { takeCapacity } from './capacity.ts';
import { isClaimToken } from './claim-token.ts';
import { countColdStart } from './claims.ts';
import { remove } from './departures.ts';
import {
  changeRecord,
  DEFAULT_ENGINE_SETTINGS,
  type EngineContext,
  type EngineCounters,
  type EngineSettings,
  type ServiceEntry,
} from './engine-context.ts';
import { KeyedQueue } from './keyed-queue.ts';
import { poolApplied, poolDeleted, reportPools } from './pools.ts';
import { reconcileLacking, reconcilePools, reconcileService } from './reconcile.ts';
import { forgetIfGone, serviceApplied, serviceDeleted, serviceInvalid } from './services.ts';
import { createViews, type Views } from './views.ts';

export interface ControllerOptions {
  platform: Platform;
  clock: Clock;
  logger: Logger;
  settings: Partial<EngineSettings> & Pick<EngineSettings, 'statsUrl'>;
  counters?: EngineCounters;
  /** Identities of claims; a test has its own. */
  newId?: () => string;
}

export interface Controller {
  /** Begins to observe. Resolves when all that exists is known and adopted, and routes can be told. */
  start(): Promise<void>;
  /** Stops acting. `remove`: replicas end with it; `leave`: they go on for the next controller. */
  stop(replicas: 'remove' | 'leave'): Promise<void>;
  readonly isReady: boolean;
  demand(report: DemandReport): void;
  /** @returns false when the token isn't that of the claim. */
  stats(report: StatsReport, token: string): boolean;
  /**
   * Tells `onMessage` what it lacks of the routes and then each change, until the returned function is called.
   * Only once `isReady`: routes that aren't complete would have activators forget good ones.
   *
   * @param who The activator, so that it is known at once when it answers no more.
   */
  subscribe(
    resume: { stream: string | undefined; after: number | undefined },
    onMessage: (message: RoutesMessage) => void,
    who?: ActivatorName,
  ): () => void;
  /** Number of the last change of the routes, for a heartbeat. */
  readonly routesNumber: number;
  readonly views: Views;
  readonly context: EngineContext;
}

/** A record that has been on its way out for longer than this, past any drain, is ended. */
const STUCK_RECYCLE_MS = 30_000;
/** Marks of a service's total of requests that are kept, one a tick: a rate over ten seconds. */
const MAX_RATE_MARKS = 6;
const FORGET_EVERY_TICKS = 30;

const NO_COUNTERS: EngineCounters = {
  decision: () => undefined,
  failedStart: () => undefined,
  crash: () => undefined,
  coldStart: () => undefined,
  standbyFailed: () => undefined,
  recycled: () => undefined,
  adminCall: () => undefined,
  reconciled: () => undefined,
  platformError: () => undefined,
  suspect: () => undefined,
  forgetService: () => undefined,
  forgetPool: () => undefined,
};

/** The engine of the controller: it drives the pure core through the ports. */
export function createController(options: ControllerOptions): Controller {
  const { clock, logger, platform } = options;
  const newId = options.newId ?? randomUUID;
  const context: EngineContext = {
    platform,
    clock,
    logger,
    settings: Object.freeze({
      ...DEFAULT_ENGINE_SETTINGS,
      tokenSecret: randomBytes(32).toString('base64url'),
      ...options.settings,
    }),
    newId,
    services: new Map(),
    pools: new Map(),
    records: new Map(),
    quarantine: new Map(),
    creating: new Map(),
    recycles: new Map(),
    expected: new Map(),
    unsorted: new Map(),
    invalid: new Map(),
    pendingIdentities: new Map(),
    demand: new DemandMerger(clock.nowMs()),
    coldStarts: new ColdStartLog(),
    routes: new RouteLog(newId()),
    decisions: [],
    roster: new ActivatorRoster(),
    judging: undefined,
    subscribers: new Set(),
    queue: new KeyedQueue(),
    counters: options.counters ?? NO_COUNTERS,
    usage: new ReplicaUsage(),
    isSynced: false,
    isStopped: false,
    reconcile: (entry, cause = 'news') => {
      const startedAtMs = clock.nowMs();
      guarded(context, entry, () => {
        reconcileService(context, entry, cause);
        forgetIfGone(context, entry);
      });
      context.counters.reconciled(cause, clock.nowMs() - startedAtMs);
    },
    reconcilePool: () => {
      guarded(context, undefined, () => {
        reconcileLacking(context);
        reconcilePools(context);
        reportPools(context);
      });
    },
  };
  const reading = new Set<Promise<void>>();
  const synced = Promise.withResolvers<void>();
  let cancelTick = (): void => undefined;
  let ticks = 0;

  const onEvent = (event: PlatformEvent): void => {
    if (context.isStopped) return;
    if (event.type === 'service-applied') {
      const read = serviceApplied(context, event.service).catch((error: unknown) => {
        logger.error({ err: error }, 'a service could not be taken in');
      });
      reading.add(read);
      void read.then(() => reading.delete(read));
    } else if (event.type === 'service-invalid') {
      serviceInvalid(context, event);
    } else if (event.type === 'service-deleted') {
      serviceDeleted(context, event.uid);
    } else if (event.type === 'pool-applied') {
      poolApplied(context, event.pool);
    } else if (event.type === 'pool-deleted') {
      poolDeleted(context, event.key);
    } else if (event.type === 'replica-changed') {
      guarded(context, undefined, () => replicaChanged(context, event.replica));
    } else if (event.type === 'replica-gone') {
      guarded(context, undefined, () => replicaGone(context, event.id, event.reason));
    } else {
      synced.resolve();
    }
  };

  const onSynced = (): void => {
    context.isSynced = true;
    for (const observed of context.unsorted.values())
      guarded(context, undefined, () => adopt(context, observed));
    context.unsorted.clear();
    for (const entry of context.services.values()) context.reconcile(entry, 'tick');
    context.reconcilePool();
    logger.info({ services: context.services.size, replicas: context.records.size }, 'controller in charge');
  };

  const tick = (): void => {
    if (context.isStopped) return;
    cancelTick = clock.after(context.settings.tickMs, tick);
    const nowMs = clock.nowMs();
    for (const entry of context.services.values()) {
      if (entry.isQuiet) continue;
      context.reconcile(entry, 'tick');
      entry.rateMarks.push({ atMs: nowMs, requests: totalRequests(context, entry) });
      if (entry.rateMarks.length > MAX_RATE_MARKS) entry.rateMarks.shift();
    }
    context.usage.take(context.records.values(), nowMs);
    endStuck(context, nowMs);
    context.reconcilePool();
    if (++ticks % FORGET_EVERY_TICKS === 0) {
      context.demand.forget((key) => isKnownKey(context, key), nowMs);
    }
  };

  return {
    start: async () => {
      await platform.start(onEvent);
      await synced.promise;
      while (reading.size > 0) await Promise.all(reading);
      onSynced();
      cancelTick = clock.after(context.settings.tickMs, tick);
    },
    stop: async (replicas) => {
      context.isStopped = true;
      cancelTick();
      context.judging?.();
      for (const pool of context.pools.values()) pool.wakeUp?.();
      for (const entry of context.services.values()) entry.wakeUp?.cancel();
      await context.queue.idle();
      await platform.stop(replicas);
    },
    get isReady() {
      return context.isSynced && !context.isStopped;
    },
    demand: (report) => {
      takeDemand(context, report);
    },
    stats: (report, token) => {
      if (!isClaimToken(context.settings.tokenSecret, report.claimId, token)) return false;
      takeStats(context, report);
      return true;
    },
    subscribe: ({ stream, after }, onMessage, who) => {
      for (const message of context.routes.catchUp(stream, after)) onMessage(message);
      context.subscribers.add(onMessage);
      const disconnected = who === undefined ? undefined : activatorConnected(context, who);
      return () => {
        context.subscribers.delete(onMessage);
        disconnected?.();
      };
    },
    get routesNumber() {
      return context.routes.number;
    },
    views: createViews(context),
    context,
  };
}

/** An error in one service's turn is its own: it is logged, counted, and the next look comes with the tick. */
function guarded(context: EngineContext, entry: ServiceEntry | undefined, work: () => void): void {
  try {
    work();
    if (entry !== undefined) entry.platformProblem = undefined;
  } catch (error) {
    context.counters.platformError('reconcile');
    if (entry !== undefined) entry.platformProblem = error instanceof Error ? error.message : String(error);
    const service = entry?.settings.name;
    context.logger.error({ service, err: error }, 'a turn of the engine failed');
  }
}

function takeDemand(context: EngineContext, report: DemandReport): void {
  const nowMs = context.clock.nowMs();
  if (!context.demand.report(report, nowMs)) return;
  activatorReported(context, report);
  const looked = new Set<ServiceEntry>();
  for (const { serviceUid, queued, inFlight } of report.revisions) {
    const entry = context.services.get(serviceUid);
    if (entry === undefined || looked.has(entry)) continue;
    // A service that was at rest is looked at when its first request comes, others at once only if one waits.
    if (queued === 0 && !(entry.isQuiet && inFlight > 0)) continue;
    looked.add(entry);
    entry.isQuiet = false;
    context.reconcile(entry, 'demand');
  }
  for (const answer of report.coldAnswers) {
    if (context.coldStarts.answered(answer, nowMs) === undefined) continue;
    const entry = context.services.get(answer.serviceUid);
    if (entry === undefined) continue;
    countColdStart(context, entry, answer.endpointId);
    context.reconcile(entry);
  }
  for (const { endpointId, reason } of report.suspects) {
    context.counters.suspect(reason);
    context.logger.debug({ replica: endpointId, reason }, 'an activator suspects a replica');
  }
}

function takeStats(context: EngineContext, report: StatsReport): void {
  const entry = context.services.get(report.serviceUid);
  if (!context.demand.stats(report, context.clock.nowMs()) || entry === undefined) return;
  for (const record of context.records.values()) {
    if (record.claimId !== report.claimId) continue;
    changeRecord(context, record.id, { inFlight: report.direct.inFlight + report.proxied.inFlight });
    if (report.capacity !== undefined) takeCapacity(context, entry, record, report.capacity);
    break;
  }
  heedLoad(context, entry);
  entry.isQuiet = false;
}

function totalRequests(context: EngineContext, entry: ServiceEntry): number {
  let total = 0;
  for (const { name } of entry.revisions ?? [])
    total += context.demand.totalRequests(demandKey(entry.uid, name));
  return total;
}

function endStuck(context: EngineContext, nowMs: number): void {
  for (const { id, phase, sinceMs } of context.records.values()) {
    if (phase !== 'recycling' || nowMs - sinceMs < STUCK_RECYCLE_MS) continue;
    context.logger.warn({ replica: id }, 'a replica is stuck in its recycling, ending it');
    changeRecord(context, id, { phase: 'removing', sinceMs: nowMs });
    remove(context, id, 0);
  }
}

function isKnownKey(context: EngineContext, key: string): boolean {
  const slash = key.indexOf('/');
  const entry = context.services.get(key.slice(0, slash));
  return entry !== undefined && findRevision(entry.revisions ?? [], key.slice(slash + 1)) !== undefined;
}
