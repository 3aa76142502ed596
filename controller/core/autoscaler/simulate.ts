import { decide } from './decide.ts';
import type { AutoscalerState, Decision, Mode, Observation, ReasonCode } from './decision.ts';
import type { AutoscalerSpec } from './spec.ts';
import { TICK_MS } from './spec.ts';

/** One request of a load: when it arrives, and how long a replica works on it. */
export interface SimulatedRequest {
  readonly atMs: number;
  readonly serviceMs: number;
  /** The caller sends the same again when it has its answer, until this time. Without it, once. */
  readonly repeatUntilMs?: number;
}

export interface Simulation {
  readonly spec: AutoscalerSpec;
  /** By time of arrival, from 0. */
  readonly requests: readonly SimulatedRequest[];
  readonly untilMs: number;
  /** From wanted to ready. */
  readonly startDelayMs: number;
  /** Requests at once that a replica really takes; by default what the spec says. */
  readonly capacity?: number;
  /** Replicas that are ready at time 0, found by an autoscaler without a past. */
  readonly readyReplicas?: number;
  /** Sources report once in this time; 1 s by default. */
  readonly reportMs?: number;
}

/** What was decided at one moment, and what it was decided on. */
export interface SimulatedDecision {
  readonly atMs: number;
  /** `undefined`: unknown, nothing changed. */
  readonly desired: number | undefined;
  readonly mode: Mode;
  readonly reasonCode: ReasonCode;
  readonly reason: string;
  readonly ready: number;
  readonly starting: number;
  readonly queued: number;
  readonly inFlight: number;
}

export interface SimulationResult {
  readonly decisions: readonly SimulatedDecision[];
  /** How long each request that was taken waited for a replica, in order of arrival. */
  readonly waitsMs: readonly number[];
  /** Requests that were answered. */
  readonly answered: number;
  /** Requests still without a replica at the end. */
  readonly unserved: number;
  /** Replicas ever started. */
  readonly started: number;
  /** Paid time: from wanted until let go, of all replicas together. */
  readonly replicaMs: number;
}

interface Work {
  readonly doneAtMs: number;
  readonly request: SimulatedRequest;
}

/** The platform as it stands while time goes on. Local to one run, so it may change in place. */
interface World {
  nowMs: number;
  ready: number;
  /** When each starting replica will be ready, ascending. */
  readonly startingAtMs: number[];
  /** Arrival times of those that wait, first come first served. */
  readonly queue: SimulatedRequest[];
  /** Requests in flight, by when they are done. */
  readonly working: Work[];
  /** Request-seconds and requests since the last report. */
  requestMs: number;
  arrived: number;
  reportedAtMs: number;
  samples: Observation['samples'][number][];
  started: number;
  replicaMs: number;
}

/**
 * Runs `decide` over a load, from event to event: arrivals, completions, replicas that get ready, reports,
 * ticks. A request that finds no replica makes the autoscaler look at once, as in the real controller.
 * Replicas share one queue; one let go finishes what it works on, and starting ones are let go first.
 *
 * @example
 * simulate({ spec: autoscalerSpec({ targetCapacity: 4 }), startDelayMs: 500, untilMs: 60_000,
 *   requests: callers({ count: 8, fromMs: 0, toMs: 30_000, serviceMs: 100 }) });
 */
export function simulate(simulation: Simulation): SimulationResult {
  const { spec, requests, untilMs, startDelayMs } = simulation;
  const capacity = simulation.capacity ?? spec.targetCapacity;
  const reportMs = simulation.reportMs ?? 1000;
  const world: World = {
    nowMs: 0,
    ready: simulation.readyReplicas ?? 0,
    startingAtMs: [],
    queue: [],
    working: [],
    requestMs: 0,
    arrived: 0,
    reportedAtMs: 0,
    samples: [],
    started: 0,
    replicaMs: 0,
  };
  const decisions: SimulatedDecision[] = [];
  const waitsMs: number[] = [];
  let state: AutoscalerState | undefined;
  let next = 0;
  let tickAtMs = 0;
  let answered = 0;

  const look = (): void => {
    report(world);
    const observed: Observation = {
      samples: world.samples,
      readyReplicas: world.ready,
      startingReplicas: world.startingAtMs.length,
      queuedNow: world.queue.length,
      inFlightNow: world.working.length,
      // An activator answers as soon as it has been in the path for one look.
      activatorProved: state?.mode === 'proxied',
      initialised: true,
    };
    world.samples = [];
    const decision = decide(state, observed, spec, world.nowMs);
    state = decision.state;
    decisions.push(describe(decision, observed, world.nowMs));
    if (decision.valid) scale(world, decision.desired, startDelayMs);
  };

  for (;;) {
    const arrivalMs = requests[next]?.atMs ?? Infinity;
    const eventMs = Math.min(
      arrivalMs,
      world.working[0]?.doneAtMs ?? Infinity,
      world.startingAtMs[0] ?? Infinity,
      world.reportedAtMs + reportMs,
      tickAtMs,
    );
    if (eventMs > untilMs) break;
    advance(world, eventMs);
    const hadQueue = world.queue.length > 0;
    for (; (world.working[0]?.doneAtMs ?? Infinity) <= eventMs; answered++) {
      const request = world.working.shift()?.request;
      if (request !== undefined && eventMs < (request.repeatUntilMs ?? 0)) {
        arrive(world, { ...request, atMs: eventMs });
      }
    }
    while ((world.startingAtMs[0] ?? Infinity) <= eventMs) {
      world.startingAtMs.shift();
      world.ready += 1;
    }
    for (; (requests[next]?.atMs ?? Infinity) <= eventMs; next++) {
      const request = requests[next];
      if (request !== undefined) arrive(world, request);
    }
    waitsMs.push(...dispatch(world, capacity));
    if (world.reportedAtMs + reportMs <= eventMs) report(world);
    if (tickAtMs <= eventMs) {
      tickAtMs += TICK_MS;
      look();
    } else if (!hadQueue && world.queue.length > 0 && world.ready === 0) {
      look();
    }
  }
  advance(world, untilMs);
  return {
    decisions,
    waitsMs,
    answered,
    unserved: world.queue.length,
    started: world.started,
    replicaMs: world.replicaMs,
  };
}

