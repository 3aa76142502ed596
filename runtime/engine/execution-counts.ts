import type { ExecutionCounts, ExecutionsOfSize } from '../ports.ts';
import type { RunFacts } from './batch-run.ts';

/** The runs of one model, counted by the rows of their batches. */
export class ExecutionBook {
  readonly #bySize = new Map<number, ExecutionsOfSize>();
  readonly #maxBatchSize: () => number;
  #count = 0;

  /** @param maxBatchSize of now; 1 for no batching: then a run is of batch 1, whatever its first dimension. */
  constructor(maxBatchSize: () => number) {
    this.#maxBatchSize = maxBatchSize;
  }

  record({ rows, joinMs, computeMs, splitMs }: RunFacts): void {
    this.#count += 1;
    const maxBatchSize = this.#maxBatchSize();
    const batchSize = maxBatchSize > 1 ? rows : 1;
    // A request may have more rows than a batch, any number of them: they would be sizes without bound.
    if (batchSize > maxBatchSize) return;
    let counts = this.#bySize.get(batchSize);
    if (counts === undefined) {
      counts = { batchSize, count: 0, joinMs: 0, computeMs: 0, splitMs: 0 };
      this.#bySize.set(batchSize, counts);
    }
    counts.count += 1;
    counts.joinMs += joinMs;
    counts.computeMs += computeMs;
    counts.splitMs += splitMs;
  }

  counts(): ExecutionCounts {
    const sizes = [...this.#bySize.values()].toSorted((left, right) => left.batchSize - right.batchSize);
    return { count: this.#count, sizes };
  }
}
