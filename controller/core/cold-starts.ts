import type { SpecialiseEvent } from '../../contracts/admin.ts';
import {
  COLD_START_PHASES,
  type ColdAnswer,
  type ColdStart,
  type ColdStartPhase,
} from '../../contracts/cold-start.ts';

/** Records that are kept, over all services. */
export const MAX_COLD_STARTS = 100;

export interface ColdStartBegin {
  replica: string;
  namespace: string;
  service: string;
  serviceUid: string;
  revision: string;
  via: 'standby' | 'new';
  /** Age of the oldest waiting request at the decision; undefined for a start ahead of demand. */
  queuedForMs: number | undefined;
  decidedAtMs: number;
}

interface Running {
  begin: ColdStartBegin;
  /** Arrival of the first request on the controller's clock, as well as it is known. */
  beganAtMs: number;
  /** End of each phase on the controller's clock; those within the runtime are laid out from `claimed` on. */
  endsMs: Map<ColdStartPhase, number>;
  /** Controller's time minus the runtime's `elapsedMs`, taken at its first event. */
  runtimeZeroMs: number | undefined;
  cached: boolean;
  coldBytes: number;
  outcome: ColdStart['outcome'];
  /** From the arrival of the oldest request to the first byte of the replica's first answer. */
  answeredInMs: number | undefined;
  error: string | undefined;
}

/**
 * The records of cold starts, put together from marks by the controller's clock and durations by the runtime's
 * and the activator's own, so that clocks of two machines are never compared. Phases add up to the time from
 * the arrival to the end of the last one; `totalMs` of an answered start is the activator's stopwatch, unless
 * another replica answered the request that the start was decided for.
 */
export class ColdStartLog {
  /** By replica, oldest first. */
  readonly #starts = new Map<string, Running>();

