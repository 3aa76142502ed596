import type { DemandReport, RevisionDemand } from '../../contracts/demand.ts';
import type { StatsReport } from '../../contracts/stats.ts';
import type { LoadSample } from './autoscaler/decision.ts';

/** An activator that had requests resends within 100 ms; one that is silent for this long has lost them. */
export const SILENT_AFTER_MS = 3_000;
/** Counters of a source that says nothing are forgotten after this long, when it also had no requests. */
const FORGET_AFTER_MS = 3_600_000;
/** Sources that are remembered at most; each is an activator, or a replica that was claimed. */
const MAX_SOURCES = 20_000;
/** A load that begins after silence began within this time: the width of the autoscaler's buckets. */
const FRESH_LOAD_MS = 1_000;

/** How a revision stands now, over all activators and direct callers. */
export interface DemandNow {
  readonly queued: number;
  readonly inFlight: number;
  readonly oldestQueuedMs: number;
  /** Some source had requests and has gone silent, so that the figures are a guess until it is given up. */
  readonly isUncertain: boolean;
}

interface Counters {
  requestSeconds: number;
  requests: number;
  queued: number;
  inFlight: number;
  oldestQueuedMs: number;
  leaving?: readonly string[] | undefined;
}

interface Source {
  sequence: number;
  uptimeMs: number;
  heardAtMs: number;
  revisions: Map<DemandKey, Counters>;
}

export type DemandKey = `${string}/${string}`;

export function demandKey(serviceUid: string, revision: string): DemandKey {
  return `${serviceUid}/${revision}`;
}

/**
 * Merges the cumulative reports of all activators and of runtimes' direct callers into load samples for the
 * autoscaler. Reports that come twice, late or not at all change no sum, because only differences of
 * cumulative counters are taken. Deterministic: time comes in as an argument.
 */
export class DemandMerger {
  readonly #sources = new Map<string, Source>();
  /** Which sources know a revision, so that one of ten thousand is asked about in a few steps. */
  readonly #byKey = new Map<DemandKey, Set<Source>>();
  readonly #samples = new Map<DemandKey, LoadSample[]>();
  readonly #reportedClaims = new Set<string>();
  readonly #startedAtMs: number;

  constructor(startedAtMs: number) {
    this.#startedAtMs = startedAtMs;
  }

  /** An activator's report. @returns false for one that came late or twice: it changed nothing. */
  report(report: DemandReport, nowMs: number): boolean {
    const entries = report.revisions.map((demand): [DemandKey, Counters] => [
      demandKey(demand.serviceUid, demand.revision),
      countersOf(demand),
    ]);
    return this.#hear(`activator ${report.activator}`, report.sequence, report.uptimeMs, entries, nowMs);
  }

  /** A runtime's report. What came through an activator is in that one's report, so only the rest counts. */
  stats(report: StatsReport, nowMs: number): boolean {
    const { direct } = report;
    const entry: [DemandKey, Counters] = [
      demandKey(report.serviceUid, report.revision),
      { ...direct, queued: 0, oldestQueuedMs: 0 },
    ];
    const source = `claim ${report.claimId} ${report.incarnation}`;
    this.#reportedClaims.add(report.claimId);
    return this.#hear(source, report.sequence, report.uptimeMs, [entry], nowMs);
  }

  /** Whether the runtime that holds this claim has reported its load itself. */
  hasStatsOf(claimId: string): boolean {
    return this.#reportedClaims.has(claimId);
  }

  /** The samples since the last call, of all sources, without zeros for silence. */
  takeSamples(key: DemandKey): readonly LoadSample[] {
    const samples = this.#samples.get(key) ?? [];
    this.#samples.delete(key);
    return samples;
  }

  now(key: DemandKey, nowMs: number): DemandNow {
    let queued = 0;
    let inFlight = 0;
    let oldestQueuedMs = 0;
    let isUncertain = false;
    for (const source of this.#byKey.get(key) ?? []) {
      const counters = source.revisions.get(key);
      if (counters === undefined || (counters.queued === 0 && counters.inFlight === 0)) continue;
      const silentMs = nowMs - source.heardAtMs;
      if (silentMs > SILENT_AFTER_MS) continue;
      if (silentMs > SILENT_AFTER_MS / 3) isUncertain = true;
      queued += counters.queued;
      inFlight += counters.inFlight;
      if (counters.queued > 0) oldestQueuedMs = Math.max(oldestQueuedMs, counters.oldestQueuedMs + silentMs);
    }
    return { queued, inFlight, oldestQueuedMs, isUncertain };
  }

  /**
   * Whether an activator may still have requests at an endpoint of the revision that all of them had heard at
   * `leftAtMs` to be out of the routes. One that has fallen silent has lost its requests.
   */
  mayHaveRequests(endpointId: string, key: DemandKey, leftAtMs: number, nowMs: number): boolean {
    for (const source of this.#byKey.get(key) ?? []) {
      const counters = source.revisions.get(key);
      if (counters === undefined || counters.inFlight === 0) continue;
      if (nowMs - source.heardAtMs > SILENT_AFTER_MS) continue;
      if (source.heardAtMs <= leftAtMs || counters.leaving?.includes(endpointId) !== false) return true;
    }
    return false;
  }

