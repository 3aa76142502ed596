import type { ModelIdentity } from '../../contracts/admin.ts';
import type { DecisionView } from '../../contracts/console.ts';
import type { RoutesMessage } from '../../contracts/routes.ts';
import type { InferenceServiceStatus } from '../../crds/schema.ts';
import type { Logger } from '../../process/logger.ts';
import type { ActivatorRoster } from '../core/activator-roster.ts';
import type { AutoscalerState, Decision } from '../core/autoscaler/decision.ts';
import type { CarrierState } from '../core/carriers.ts';
import type { ColdStartLog } from '../core/cold-starts.ts';
import type { DemandMerger } from '../core/demand.ts';
import type { DirectState } from '../core/direct.ts';
import type { Owner, ReplicaRecord } from '../core/replica-record.ts';
import type { ReplicaUsage } from '../core/replica-usage.ts';
import type { Quarantine } from '../core/replicas.ts';
import type { Revisions, Traffic } from '../core/revisions.ts';
import type { RouteLog } from '../core/routes.ts';
import type { ServiceSettings } from '../core/service-settings.ts';
import type { StartTrouble } from '../core/start-trouble.ts';
import type { TransformNamespaces } from '../core/user-code.ts';
import type { Clock, ObservedReplica, Platform, ResolvedService } from '../ports.ts';
import type { KeyedQueue } from './keyed-queue.ts';

/** Settings of the engine; durations in ms. */
export interface EngineSettings {
  /** How long a victim stays able to serve after it has left the routes, until all activators know. */
  readonly spreadMs: number;
  /** How long a replica keeps the resting connections of callers that are led elsewhere. */
  readonly directLingerMs: number;
  /** How long only the same service may claim a recycled standby. */
  readonly quarantineMs: number;
  /** How long a start under way puts off the refill of the pool at most. */
  readonly refillDelayMs: number;
  /** How long a replica that has just become ready puts it off, while it answers its first request. */
  readonly refillQuietMs: number;
  /** How long a start that somebody waits for puts off what is written about it: writing takes CPU from it. */
  readonly statusPauseMs: number;
  /** Processes or pods that one service may have starting at once. */
  readonly maxStartsAtOnce: number;
  readonly tickMs: number;
  /** Namespaces whose services may run code of their own. */
  readonly allowTransforms: TransformNamespaces;
  /** Where runtimes push their stats. */
  readonly statsUrl: () => string;
  /** Key of the tokens of claims; tokens stay good over restarts when it does. */
  readonly tokenSecret: string;
}

export const DEFAULT_ENGINE_SETTINGS = {
  spreadMs: 150,
  directLingerMs: 5_000,
  quarantineMs: 30_000,
  refillDelayMs: 5_000,
  refillQuietMs: 100,
  statusPauseMs: 250,
  maxStartsAtOnce: 8,
  tickMs: 2_000,
  allowTransforms: [],
} satisfies Partial<EngineSettings>;

/** What the engine keeps of a revision beyond what is stored: it is found anew after a restart. */
export interface RevisionRuntime {
  autoscaler: AutoscalerState | undefined;
  lastDecision: Decision | undefined;
  /** Replicas wanted by the last decision that was valid. */
  desired: number;
  /** Replicas wanted after everything that overrules the autoscaler. */
  wanted: number;
  /** As of this controller's start: it was proved to load before. */
  wasInitialised: boolean;
  trouble: StartTrouble | undefined;
  /** Requests at once that a replica of it has reported. */
  capacity: number | undefined;
  /** Size of the model's files as a load has found it, be it one that failed. */
  weightsBytes: number | undefined;
  zerosUntilMs: number;
  startingPhase: string | undefined;
  /** Replicas that an earlier controller had claimed stay until then: the demand for them may not be known yet. */
  adoptedUntilMs: number;
}