  begin(begin: ColdStartBegin): void {
    this.#starts.delete(begin.replica);
    this.#starts.set(begin.replica, {
      begin,
      beganAtMs: begin.decidedAtMs - (begin.queuedForMs ?? 0),
      endsMs: new Map([['decided', begin.decidedAtMs]]),
      runtimeZeroMs: undefined,
      cached: false,
      coldBytes: 0,
      outcome: 'running',
      answeredInMs: undefined,
      error: undefined,
    });
    for (const replica of this.#starts.keys()) {
      if (this.#starts.size <= MAX_COLD_STARTS) break;
      this.#starts.delete(replica);
    }
  }

  has(replica: string): boolean {
    return this.#starts.has(replica);
  }

  /** Ends a phase now. Unknown replicas and repeated phases change nothing. */
  mark(replica: string, phase: ColdStartPhase, nowMs: number): void {
    const start = this.#starts.get(replica);
    if (start?.outcome === 'running' && !start.endsMs.has(phase)) start.endsMs.set(phase, nowMs);
  }

  /** Takes in an event of the runtime: the phases in it are as long as its own clock says. */
  event(replica: string, event: SpecialiseEvent, nowMs: number): void {
    const start = this.#starts.get(replica);
    if (start === undefined || start.outcome !== 'running') return;
    // The first event anchors the runtime's clock; it is sent at once, so it is late by half a round trip.
    start.runtimeZeroMs ??= nowMs - event.elapsedMs;
    const atMs = start.runtimeZeroMs + event.elapsedMs;
    if (event.event === 'claimed') {
      if (start.begin.via === 'standby') this.mark(replica, 'claimed', atMs);
    } else if (event.event === 'fetched') {
      start.cached = event.cached;
      start.coldBytes = event.coldBytes ?? 0;
      this.mark(replica, 'fetched', atMs);
    } else if (event.event === 'created' || event.event === 'warmed') {
      this.mark(replica, event.event, atMs);
    } else if (event.event === 'failed') {
      this.fail(replica, `${event.code}: ${event.message}`);
    }
  }

  /** Its endpoint is in the routes. @returns false for one that is back there, and whose start was over before. */
  routed(replica: string, nowMs: number): boolean {
    const start = this.#starts.get(replica);
    if (start?.outcome !== 'running') return false;
    this.mark(replica, 'routed', nowMs);
    start.outcome = 'ready';
    return true;
  }

  fail(replica: string, error: string): void {
    const start = this.#starts.get(replica);
    if (start?.outcome !== 'running') return;
    start.outcome = 'failed';
    start.error = error;
  }

  /** The start was called off. */
  drop(replica: string): void {
    if (this.#starts.get(replica)?.outcome === 'running') this.#starts.delete(replica);
  }

  /** The activator tells how long the request waited that the service was started for. */
  answered(answer: ColdAnswer, nowMs: number): ColdStart | undefined {
    const start = this.#starts.get(answer.endpointId);
    if (start?.outcome !== 'ready' || start.begin.queuedForMs === undefined) return undefined;
    // Two reports tell the age of the request; both come late by their own way here, so the earlier arrival is nearer.
    const arrivedAtMs = nowMs - answer.arrivedAgoMs;
    start.beganAtMs = Math.min(start.beganAtMs, arrivedAtMs);
    const ownMs = answer.queuedMs + answer.upstreamMs;
    const routedMs = start.endsMs.get('routed') ?? start.begin.decidedAtMs;
    // An answer from before the route is that of a later request: the oldest one went to another replica.
    const isOldest = start.beganAtMs + ownMs >= routedMs;
    const endMs = isOldest ? start.beganAtMs + ownMs : Math.max(routedMs, arrivedAtMs + ownMs);
    start.endsMs.set('answered', endMs);
    start.answeredInMs = isOldest ? ownMs : endMs - start.beganAtMs;
    start.outcome = 'answered';
    return toRecord(start);
  }

  /** Whether a request waits for a start of the service that was decided at `sinceMs` or later. */
  isAwaited(serviceUid: string, sinceMs: number): boolean {
    for (const { begin, outcome } of this.#starts.values()) {
      if (begin.serviceUid !== serviceUid || begin.queuedForMs === undefined) continue;
      if (begin.decidedAtMs >= sinceMs && (outcome === 'running' || outcome === 'ready')) return true;
    }
    return false;
  }

  get(replica: string): ColdStart | undefined {
    const start = this.#starts.get(replica);
    return start && toRecord(start);
  }

  /** Newest first. */
  list(filter: { namespace?: string | undefined; service?: string | undefined } = {}): ColdStart[] {
    return [...this.#starts.values()]
      .toReversed()
      .filter(
        ({ begin }) =>
          (filter.namespace === undefined || begin.namespace === filter.namespace) &&
          (filter.service === undefined || begin.service === filter.service),
      )
      .map(toRecord);
  }
}

function toRecord(start: Running): ColdStart {
  const { begin } = start;
  const { beganAtMs } = start;
  const phasesMs: ColdStart['phasesMs'] = {};
  let endMs = beganAtMs;
  for (const phase of COLD_START_PHASES) {
    const phaseEndMs = start.endsMs.get(phase);
    if (phaseEndMs === undefined) continue;
    // A late first event can put the runtime's phases some microseconds past a mark of ours.
    phasesMs[phase] = Math.max(0, phaseEndMs - endMs);
    endMs = Math.max(endMs, phaseEndMs);
  }
  return {
    namespace: begin.namespace,
    service: begin.service,
    revision: begin.revision,
    replica: begin.replica,
    atMs: beganAtMs,
    via: begin.via,
    demanded: begin.queuedForMs !== undefined,
    cached: start.cached,
    ...(start.coldBytes > 0 && { coldBytes: start.coldBytes }),
    outcome: start.outcome,
    phasesMs,
    totalMs: start.answeredInMs ?? endMs - beganAtMs,
    ...(start.error !== undefined && { error: start.error }),
  };
}

/**
 * A cold start as a person reads it, milliseconds by phase.
 *
 * @example
 * 'cold start 112 ms: decided 3, claimed 6, fetched 0 (cached), created 71, warmed 20, routed 9, answered 3'
 */
export function coldStartSentence({ phasesMs, totalMs, cached }: ColdStart): string {
  const phases = COLD_START_PHASES.flatMap((phase) => {
    const ms = phasesMs[phase];
    if (ms === undefined) return [];
    return [`${phase} ${Math.round(ms)}${phase === 'fetched' && cached ? ' (cached)' : ''}`];
  });
  return `cold start ${Math.round(totalMs)} ms: ${phases.join(', ')}`;
}
