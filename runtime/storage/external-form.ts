import { createHash } from 'node:crypto';
import { link, mkdir, stat } from 'node:fs/promises';
import { dirname, join, relative } from 'node:path';
import { type ExternaliseOutcome, FileExternalisation } from './externalise-file.ts';
import { FormCache, type FormDraft } from './form-cache.ts';
import { bytesForForms } from './model-cache.ts';

/** Raised with each change of what the externaliser writes. */
const EXTERNAL_FORMAT = 1;
/** Page boundaries cost some bytes: up to 64 KiB for each tensor of a mebibyte and more. */
const PADDING_FACTOR = 1.07;
/** A smaller file has nothing to gain. */
const WORTH_BYTES = 1024 ** 2;

export interface FormPlace {
  cacheDir: string;
  /** Bound of the whole cache folder. */
  cacheBytes: number;
}

/** Of the form of a model whose weights were put outside, by its content key. */
export function externalFormKey(contentKey: string): string {
  return createHash('sha256')
    .update(JSON.stringify(['external', EXTERNAL_FORMAT, contentKey]))
    .digest('hex');
}

/** A model that is taken apart while it arrives. Whatever goes wrong with that is no failure of the fetch. */
export class ArrivingForm {
  readonly #externalisation: FileExternalisation;
  readonly #draft: FormDraft;

  private constructor(draft: FormDraft, path: string) {
    this.#draft = draft;
    this.#externalisation = new FileExternalisation(path, draft.folder);
  }

  /**
   * @param path the file that is being fetched
   * @returns undefined when it isn't worth it or there is no room
   */
  static async begin(
    place: FormPlace,
    contentKey: string,
    path: string,
    sizeBytes: number | undefined,
  ): Promise<ArrivingForm | undefined> {
    if (sizeBytes === undefined || sizeBytes < WORTH_BYTES) return undefined;
    // The file itself is still to come, into the same cache and onto the same disk.
    const draft = await beginForm(place, contentKey, sizeBytes, sizeBytes).catch(() => undefined);
    return draft === undefined ? undefined : new ArrivingForm(draft, path);
  }

  advance(prefixBytes: number): void {
    this.#externalisation.advance(prefixBytes);
  }

  /** The file is whole and verified: takes the rest and publishes the form. */
  async finish(sizeBytes: number): Promise<ExternaliseOutcome> {
    return publishOutcome(this.#draft, await this.#externalisation.finish(sizeBytes));
  }

  /** Leaves nothing behind, unless it was finished. Idempotent. */
  async abandon(): Promise<void> {
    await this.#externalisation.close();
    await this.#draft.discard();
  }
}

/**
 * Makes the form of a model that lies on this machine already: 400 MB take 0.3 to 0.7 s where a load of the file as
 * it is takes 0.6 to 1.3 s and 1.7 times its size in memory.
 *
 * @param files all files of the model, the `.onnx` first
 */
export async function externaliseModel(
  place: FormPlace,
  contentKey: string,
  files: readonly string[],
): Promise<ExternaliseOutcome> {
  const [path = '', ...others] = files;
  const { size } = await stat(path);
  if (size < WORTH_BYTES) return { kind: 'left', reason: 'it has no large weights inside' };
  let draft: FormDraft;
  try {
    draft = await beginForm(place, contentKey, size, 0);
  } catch (error) {
    return { kind: 'left', reason: error instanceof Error ? error.message : String(error) };
  }
  try {
    // Tensors that lie outside already are found beside the new graph as they were beside the old one.
    for (const other of others) {
      const beside = join(draft.folder, relative(dirname(path), other));
      await mkdir(dirname(beside), { recursive: true });
      await link(other, beside);
    }
    return await publishOutcome(draft, await new FileExternalisation(path, draft.folder).finish(size));
  } catch (error) {
    return { kind: 'left', reason: error instanceof Error ? error.message : String(error) };
  } finally {
    await draft.discard();
  }
}

async function beginForm(
  { cacheDir, cacheBytes }: FormPlace,
  contentKey: string,
  sizeBytes: number,
  arrivingBytes: number,
): Promise<FormDraft> {
  const neededBytes = Math.ceil(sizeBytes * PADDING_FACTOR);
  return new FormCache(cacheDir).begin(externalFormKey(contentKey), {
    neededBytes,
    maxBytes: (await bytesForForms(cacheDir, cacheBytes)) - arrivingBytes,
    diskBytes: neededBytes + arrivingBytes,
  });
}

async function publishOutcome(draft: FormDraft, outcome: ExternaliseOutcome): Promise<ExternaliseOutcome> {
  if (outcome.kind === 'left') return outcome;
  try {
    await draft.publish({});
    return outcome;
  } catch (error) {
    return { kind: 'left', reason: error instanceof Error ? error.message : String(error) };
  }
}
