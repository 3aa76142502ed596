import { excessBurstCapacity } from './burst-capacity.ts';
import type {
  AutoscalerState,
  Decision,
  Mode,
  Observation,
  ReasonCode,
  UnknownDecision,
} from './decision.ts';
import { delayedCount, recordDelayed } from './delay-window.ts';
import { initialState, isAtZero, listen, waitingOf, wholeCount } from './listen.ts';
import { raisePanic, stepPanic } from './panic.ts';
import {
  atZeroReason,
  holdReason,
  loadPhrase,
  number,
  seconds,
  toZeroReason,
  wantedReason,
} from './reason.ts';
import type { AutoscalerSpec } from './spec.ts';
import { targetOf } from './spec.ts';
import { stepToZero } from './to-zero.ts';
import type { Wanted } from './wanted.ts';
import { bound, change, limitStep, replicasFor } from './wanted.ts';
import type { Average } from './windows.ts';
import { average } from './windows.ts';

/** What one call goes by: everything that has been taken in, and nothing decided yet. */
interface Situation {
  /** The state with time and load taken in. */
  readonly state: AutoscalerState;
  readonly observed: Observation;
  readonly spec: AutoscalerSpec;
  readonly ready: number;
  /** No replica, none wanted before, none asked for. */
  readonly atZero: boolean;
}

/** A count with its words. */
interface Verdict {
  readonly count: number;
  readonly code: ReasonCode;
  readonly reason: string;
}

/**
 * How many replicas a revision should have, in total, and whether its requests go through an activator.
 * Knative's KPA with its order of rules: load / target → rates → activation scale → panic → scale-down
 * delay → bounds → the way to zero.
 *
 * Pure: the same arguments give the same decision, and none of them is changed. Call it every `TICK_MS`,
 * and at once when a request waits and no replica is ready.
 *
 * @param state What the last call returned; `undefined` the first time, also after a restart.
 * @param nowMs Epoch ms. It may stand still, jump ahead or go back.
 *
 * @example
 * const first = decide(undefined, observed, autoscalerSpec({ targetCapacity: 4 }), nowMs);
 * if (first.valid) platform.scale(first.desired); // 'invalid' changes nothing: it is not zero
 */
export function decide(
  state: AutoscalerState | undefined,
  observed: Observation,
  spec: AutoscalerSpec,
  nowMs: number,
): Decision {
  const known = observed.readyReplicas !== undefined && Number.isFinite(observed.readyReplicas);
  const ready = known ? wholeCount(observed.readyReplicas ?? 0) : 0;
  const before = state ?? initialState(ready, observed.initialised, spec, Number.isFinite(nowMs) ? nowMs : 0);
  const heard = listen(before, observed, spec, nowMs);
  if (!known) return unknown(heard, 'unknown-replicas', 'unknown: how many replicas are ready; all stay');
  const situation: Situation = {
    state: {
      ...heard,
      initialised: heard.initialised || observed.initialised || ready >= spec.initialScale,
    },
    observed,
    spec,
    ready,
    atZero: isAtZero(before, observed),
  };
  const load = average(heard.stable, heard.nowMs);
  return load === undefined ? withoutLoad(situation) : withLoad(situation, load);
}

/** The load is not known. Some things are certain all the same; else everything stays as it is. */
function withoutLoad({ state, observed, spec, ready, atZero }: Situation): Decision {
  const previous = state.desired ?? 0;
  const settle = (count: number, code: ReasonCode, basis: string): Decision => {
    const wanted = bound({ count, code, notes: [] }, state.initialised, spec);
    const reason =
      wanted.count === 0 ? atZeroReason(quietFor(state)) : wantedReason(wanted, basis, count, ready);
    const panic = state.panic && raisePanic(state.panic, wanted.count);
    return conclude({ ...state, panic }, { ...wanted, reason }, spec, ready, 0);
  };
  if (ready === 0 && wholeCount(observed.queuedNow) > 0) {
    return settle(Math.max(1, spec.activationScale, previous), 'from-zero', queuePhrase(observed));
  }
  const floor = bound({ count: 0, code: 'at-zero', notes: [] }, state.initialised, spec).count;
  const isSilent = atZero ? observed.samples.length > 0 || state.desired === 0 : hasLeft(state, observed);
  if (floor > Math.max(previous, ready) || (floor === 0 && isSilent)) {
    return settle(0, 'at-zero', 'no load known,');
  }
  const window = seconds(spec.stableWindowMs);
  return unknown(state, 'no-data', `unknown: no load reported for ${window}; ${ready} ready stay`);
}

/** Zero has been decided before and nothing has come since; replicas that still drain don't undo it. */
function hasLeft(state: AutoscalerState, observed: Observation): boolean {
  return state.desired === 0 && waitingOf(observed) === 0;
}