/** One service as the engine drives it. */
export interface ServiceEntry {
  readonly uid: string;
  resolved: ResolvedService;
  settings: ServiceSettings;
  hosts: readonly string[];
  /** Of `hosts` those by which callers may reach the replicas themselves. */
  ownHosts: readonly string[];
  url: string;
  /** Undefined until they were read. */
  revisions: Revisions | undefined;
  traffic: Traffic;
  /** Which activators have its requests, and how they share its replicas. */
  carriage: CarrierState;
  direct: DirectState;
  /** Replicas that the callers are led to, in order; none: to activators. */
  led: ReadonlySet<string>;
  /** Replicas that callers were led to, and until when some of those may not have heard of their leaving. */
  readonly lingering: Map<string, number>;
  /** Resolves when callers are led as was last decided. */
  leading: Promise<void>;
  readonly runtimes: Map<string, RevisionRuntime>;
  invalid: readonly string[] | undefined;
  isDeleted: boolean;
  /** Wants replicas that it couldn't get yet. */
  isLacking: boolean;
  /** Nothing is there, wanted or asked: ticks pass over it. */
  isQuiet: boolean;
  platformProblem: string | undefined;
  lastChange: DecisionView | undefined;
  lastColdStartReplica: string | undefined;
  status: InferenceServiceStatus | undefined;
  writtenStatus: string | undefined;
  isStatusQueued: boolean;
  savedRevisions: Revisions | undefined;
  /** Totals of requests at earlier ticks, for a rate. */
  rateMarks: { atMs: number; requests: number }[];
  wakeUp: { atMs: number; cancel: () => void } | undefined;
}

/** One pool as the engine drives it. */
export interface PoolEntry {
  readonly key: string;
  /** 0 for a pool that is gone while standbys of it are still there. */
  size: number;
  isDeleted: boolean;
  trouble: StartTrouble | undefined;
  wakeUp: (() => void) | undefined;
  /** What the platform was last told of it. */
  reported: string | undefined;
}

/** Counters that the metrics show; the engine counts, the metrics read. */
export interface EngineCounters {
  decision(entry: ServiceEntry, reasonCode: string): void;
  failedStart(entry: ServiceEntry, code: string): void;
  crash(entry: ServiceEntry): void;
  /** Phases that have become known, in ms, `total` included at the end of a start. */
  coldStart(entry: ServiceEntry, phasesMs: Readonly<Record<string, number>>, kind: ColdStartKind): void;
  /** A standby of this pool could not be started or died. */
  standbyFailed(pool: string): void;
  /** A replica that had served is a standby of this pool again, so long after its runtime was asked. */
  recycled(pool: string, elapsedMs: number): void;
  adminCall(call: AdminCall, outcome: AdminOutcome): void;
  /** One look at a service took this long. */
  reconciled(cause: Cause, elapsedMs: number): void;
  platformError(operation: PlatformOperation): void;
  suspect(reason: string): void;
  /** What was counted for a service that is gone. */
  forgetService(entry: ServiceEntry): void;
  forgetPool(pool: string): void;
}

export const ADMIN_CALLS = ['specialise', 'drain', 'recycle', 'callers'] as const;
export type AdminCall = (typeof ADMIN_CALLS)[number];
/** `refused`: the runtime answered that somebody else holds it, or that a newer controller leads. */
export const ADMIN_OUTCOMES = ['ok', 'refused', 'failed'] as const;
export type AdminOutcome = (typeof ADMIN_OUTCOMES)[number];

/** What can fail and is tried again; `watch` stands for calls of the platform beside the engine's own. */
export const PLATFORM_OPERATIONS = [
  'create',
  'callers',
  'drain',
  'lead',
  'loadRevisions',
  'reconcile',
  'recycle',
  'remove',
  'saveRevisions',
  'specialise',
  'standby',
  'watch',
  'writeStatus',
] as const;
type PlatformOperation = (typeof PLATFORM_OPERATIONS)[number];

