import type { AutoscalerState, LoadSample, Observation } from './decision.ts';
import { panicAtStart } from './panic.ts';
import type { AutoscalerSpec } from './spec.ts';
import { panicBuckets, stableBuckets } from './spec.ts';
import type { LoadWindow } from './windows.ts';
import { emptyWindow, record, resize } from './windows.ts';

/** The state of an autoscaler that knows nothing but how many replicas there are. */
export function initialState(
  readyReplicas: number,
  initialised: boolean,
  spec: AutoscalerSpec,
  nowMs: number,
): AutoscalerState {
  return {
    clockOffsetMs: 0,
    nowMs,
    metric: spec.metric,
    stable: emptyWindow(stableBuckets(spec)),
    panicLoad: emptyWindow(panicBuckets(spec)),
    panic: panicAtStart(readyReplicas, nowMs),
    delay: [],
    desired: undefined,
    mode: 'proxied',
    proxiedSinceMs: nowMs,
    lastActiveMs: undefined,
    inactiveSinceMs: undefined,
    initialised,
  };
}

/**
 * Takes in the time and what has been observed. Decides nothing.
 *
 * A clock that is set back stops the autoscaler's own time until it runs on: at 12:00:00 set back to
 * 11:00:00, the offset becomes an hour, and 11:00:02 is 12:00:02 to it. Windows never see time go back.
 */
export function listen(
  before: AutoscalerState,
  observed: Observation,
  spec: AutoscalerSpec,
  wallMs: number,
): AutoscalerState {
  const reportedMs = Number.isFinite(wallMs) ? wallMs + before.clockOffsetMs : before.nowMs;
  const nowMs = Math.max(before.nowMs, reportedMs);
  const clockOffsetMs = before.clockOffsetMs + (nowMs - reportedMs);
  const ofSameMetric = before.metric === spec.metric;
  const samples = observed.samples
    .filter(isUsable)
    .map((sample) => ({ ...sample, atMs: Math.min(sample.atMs + clockOffsetMs, nowMs) }));
  const lastActiveMs = samples
    .filter(isActive)
    .reduce((latest, sample) => Math.max(latest, sample.atMs), waitingOf(observed) > 0 ? nowMs : -Infinity);
  // Without a replica nobody measures zeros. Taking them in would water down the average of the burst
  // that ends the silence: 50 at once for 1 s after 59 s of zeros is 0.8, not 50.
  const counted = samples
    .map((sample) => ({
      endMs: sample.atMs,
      intervalMs: sample.intervalMs,
      value: spec.metric === 'rps' ? sample.requestsPerSecond : sample.concurrency,
    }))
    .filter((sample) => sample.value > 0 || !hasNone(before, observed));
  const recordIn = (window: LoadWindow, bucketCount: number): LoadWindow =>
    record(ofSameMetric ? resize(window, bucketCount) : emptyWindow(bucketCount), counted);
  const latestMs = Math.max(before.lastActiveMs ?? -Infinity, lastActiveMs);
  return {
    ...before,
    clockOffsetMs,
    nowMs,
    metric: spec.metric,
    stable: recordIn(before.stable, stableBuckets(spec)),
    panicLoad: recordIn(before.panicLoad, panicBuckets(spec)),
    lastActiveMs: latestMs === -Infinity ? undefined : latestMs,
  };
}

/** Requests that are somewhere now. */
export function waitingOf(observed: Observation): number {
  return wholeCount(observed.queuedNow) + wholeCount(observed.inFlightNow);
}

/** A count from outside: what is no number, or below 0, is none. */
export function wholeCount(given: number): number {
  return Number.isFinite(given) && given > 0 ? Math.ceil(given) : 0;
}

/** No replica, none wanted, and nothing that waits for one. */
export function isAtZero(before: AutoscalerState, observed: Observation): boolean {
  return hasNone(before, observed) && waitingOf(observed) === 0;
}

function hasNone(before: AutoscalerState, observed: Observation): boolean {
  const there = wholeCount(observed.readyReplicas ?? 1) + wholeCount(observed.startingReplicas);
  return (before.desired ?? 0) === 0 && there === 0;
}

/** A sample with an impossible number in it says nothing, so it counts as not sent. */
function isUsable(sample: LoadSample): boolean {
  return (
    Number.isFinite(sample.atMs) &&
    [sample.intervalMs, sample.concurrency, sample.requestsPerSecond].every(
      (value) => Number.isFinite(value) && value >= 0,
    )
  );
}

function isActive(sample: LoadSample): boolean {
  return sample.concurrency > 0 || sample.requestsPerSecond > 0;
}
