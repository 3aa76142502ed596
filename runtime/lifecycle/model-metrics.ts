import type { SpecialiseEvent } from '../../contracts/admin.ts';
import type { RunFacts } from '../engine/batch-run.ts';
import type { ModelHandle } from '../engine/load-model.ts';

export interface ServiceLabels {
  namespace: string;
  service: string;
}

/** Observations of a histogram in plain numbers: a standby has them without prom-client. */
export interface Histogram {
  /** Upper bounds, ascending. */
  readonly bounds: readonly number[];
  /** Observations up to each bound, not cumulative; the last one is beyond the highest bound. */
  readonly counts: number[];
  sum: number;
}

const LOAD_SECONDS = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300];
const RUN_SECONDS = [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30];
const BATCH_SIZES = [1, 2, 4, 8, 16, 32, 64, 128, 256];

const histogram = (bounds: readonly number[]): Histogram => ({
  bounds,
  counts: Array.from({ length: bounds.length + 1 }, () => 0),
  sum: 0,
});

/** What happens to the model of this process, counted. One process has one model, so one set of labels. */
export class ModelMetrics {
  labels: ServiceLabels = { namespace: '', service: '' };
  /** By phase: fetched, created, warmed, and ready for the whole. */
  readonly loadSeconds = new Map<string, Histogram>();
  readonly loadFailures = new Map<string, number>();
  readonly inferenceSeconds = histogram(RUN_SECONDS);
  readonly queueSeconds = histogram(RUN_SECONDS);
  readonly batchSizes = histogram(BATCH_SIZES);
  readonly batchRequests = histogram(BATCH_SIZES);
  /** Runs of several requests that failed as a whole. */
  batchFailures = 0;
  modelSizeBytes = 0;
  /** Once it serves. */
  model: Pick<ModelHandle, 'waiting' | 'signature'> | undefined;
  #lastEventMs = 0;

  label(labels: ServiceLabels): void {
    this.labels = labels;
  }

  event(event: SpecialiseEvent): void {
    if (event.event === 'claimed') return;
    if (event.event === 'failed') {
      this.loadFailures.set(event.code, (this.loadFailures.get(event.code) ?? 0) + 1);
      return;
    }
    if (event.event === 'fetched') this.modelSizeBytes = event.sizeBytes;
    let phase = this.loadSeconds.get(event.event);
    if (phase === undefined) this.loadSeconds.set(event.event, (phase = histogram(LOAD_SECONDS)));
    observe(phase, (event.event === 'ready' ? event.elapsedMs : event.elapsedMs - this.#lastEventMs) / 1000);
    this.#lastEventMs = event.elapsedMs;
  }

  ran({
    calls,
    rows,
    queuedMs,
    computeMs,
  }: Pick<RunFacts, 'calls' | 'rows' | 'queuedMs' | 'computeMs'>): void {
    observe(this.inferenceSeconds, computeMs / 1000);
    for (const waitedMs of queuedMs) observe(this.queueSeconds, waitedMs / 1000);
    observe(this.batchSizes, rows);
    observe(this.batchRequests, calls);
  }
}

function observe(target: Histogram, value: number): void {
  const index = target.bounds.findIndex((bound) => value <= bound);
  const bucket = index === -1 ? target.bounds.length : index;
  target.counts[bucket] = (target.counts[bucket] ?? 0) + 1;
  target.sum += value;
}