function withLoad(situation: Situation, stableLoad: Average): Decision {
  const { observed, spec, ready } = situation;
  const nowMs = situation.state.nowMs;
  // A panic window without a sample, inside a stable window with some, is a gap: 0.
  const panicLoad = average(situation.state.panicLoad, nowMs) ?? { value: 0, overMs: 0 };
  const readyOrOne = Math.max(1, ready);
  const byStable = replicasFor(stableLoad.value, targetOf(spec));
  const byPanic = replicasFor(panicLoad.value, targetOf(spec));
  const stable = limitStep(byStable, 'target', readyOrOne, spec);
  const surge = limitStep(byPanic, 'panic', readyOrOne, spec);
  const over = byPanic / readyOrOne >= spec.panicThresholdPercentage / 100;
  const stepped = stepPanic(situation.state.panic, over, spec.stableWindowMs, nowMs);

  // In odd cases the stable window wants more than the panic window; both have to be provided for.
  const bySurge = stepped !== undefined && surge.count > stable.count;
  let basis = bySurge
    ? `panic for ${seconds(nowMs - stepped.startedMs)}, ${loadPhrase(panicLoad, spec)}`
    : loadPhrase(stableLoad, spec);
  let wanted: Wanted = bySurge ? surge : stable;
  let unlimited = bySurge ? byPanic : byStable;
  const fromZero = ready === 0 && wholeCount(observed.queuedNow) > 0 ? Math.max(1, spec.activationScale) : 0;
  if (fromZero > wanted.count) {
    basis = queuePhrase(observed);
    unlimited = fromZero;
    wanted = { count: fromZero, code: 'from-zero', notes: [] };
  }

  const panic = stepped && raisePanic(stepped, wanted.count);
  if (panic !== undefined) {
    const percent = Math.round((byPanic / readyOrOne) * 100);
    const note = `panic for ${seconds(nowMs - panic.startedMs)} holds ${panic.maxReplicas} (${number(panicLoad.value)} over ${seconds(panicLoad.overMs)} needs ${percent} % of ${readyOrOne} ready)`;
    wanted = change(wanted, panic.maxReplicas, 'panic-hold', note);
  }

  let delay = situation.state.delay;
  if (spec.scaleDownDelayMs > 0) {
    delay = recordDelayed(delay, wanted.count, spec.scaleDownDelayMs, nowMs);
    const note = `scaleDownDelay of ${seconds(spec.scaleDownDelayMs)} holds ${delayedCount(delay)}`;
    wanted = change(wanted, delayedCount(delay), 'scale-down-delay', note);
  } else {
    delay = [];
  }

  wanted = bound(wanted, situation.state.initialised, spec);
  const state = { ...situation.state, panic, delay };
  if (wanted.count > 0) {
    const reason = wantedReason(wanted, basis, unlimited, ready);
    return conclude(state, { ...wanted, reason }, spec, ready, panicLoad.value);
  }
  return idle({ ...situation, state }, panicLoad.value);
}

/** The load asks for no replica: the way to zero. */
function idle({ state, observed, spec, ready, atZero }: Situation, panicLoad: number): Decision {
  const { nowMs } = state;
  if (atZero || hasLeft(state, observed)) {
    const verdict: Verdict = { count: 0, code: 'at-zero', reason: atZeroReason(quietFor(state)) };
    return conclude(state, verdict, spec, ready, panicLoad);
  }
  const idleSinceMs = Math.max(state.lastActiveMs ?? -Infinity, state.stable.covered?.firstMs ?? nowMs);
  const idleForMs = nowMs - idleSinceMs;
  const step = stepToZero(spec, {
    idleForMs,
    inactiveForMs: nowMs - (state.inactiveSinceMs ?? nowMs),
    proxiedForMs: nowMs - (state.proxiedSinceMs ?? nowMs),
    activatorProved: observed.activatorProved,
  });
  const inactiveSinceMs = step.inactive ? (state.inactiveSinceMs ?? nowMs) : undefined;
  const verdict: Verdict = step.go
    ? { count: 0, code: 'to-zero', reason: toZeroReason(idleForMs, spec) }
    : { count: 1, code: step.code, reason: holdReason(1, step.code, idleForMs, step.leftMs, spec) };
  return conclude(state, verdict, spec, ready, panicLoad, inactiveSinceMs);
}

/** The last step of each valid decision: the mode, and what to remember. */
function conclude(
  state: AutoscalerState,
  verdict: Verdict,
  spec: AutoscalerSpec,
  ready: number,
  panicLoad: number,
  inactiveSinceMs?: number,
): Decision {
  const excess = excessBurstCapacity(spec, ready, panicLoad);
  const isDirect = verdict.count > 0 && ready > 0 && excess >= 0 && inactiveSinceMs === undefined;
  const mode: Mode = isDirect ? 'direct' : 'proxied';
  return {
    valid: true,
    desired: verdict.count,
    mode,
    reason: verdict.reason,
    reasonCode: verdict.code,
    excessBurstCapacity: excess,
    state: {
      ...state,
      desired: verdict.count,
      mode,
      proxiedSinceMs: isDirect ? undefined : (state.proxiedSinceMs ?? state.nowMs),
      inactiveSinceMs,
    },
  };
}

function unknown(state: AutoscalerState, reasonCode: ReasonCode, reason: string): UnknownDecision {
  return { valid: false, desired: undefined, mode: state.mode, reason, reasonCode, state };
}

function queuePhrase(observed: Observation): string {
  const queued = wholeCount(observed.queuedNow);
  return `${queued} queued ${queued === 1 ? 'request' : 'requests'}`;
}

function quietFor(state: AutoscalerState): number | undefined {
  return state.lastActiveMs === undefined ? undefined : state.nowMs - state.lastActiveMs;
}