export interface ColdStartKind {
  readonly via: string;
  /** Where the replica had its model from; a container of a user's own has none. */
  readonly model: 'cached' | 'fetched' | 'none';
  /** Whether a request waited for it. */
  readonly waited: boolean;
}

/**
 * Why a service is looked at. The autoscaler's rates are meant by tick, so on the news that a replica is ready
 * or gone it isn't asked again: 8 → 4 → 2 → 1 within a second is what came of that. A request that waits may
 * only raise the count.
 */
export type Cause = 'tick' | 'demand' | 'news';

/** Everything that the parts of the engine share. One engine, one thread: what runs in one turn is atomic. */
export interface EngineContext {
  readonly platform: Platform;
  readonly clock: Clock;
  readonly logger: Logger;
  readonly settings: EngineSettings;
  readonly newId: () => string;
  readonly services: Map<string, ServiceEntry>;
  readonly pools: Map<string, PoolEntry>;
  readonly records: Map<string, ReplicaRecord>;
  readonly quarantine: Map<string, Quarantine>;
  /** Replicas asked for that aren't observed yet, by `uid/revision`, or `pool:key`. */
  readonly creating: Map<string, number>;
  /** When the runtimes that are being recycled were asked to, by host. */
  readonly recycles: Map<string, number>;
  /** For whom a standby was started whose first observation is still to come, by id. */
  readonly expected: Map<string, Owner>;
  /** What was observed before everything was known. */
  readonly unsorted: Map<string, ObservedReplica>;
  /** Manifests that don't validate and have no service yet, by `namespace/name`. */
  readonly invalid: Map<string, readonly string[]>;
  /** What a model was resolved to in a load that isn't over, by claim. */
  readonly pendingIdentities: Map<string, ModelIdentity>;
  readonly demand: DemandMerger;
  readonly coldStarts: ColdStartLog;
  readonly routes: RouteLog;
  readonly decisions: DecisionView[];
  readonly roster: ActivatorRoster;
  /** Cancels the next judgement on who is lost, while one is due. */
  judging: (() => void) | undefined;
  readonly subscribers: Set<(message: RoutesMessage) => void>;
  readonly queue: KeyedQueue;
  readonly counters: EngineCounters;
  readonly usage: ReplicaUsage;
  isSynced: boolean;
  isStopped: boolean;
  /** Looks at a service now, and asks its autoscaler where `cause` calls for it. */
  reconcile(entry: ServiceEntry, cause?: Cause): void;
  /** Looks at the pools, and at the services that wait for a standby. */
  reconcilePool(): void;
}

/** Under which the standbys are counted that a pool has asked for. */
export const creatingKey = (pool: string): string => `pool:${pool}`;

/** State of a revision within the engine, made at its first use. */
export function runtimeOf(entry: ServiceEntry, revision: string, wasInitialised = false): RevisionRuntime {
  let runtime = entry.runtimes.get(revision);
  if (runtime === undefined) {
    runtime = {
      autoscaler: undefined,
      lastDecision: undefined,
      desired: 0,
      wanted: 0,
      wasInitialised,
      trouble: undefined,
      capacity: undefined,
      weightsBytes: undefined,
      zerosUntilMs: 0,
      startingPhase: undefined,
      adoptedUntilMs: 0,
    };
    entry.runtimes.set(revision, runtime);
  }
  return runtime;
}

/** A replica's record with some fields changed; `undefined` takes a field away. */
export function changeRecord(
  context: EngineContext,
  id: string,
  change: { [Key in keyof ReplicaRecord]?: ReplicaRecord[Key] | undefined },
): ReplicaRecord | undefined {
  const record = context.records.get(id);
  if (record === undefined) return undefined;
  const changed = Object.fromEntries(
    Object.entries({ ...record, ...change }).filter(([, value]) => value !== undefined),
  ) as unknown as ReplicaRecord;
  context.records.set(id, changed);
  return changed;
}
