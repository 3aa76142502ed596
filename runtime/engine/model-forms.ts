import { createHash } from 'node:crypto';
import { externalFormKey, externaliseModel, type FormPlace } from '../storage/external-form.ts';
import { type ExternaliseOutcome } from '../storage/externalise-file.ts';
import { FormCache, type FormDraft, type LeasedForm } from '../storage/form-cache.ts';
import { bytesForForms } from '../storage/model-cache.ts';
import { engineKey } from './engine-key.ts';

/**
 * Forms of one model that start faster than the model as it is:
 * - `external`: the same graph with its weights in a file of their own;
 * - `optimised`: the graph as ONNX Runtime optimises it at level `all`, weights outside;
 * - `prepacked`: the same, and the weights also in the layout that the kernels of this CPU want.
 */
export type FormKind = 'external' | 'optimised' | 'prepacked';

/** What else is known of a model on such a machine, kept beside its forms: what a trial of batches found. */
export type KeptKind = FormKind | 'batches';

/** Where the forms of one model are kept. */
export class ModelForms {
  readonly contentKey: string;
  readonly #place: FormPlace;
  readonly #cache: FormCache;

  constructor(place: FormPlace, contentKey: string) {
    this.contentKey = contentKey;
    this.#place = place;
    this.#cache = new FormCache(place.cacheDir);
  }

  /** With a lease on it. One whose facts say `unusable` is a mark that it was tried. */
  find(kind: KeptKind): Promise<LeasedForm | undefined> {
    return this.#cache.find(this.#keyOf(kind));
  }

  /** @throws CacheFullError, system errors */
  async begin(kind: KeptKind, neededBytes: number): Promise<FormDraft> {
    const { cacheDir, cacheBytes } = this.#place;
    const maxBytes = await bytesForForms(cacheDir, cacheBytes);
    return this.#cache.begin(this.#keyOf(kind), { neededBytes, maxBytes });
  }

  /** Takes out a form that could not be loaded. */
  async remove(kind: FormKind): Promise<void> {
    await this.#cache.remove(this.#keyOf(kind));
  }

  /** Takes out a form that a better one has replaced, unless somebody uses it. */
  async evict(kind: KeptKind): Promise<void> {
    await this.#cache.evict(this.#keyOf(kind));
  }

  /** One process makes a form; undefined while another one does. @throws system errors */
  tryLock(kind: FormKind): ReturnType<FormCache['tryLock']> {
    return this.#cache.tryLock(this.#keyOf(kind));
  }

  /** Makes the external form of a model whose files lie here. */
  externalise(files: readonly string[]): Promise<ExternaliseOutcome> {
    return externaliseModel(this.#place, this.contentKey, files);
  }

  #keyOf(kind: KeptKind): string {
    if (kind === 'external') return externalFormKey(this.contentKey);
    const { format, onnxRuntime, provider, level, cpu } = engineKey();
    const key = [kind, format, onnxRuntime, provider, level, cpu, this.contentKey];
    return createHash('sha256').update(JSON.stringify(key)).digest('hex');
  }
}
