import { posix } from 'node:path';
import type { ModelIdentity } from '../../contracts/admin.ts';
import { InvalidModelUriError, ModelNotFoundError, ModelTooLargeError } from './errors.ts';
import { badRelativePath } from './relative-path.ts';
import type { StoredFile } from './storage-types.ts';

/** A file that a service names beside its model: code that goes with it, names of its classes. */
export interface Companion {
  /** As the service names it: relative to the folder of the model's file. */
  path: string;
  sha256?: string | undefined;
}

/** A companion and the file that it is. */
export interface FoundCompanion {
  companion: Companion;
  file: StoredFile;
}

/** Code and texts: whatever is larger is something else. */
const MAX_COMPANION_BYTES = 16 * 1024 ** 2;

/**
 * Looks for companions beside the model's file, and where that lies in a version's folder also above it.
 *
 * @throws InvalidModelUriError for a path that leads elsewhere; ModelNotFoundError; ModelTooLargeError
 */
export async function findCompanions(
  companions: readonly Companion[],
  modelPath: string,
  find: (path: string) => Promise<StoredFile>,
  label: string,
): Promise<FoundCompanion[]> {
  const found: FoundCompanion[] = [];
  for (const companion of companions) {
    const bad = badRelativePath(companion.path);
    if (bad !== undefined) {
      throw new InvalidModelUriError(
        `the path ${JSON.stringify(companion.path)} of a file beside the model ${bad}`,
      );
    }
    const file = await findOne(companion.path, modelPath, find, label);
    refuseLarge(file, label);
    found.push({ companion, file });
  }
  return found;
}

async function findOne(
  path: string,
  modelPath: string,
  find: (path: string) => Promise<StoredFile>,
  label: string,
): Promise<StoredFile> {
  const folder = posix.dirname(modelPath);
  const beside = posix.join(folder, path);
  // Of `model/1/model.onnx` in a repository of Triton's: `model/`.
  const above = posix.join(posix.dirname(folder), path);
  for (const place of new Set([beside, above, path])) {
    try {
      return await find(place);
    } catch (error) {
      if (!(error instanceof ModelNotFoundError)) throw error;
    }
  }
  throw new ModelNotFoundError(
    `${label} holds no ${path} beside ${posix.basename(modelPath)}, which the service names; upload it there`,
  );
}

/** @throws ModelTooLargeError when the size is known and too much */
export function refuseLarge({ path, sizeBytes }: StoredFile, label: string): void {
  if (sizeBytes === undefined || sizeBytes <= MAX_COMPANION_BYTES) return;
  throw new ModelTooLargeError(
    `${label}: ${path} has ${sizeBytes} bytes; a file beside the model may have ${MAX_COMPANION_BYTES}`,
  );
}

/** The model alone, its weights included: what is served, compiled and counted as its size. */
export function withoutCompanions(identity: ModelIdentity): ModelIdentity {
  return { files: identity.files.filter(({ companion }) => companion !== true) };
}

export function companionsOf(identity: ModelIdentity): ModelIdentity['files'] {
  return identity.files.filter(({ companion }) => companion === true);
}
