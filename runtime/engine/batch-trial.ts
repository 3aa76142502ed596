import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { z } from 'zod';
import { GRAPH } from '../storage/form-cache.ts';
import { Instance } from './instance.ts';
import type { ModelForms } from './model-forms.ts';
import type { SessionPlan } from './session-options.ts';
import type { InputShape } from './trial-inputs.ts';
import { type TrialVerdict, tryBatches } from './try-batches.ts';

export type { TrialVerdict } from './try-batches.ts';

export interface BatchTrialOptions {
  /** Where the outcome is kept for later starts; absent: each start tries anew. */
  kept: ModelForms | undefined;
  /** Whose number changes what a batch gains. */
  threadsPerInstance: number;
  /** Of the sessions that serve now. */
  plan: () => SessionPlan;
  /** Whether there is memory for one more session. */
  isRoomForOne: () => boolean;
}

/**
 * Finds out whether batches pay, for a model that says which dimension they are and whose service says nothing.
 *
 * It never stands in a request's way: it begins behind the first answer, when the sessions that run fastest are there,
 * takes the shapes of that request and nothing else of it, and runs in a worker and session of its own, which go with
 * it. Requests go on meanwhile; what they feel is another second, at most, in which the cores are shared.
 */
export class BatchTrial {
  readonly #options: BatchTrialOptions;
  readonly #stopped = new AbortController();
  #trial: Promise<unknown> | undefined;

  constructor(options: BatchTrialOptions) {
    this.#options = options;
  }

  /** @returns undefined when there was no room for a trial, or it was stopped. Never rejects. */
  async decide(shapes: readonly InputShape[]): Promise<TrialVerdict | undefined> {
    if (this.#stopped.signal.aborted || !this.#options.isRoomForOne()) return undefined;
    const trial = this.#try(shapes).catch(() => undefined);
    this.#trial = trial;
    const verdict = await trial;
    if (verdict !== undefined) await this.#remember(verdict).catch(() => undefined);
    return verdict;
  }

  /** Resolves when nothing of a trial is left. */
  async stop(): Promise<void> {
    this.#stopped.abort();
    await this.#trial;
  }

  async #try(shapes: readonly InputShape[]): Promise<TrialVerdict> {
    const instance = new Instance();
    try {
      await instance.create(this.#options.plan());
      return await tryBatches(instance, shapes, this.#stopped.signal);
    } finally {
      await instance.retire();
    }
  }

  async #remember(verdict: TrialVerdict): Promise<void> {
    const { kept, threadsPerInstance } = this.#options;
    if (kept === undefined) return;
    // One of other threads, perhaps.
    await kept.evict('batches');
    const draft = await kept.begin('batches', 0);
    try {
      const maxBatchSize = verdict.kind === 'gain' ? verdict.maxBatchSize : 1;
      const found: Found = { maxBatchSize, threads: threadsPerInstance };
      await writeFile(join(draft.folder, GRAPH), JSON.stringify(found));
      await draft.publish({});
    } finally {
      await draft.discard();
    }
  }
}

/** What is kept, in the place of a graph. */
const foundSchema = z.object({ maxBatchSize: z.int().positive(), threads: z.int().positive() });
type Found = z.infer<typeof foundSchema>;

/** The size that an earlier trial on such a machine found; 1: none pays. Undefined when nobody has tried. Never rejects. */
export async function rememberedBatchSize(
  kept: ModelForms | undefined,
  threadsPerInstance: number,
): Promise<number | undefined> {
  try {
    const entry = await kept?.find('batches');
    if (entry === undefined) return undefined;
    const text = await readFile(entry.graphPath, 'utf8');
    await entry.release();
    const { maxBatchSize, threads } = foundSchema.parse(JSON.parse(text));
    return threads === threadsPerInstance ? maxBatchSize : undefined;
  } catch {
    // It is found out anew.
    return undefined;
  }
}
