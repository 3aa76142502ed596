import type { ModelIdentity } from '../../contracts/admin.ts';
import { type AdoptedForm, adoptCompiled, type CompiledWish, type FormTransport } from './adopt-compiled.ts';
import { isOfIdentity, originalPaths } from './compiled-index.ts';
import { ModelNotFoundError } from './errors.ts';
import { fetchFile } from './fetch-file.ts';
import { fileIdentity } from './identity.ts';
import { readSmall } from './read-small.ts';
import type { ResolvedModel } from './remote-target.ts';
import { retrying } from './retry.ts';
import type { ModelSource, StorageLimits, StoredFile } from './storage-types.ts';

/** A form beside a model at a store, brought into the cache of forms; undefined where there is none that fits. */
export async function adoptRemote(
  wish: CompiledWish,
  { model, find, pinned }: ResolvedModel,
  request: { source: ModelSource; origin: string; limits: StorageLimits; signal: AbortSignal },
): Promise<AdoptedForm | undefined> {
  const { source, origin, limits, signal } = request;
  const retry = { attempts: limits.attempts, backoffMs: limits.backoffMs, signal };
  const transport: FormTransport = {
    readText: (path, maxBytes) => {
      const file = { path, sizeBytes: undefined, version: undefined };
      return retrying(() => readSmall(source, file, maxBytes, signal), retry);
    },
    bring: async ({ path, sizeBytes, sha256 }, destination, onProgress) => {
      const file = { path, sizeBytes, version: undefined };
      await fetchFile({ source, file, destination, limits, signal, sha256, onProgress });
    },
  };
  return adoptCompiled(wish, transport, {
    modelPath: model.path,
    origin,
    identify: async (form) => {
      const identity = pinned ?? (await identityNow(originalPaths(form, model.path), model, find));
      return identity !== undefined && isOfIdentity(form, identity) ? identity : undefined;
    },
    signal,
  });
}

/** Of the files that a form says its original has; undefined when one of them is not there. */
async function identityNow(
  paths: readonly string[],
  model: StoredFile,
  find: (path: string) => Promise<StoredFile>,
): Promise<ModelIdentity | undefined> {
  const files: ModelIdentity['files'] = [];
  for (const path of paths) {
    try {
      files.push(fileIdentity(path === model.path ? model : await find(path)));
    } catch (error) {
      if (error instanceof ModelNotFoundError) return undefined;
      throw error;
    }
  }
  return { files };
}
