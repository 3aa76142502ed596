import type { Tensor } from '../core/tensor.ts';
import type { ExecutionsOfSize, LoadedModel } from '../ports.ts';
import { servedVersion } from './admission.ts';

/** Where the time of one answered inference went, in ms. */
export interface InferenceTimes {
  queuedMs: number;
  /** Body to tensors. */
  decodeMs: number;
  computeMs: number;
  /** Tensors to body. */
  encodeMs: number;
}

/** How often something happened, and how long it took in all. */
export interface Total {
  readonly count: number;
  readonly totalMs: number;
}

/** Everything since the model was loaded. */
export interface Totals {
  readonly success: Total;
  readonly fail: Total;
  readonly queue: Total;
  readonly input: Total;
  readonly infer: Total;
  readonly output: Total;
  readonly inferences: number;
  readonly executions: number;
}

class Duration implements Total {
  #count = 0;
  #totalMs = 0;

  add(elapsedMs: number): void {
    this.#count += 1;
    this.#totalMs += elapsedMs;
  }

  get count(): number {
    return this.#count;
  }

  get totalMs(): number {
    return this.#totalMs;
  }

  toJson(): { count: number; ns: number } {
    return { count: this.#count, ns: Math.round(this.#totalMs * 1e6) };
  }
}

/** Cumulative statistics of one loaded model in the shape that Triton's clients and perf_analyzer read. */
export class ModelStatistics {
  readonly #success = new Duration();
  readonly #fail = new Duration();
  readonly #queue = new Duration();
  readonly #computeInput = new Duration();
  readonly #computeInfer = new Duration();
  readonly #computeOutput = new Duration();
  #inferenceCount = 0;
  #executionCount = 0;
  #lastInferenceMs = 0;

  /** @param atMs epoch ms, for `last_inference`. @param batchSize inferences in this one request, see {@link batchSizeOf}. */
  succeeded(
    { queuedMs, decodeMs, computeMs, encodeMs }: InferenceTimes,
    batchSize: number,
    atMs: number,
  ): void {
    this.#success.add(queuedMs + decodeMs + computeMs + encodeMs);
    this.#queue.add(queuedMs);
    this.#computeInput.add(decodeMs);
    this.#computeInfer.add(computeMs);
    this.#computeOutput.add(encodeMs);
    this.#inferenceCount += batchSize;
    this.#executionCount += 1;
    this.#lastInferenceMs = atMs;
  }

  failed(elapsedMs: number): void {
    this.#fail.add(elapsedMs);
  }

  totals(model: LoadedModel): Totals {
    return {
      success: this.#success,
      fail: this.#fail,
      queue: this.#queue,
      input: this.#computeInput,
      infer: this.#computeInfer,
      output: this.#computeOutput,
      inferences: this.#inferenceCount,
      executions: this.#executions(model),
    };
  }

  /** Runs: one for each request, unless the model says otherwise. */
  #executions(model: LoadedModel): number {
    return model.executions?.().count ?? this.#executionCount;
  }

  toJson(model: LoadedModel): object {
    return {
      name: model.name,
      version: servedVersion(model),
      last_inference: Math.round(this.#lastInferenceMs),
      inference_count: this.#inferenceCount,
      execution_count: this.#executions(model),
      inference_stats: {
        success: this.#success.toJson(),
        fail: this.#fail.toJson(),
        queue: this.#queue.toJson(),
        compute_input: this.#computeInput.toJson(),
        compute_infer: this.#computeInfer.toJson(),
        compute_output: this.#computeOutput.toJson(),
        cache_hit: { count: 0, ns: 0 },
        cache_miss: { count: 0, ns: 0 },
      },
      response_stats: {},
      batch_stats: model.executions?.().sizes.map(batchStatistics) ?? [],
      memory_usage: [],
    };
  }
}

function batchStatistics({ batchSize, count, joinMs, computeMs, splitMs }: ExecutionsOfSize): object {
  const duration = (totalMs: number): object => ({ count, ns: Math.round(totalMs * 1e6) });
  return {
    batch_size: batchSize,
    compute_input: duration(joinMs),
    compute_infer: duration(computeMs),
    compute_output: duration(splitMs),
  };
}

/** Triton counts a request of batch n as n inferences; 1 for a model without a batch dimension. */
export function batchSizeOf(model: LoadedModel, inputs: readonly Tensor[]): number {
  return model.signature.maxBatchSize > 0 ? (inputs[0]?.shape[0] ?? 1) : 1;
}

/** The statistics of whichever model is loaded; they begin anew with each load and go with it. */
export class StatisticsBook {
  #model: WeakRef<LoadedModel> | undefined;
  #statistics = new ModelStatistics();

  of(model: LoadedModel): ModelStatistics {
    if (this.#model?.deref() !== model) {
      this.#model = new WeakRef(model);
      this.#statistics = new ModelStatistics();
    }
    return this.#statistics;
  }
}