  /** Requests over all time that this merger knows of, for rates in views. */
  totalRequests(key: DemandKey): number {
    let total = 0;
    for (const source of this.#byKey.get(key) ?? []) total += source.revisions.get(key)?.requests ?? 0;
    return total;
  }

  /** Drops what can't matter any more: revisions that are gone, sources silent for an hour. */
  forget(isKnown: (key: DemandKey) => boolean, nowMs: number): void {
    for (const [name, source] of this.#sources) {
      for (const key of source.revisions.keys()) if (!isKnown(key)) this.#forgetKey(source, key);
      if (nowMs - source.heardAtMs > FORGET_AFTER_MS) this.#forgetSource(name, source);
    }
    for (const key of this.#samples.keys()) if (!isKnown(key)) this.#samples.delete(key);
  }

  /** A claim has ended: its runtime's counters go with it. */
  forgetClaim(claimId: string): void {
    this.#reportedClaims.delete(claimId);
    const prefix = `claim ${claimId} `;
    for (const [name, source] of this.#sources) if (name.startsWith(prefix)) this.#forgetSource(name, source);
  }

  #forgetSource(name: string, source: Source): void {
    for (const key of source.revisions.keys()) this.#forgetKey(source, key);
    this.#sources.delete(name);
  }

  #forgetKey(source: Source, key: DemandKey): void {
    source.revisions.delete(key);
    const sources = this.#byKey.get(key);
    sources?.delete(source);
    if (sources?.size === 0) this.#byKey.delete(key);
  }

  #hear(
    name: string,
    sequence: number,
    uptimeMs: number,
    entries: readonly [DemandKey, Counters][],
    nowMs: number,
  ): boolean {
    let source = this.#sources.get(name);
    if (source !== undefined && sequence <= source.sequence) return false;
    // Counters of a source that is older than this merger began before it: its first report is a base line.
    const isBaseLine = source === undefined && uptimeMs > nowMs - this.#startedAtMs;
    if (source === undefined) {
      source = { sequence, uptimeMs: 0, heardAtMs: nowMs, revisions: new Map() };
      this.#makeRoom();
    }
    this.#sources.delete(name);
    this.#sources.set(name, source);
    const sinceMs = uptimeMs - source.uptimeMs;
    for (const [key, counters] of entries) {
      const before = source.revisions.get(key);
      if (!isBaseLine) {
        const sample = sampleOf(before, counters, sinceMs, nowMs);
        if (sample !== undefined) this.#addSample(key, sample);
      }
      source.revisions.set(key, counters);
      const sources = this.#byKey.get(key);
      if (sources === undefined) this.#byKey.set(key, new Set([source]));
      else sources.add(source);
    }
    // An activator reports a revision until its traffic has ended; one that it leaves out has none.
    const named = new Set<string>(entries.map(([key]) => key));
    for (const [key, counters] of source.revisions) {
      if (!named.has(key))
        source.revisions.set(key, { ...counters, queued: 0, inFlight: 0, oldestQueuedMs: 0 });
    }
    Object.assign(source, { sequence, uptimeMs, heardAtMs: nowMs });
    return true;
  }

  #addSample(key: DemandKey, sample: LoadSample): void {
    const samples = this.#samples.get(key);
    if (samples === undefined) this.#samples.set(key, [sample]);
    // Two seconds of ten reports a second of fifty activators; more are dropped, oldest first.
    else if (samples.push(sample) > 1_000) samples.shift();
  }

  #makeRoom(): void {
    if (this.#sources.size < MAX_SOURCES) return;
    for (const [longestSilent, source] of this.#sources) {
      this.#forgetSource(longestSilent, source);
      return;
    }
  }
}

function countersOf(demand: RevisionDemand): Counters {
  const { requestSeconds, requests, queued, inFlight, oldestQueuedMs, leaving } = demand;
  return { requestSeconds, requests, queued, inFlight, oldestQueuedMs, leaving };
}

function sampleOf(
  before: Counters | undefined,
  after: Counters,
  sinceMs: number,
  nowMs: number,
): LoadSample | undefined {
  const wasIdle = before === undefined || before.queued + before.inFlight === 0;
  const intervalMs = wasIdle ? Math.min(sinceMs, FRESH_LOAD_MS) : sinceMs;
  if (!(intervalMs > 0)) return undefined;
  const seconds = intervalMs / 1000;
  return {
    atMs: nowMs,
    intervalMs,
    concurrency: Math.max(0, after.requestSeconds - (before?.requestSeconds ?? 0)) / seconds,
    requestsPerSecond: Math.max(0, after.requests - (before?.requests ?? 0)) / seconds,
  };
}
