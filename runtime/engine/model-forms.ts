import { createHash } from 'node:crypto';
import { closeSync, openSync, readFileSync, readSync } from 'node:fs';
import { createRequire } from 'node:module';
import { arch, cpus } from 'node:os';
import { dirname, join } from 'node:path';
import { z } from 'zod';
import { externalFormKey, externaliseModel, type FormPlace } from '../storage/external-form.ts';
import { type ExternaliseOutcome } from '../storage/externalise-file.ts';
import { FormCache, type FormDraft, type LeasedForm } from '../storage/form-cache.ts';
import { bytesForForms } from '../storage/model-cache.ts';

/**
 * Forms of one model that start faster than the model as it is:
 * - `external`: the same graph with its weights in a file of their own;
 * - `optimised`: the graph as ONNX Runtime optimises it at level `all`, weights outside;
 * - `prepacked`: the same, and the weights also in the layout that the kernels of this CPU want.
 */
export type FormKind = 'external' | 'optimised' | 'prepacked';

/** Raised with each change of how `optimised` and `prepacked` are made. */
const COMPILED_FORMAT = 1;

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
  find(kind: FormKind): Promise<LeasedForm | undefined> {
    return this.#cache.find(this.#keyOf(kind));
  }

  /** @throws CacheFullError, system errors */
  async begin(kind: FormKind, neededBytes: number): Promise<FormDraft> {
    const { cacheDir, cacheBytes } = this.#place;
    const maxBytes = await bytesForForms(cacheDir, cacheBytes);
    return this.#cache.begin(this.#keyOf(kind), { neededBytes, maxBytes });
  }

  /** Takes out a form that could not be loaded. */
  async remove(kind: FormKind): Promise<void> {
    await this.#cache.remove(this.#keyOf(kind));
  }

  /** Takes out a form that a better one has replaced, unless somebody uses it. */
  async evict(kind: FormKind): Promise<void> {
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

  #keyOf(kind: FormKind): string {
    if (kind === 'external') return externalFormKey(this.contentKey);
    const key = [kind, COMPILED_FORMAT, engineVersion(), 'cpu', 'all', cpuFeatures(), this.contentKey];
    return createHash('sha256').update(JSON.stringify(key)).digest('hex');
  }
}

let version: string | undefined;

/** Of ONNX Runtime, from its package: the engine itself is loaded in the workers alone. */
function engineVersion(): string {
  if (version !== undefined) return version;
  const main = createRequire(import.meta.url).resolve('onnxruntime-node');
  const text = readFileSync(join(dirname(main), '../package.json'), 'utf8');
  version = z.object({ version: z.string() }).parse(JSON.parse(text)).version;
  return version;
}

let features: string | undefined;

/**
 * What ONNX Runtime chooses layouts by: architecture and instruction sets. A cache volume may be carried from one
 * kind of machine to another.
 */
function cpuFeatures(): string {
  features ??= `${arch()} ${featureFlags() ?? cpus()[0]?.model ?? ''}`;
  return features;
}

/** Of the first processor: the whole file takes milliseconds on a machine of a hundred. */
function featureFlags(): string | undefined {
  try {
    const file = openSync('/proc/cpuinfo', 'r');
    try {
      const buffer = Buffer.alloc(8192);
      const text = buffer.toString('latin1', 0, readSync(file, buffer, 0, buffer.length, 0));
      return /^(?:flags|Features)\s*:(.*)$/m.exec(text)?.[1];
    } finally {
      closeSync(file);
    }
  } catch {
    return undefined;
  }
}
