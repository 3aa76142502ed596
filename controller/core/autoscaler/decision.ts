import type { DelayEntry } from './delay-window.ts';
import type { Panic } from './panic.ts';
import type { ScaleMetric } from './spec.ts';
import type { LoadWindow } from './windows.ts';

/**
 * The load of one revision over one interval, as averages over the whole of it. Averages come from
 * integrals (request-seconds, requests counted), so a request that begins and ends inside counts.
 * Samples of different sources over the same interval add up.
 */
export interface LoadSample {
  /** End of the interval, epoch ms. */
  readonly atMs: number;
  readonly intervalMs: number;
  /** Requests at once, queued ones included: request-seconds / seconds. */
  readonly concurrency: number;
  readonly requestsPerSecond: number;
}

/** What the autoscaler is told: the load since it was last asked, and how things stand now. */
export interface Observation {
  /**
   * Empty means "don't know", not "no load": an idle revision is one whose sources report zeros, at
   * least once in a stable window.
   */
  readonly samples: readonly LoadSample[];
  /** Those that take requests, so without the draining ones. `undefined` when it could not be found out. */
  readonly readyReplicas: number | undefined;
  /** Replicas on their way to ready. They change no number; they tell "at zero" from "not ready yet". */
  readonly startingReplicas: number;
  /** Requests that wait in activators. */
  readonly queuedNow: number;
  /** Requests that replicas work on. */
  readonly inFlightNow: number;
  /** The activators are known to answer for this revision, so the last replica may go. */
  readonly activatorProved: boolean;
  /** The revision has had its initial scale once; kept by the caller across its own restarts. */
  readonly initialised: boolean;
}

/** Is an activator in the path of requests? */
export type Mode = 'proxied' | 'direct';

/** What the autoscaler remembers. Plain, immutable, bounded; times are its own (see `clockOffsetMs`). */
export interface AutoscalerState {
  /** Its own time = the caller's + this. Its own never goes back, so a clock set back stops it instead. */
  readonly clockOffsetMs: number;
  readonly nowMs: number;
  /** The unit of both windows. */
  readonly metric: ScaleMetric;
  readonly stable: LoadWindow;
  readonly panicLoad: LoadWindow;
  readonly panic: Panic | undefined;
  readonly delay: readonly DelayEntry[];
  /** The last valid `desired`. */
  readonly desired: number | undefined;
  readonly mode: Mode;
  /** Since when the mode has been proxied without a break. */
  readonly proxiedSinceMs: number | undefined;
  readonly lastActiveMs: number | undefined;
  /** Since when idle has been established and the way to zero begun. */
  readonly inactiveSinceMs: number | undefined;
  readonly initialised: boolean;
}

/** What had the last word on the count. */
export type ReasonCode =
  /** Unknown load or replicas: hold what there is. */
  | 'no-data'
  | 'unknown-replicas'
  /** The load over the stable window, divided by the target. */
  | 'target'
  /** The load over the panic window. */
  | 'panic'
  /** Panic forbids to go below what it has asked for. */
  | 'panic-hold'
  | 'scale-up-rate'
  | 'scale-down-rate'
  | 'activation-scale'
  | 'scale-down-delay'
  | 'initial-scale'
  | 'min-replicas'
  | 'max-replicas'
  /** A request waits and there is no replica. */
  | 'from-zero'
  /** On the way to zero, the last replica held by … */
  | 'idle-window'
  | 'keep-alive'
  | 'activator-unproved'
  | 'retention'
  | 'grace'
  | 'to-zero'
  /** There is no replica, and nothing asks for one. */
  | 'at-zero';

interface DecisionBase {
  readonly state: AutoscalerState;
  readonly mode: Mode;
  /** For people: words and numbers. */
  readonly reason: string;
  readonly reasonCode: ReasonCode;
}

/** `desired` is the total wanted, those ready and starting included. */
export interface ValidDecision extends DecisionBase {
  readonly valid: true;
  readonly desired: number;
  /** Requests at once that could come on top before they queue, less the burst capacity to keep. */
  readonly excessBurstCapacity: number;
}

/** "Don't know": change nothing. It is not zero. */
export interface UnknownDecision extends DecisionBase {
  readonly valid: false;
  readonly desired: undefined;
}

export type Decision = ValidDecision | UnknownDecision;