/** Lets time pass: what waits and what runs adds to the load, what is there adds to the bill. */
function advance(world: World, toMs: number): void {
  const passedMs = toMs - world.nowMs;
  world.requestMs += passedMs * (world.queue.length + world.working.length);
  world.replicaMs += passedMs * (world.ready + world.startingAtMs.length);
  world.nowMs = toMs;
}

/** Turns the integrals since the last report into a sample. */
function report(world: World): void {
  const intervalMs = world.nowMs - world.reportedAtMs;
  if (intervalMs === 0) return;
  world.samples.push({
    atMs: world.nowMs,
    intervalMs,
    concurrency: world.requestMs / intervalMs,
    requestsPerSecond: (world.arrived * 1000) / intervalMs,
  });
  world.requestMs = 0;
  world.arrived = 0;
  world.reportedAtMs = world.nowMs;
}

function arrive(world: World, request: SimulatedRequest): void {
  world.queue.push(request);
  world.arrived += 1;
}

/** Gives waiting requests to replicas as far as they take them; returns how long each had waited. */
function dispatch(world: World, capacity: number): number[] {
  const waitsMs: number[] = [];
  while (world.working.length < world.ready * capacity) {
    const request = world.queue.shift();
    if (request === undefined) break;
    waitsMs.push(world.nowMs - request.atMs);
    insertByDone(world.working, { doneAtMs: world.nowMs + request.serviceMs, request });
  }
  return waitsMs;
}

/** Makes ready and starting replicas as many as wanted. */
function scale(world: World, desired: number, startDelayMs: number): void {
  while (world.ready + world.startingAtMs.length < desired) {
    world.startingAtMs.push(world.nowMs + startDelayMs);
    world.started += 1;
  }
  while (world.ready + world.startingAtMs.length > desired && world.startingAtMs.length > 0) {
    world.startingAtMs.pop();
  }
  world.ready = Math.min(world.ready, desired);
}

function describe(decision: Decision, observed: Observation, atMs: number): SimulatedDecision {
  return {
    atMs,
    desired: decision.desired,
    mode: decision.mode,
    reasonCode: decision.reasonCode,
    reason: decision.reason,
    ready: observed.readyReplicas ?? 0,
    starting: observed.startingReplicas,
    queued: observed.queuedNow,
    inFlight: observed.inFlightNow,
  };
}

function insertByDone(working: Work[], work: Work): void {
  let low = 0;
  let high = working.length;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if ((working[middle]?.doneAtMs ?? Infinity) <= work.doneAtMs) low = middle + 1;
    else high = middle;
  }
  working.splice(low, 0, work);
}

export interface Callers {
  readonly count: number;
  readonly fromMs: number;
  readonly toMs: number;
  readonly serviceMs: number;
}

/** Callers who each wait for their answer before they send the next: never more than `count` at once. */
export function callers({ count, fromMs, toMs, serviceMs }: Callers): SimulatedRequest[] {
  return Array.from({ length: count }, () => ({ atMs: fromMs, serviceMs, repeatUntilMs: toMs }));
}

export interface Arrivals {
  readonly everyMs: number;
  readonly fromMs: number;
  readonly toMs: number;
  readonly serviceMs: number;
}

/** Requests that come at a fixed rate, whether those before have been answered or not. */
export function arrivals({ everyMs, fromMs, toMs, serviceMs }: Arrivals): SimulatedRequest[] {
  const requests: SimulatedRequest[] = [];
  for (let atMs = fromMs; atMs < toMs; atMs += everyMs) requests.push({ atMs, serviceMs });
  return requests;
}
