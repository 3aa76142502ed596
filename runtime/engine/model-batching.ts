import { requireBatchDimension } from '../core/batch-dimension.ts';
import { type BatchRule, NO_BATCHING } from '../core/batching.ts';
import type { ModelSignature } from '../core/model-signature.ts';

/** Waiting calls for each instance, beyond what the server holds back itself. */
const WAITING_CALLS_PER_INSTANCE = 64;
/** Batches that may be at the model for each instance: one that runs, and four that fill behind it. */
const BATCHES_AT_THE_MODEL = 5;

/** How requests for one model are put together, and what follows from that for whoever sends them. */
export class ModelBatching {
  readonly #plain: ModelSignature;
  readonly #instances: number;
  readonly #containerConcurrency: number | undefined;
  #rule: BatchRule;
  #signature: ModelSignature;

  /**
   * @param plain what the model takes and gives, without a batch.
   * @param wanted absent: nobody asked for batches or for none.
   * @throws PilotlightError `model-invalid` for batches of a model that has none.
   */
  constructor(
    plain: ModelSignature,
    wanted: BatchRule | undefined,
    limits: { instances: number; containerConcurrency: number | undefined },
  ) {
    const rule = wanted ?? NO_BATCHING;
    if (rule.maxBatchSize > 1) requireBatchDimension(plain, rule.maxBatchSize);
    this.#plain = plain;
    this.#instances = limits.instances;
    this.#containerConcurrency = limits.containerConcurrency;
    this.#rule = rule;
    this.#signature = withBatch(plain, rule);
  }

  get rule(): BatchRule {
    return this.#rule;
  }

  get signature(): ModelSignature {
    return this.#signature;
  }

  get capacity(): number {
    return this.#containerConcurrency ?? this.#instances * this.#rule.maxBatchSize;
  }

  /** See `LoadedModel.places`. */
  get places(): number {
    return this.#containerConcurrency ?? this.capacity * (this.#isOn ? BATCHES_AT_THE_MODEL : 1);
  }

  get maxLatencyMs(): number | undefined {
    return this.#isOn ? this.#rule.maxLatencyMs : undefined;
  }

  /** Calls that may wait for an instance. */
  get waitingCalls(): number {
    const behindOneThatRuns = (BATCHES_AT_THE_MODEL - 1) * this.#rule.maxBatchSize;
    return this.#instances * Math.max(WAITING_CALLS_PER_INSTANCE, behindOneThatRuns);
  }

  /** From now on. */
  use(rule: BatchRule): void {
    this.#rule = rule;
    this.#signature = withBatch(this.#plain, rule);
  }

  get #isOn(): boolean {
    return this.#rule.maxBatchSize > 1;
  }
}

function withBatch(plain: ModelSignature, { maxBatchSize }: BatchRule): ModelSignature {
  return maxBatchSize > 1 ? { ...plain, maxBatchSize } : plain;
}
