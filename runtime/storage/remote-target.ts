import { randomUUID } from 'node:crypto';
import type { ModelIdentity } from '../../contracts/admin.ts';
import { companionsOf, type FoundCompanion } from './companions.ts';
import { ModelNotFoundError } from './errors.ts';
import { storedFile, unversioned } from './identity.ts';
import { retrying } from './retry.ts';
import type { ModelSource, StorageLimits, StoredFile } from './storage-types.ts';
import { chooseModel, knownConfiguration } from './triton-folder.ts';

/** A model at a store, as far as it is known before anything of it is fetched. */
export interface ResolvedModel {
  model: StoredFile;
  find: (path: string) => Promise<StoredFile>;
  /** Set when the caller, not the store, says what the files are. */
  pinned: ModelIdentity | undefined;
}

/** What is to be fetched: the model, and how to find what lies beside it. */
export interface Target extends ResolvedModel {
  /** Whether a listing has shown such a file; true where nothing was listed. */
  mayHold(path: string): boolean;
  /** Triton's configuration of the model: fetched, kept and evicted with it. */
  configuration: readonly FoundCompanion[];
}

/** Of a model whose files the caller knows: its store is not asked for a list. @throws PilotlightError `model-not-found` */
export function pinnedTarget(source: ModelSource, identity: ModelIdentity): Target {
  const [first] = identity.files;
  if (first === undefined) throw new ModelNotFoundError('the model identity names no file');
  source.assume?.(first.path);
  const find = async (path: string) => {
    const file = identity.files.find((candidate) => candidate.path === path);
    if (file === undefined) throw new ModelNotFoundError(`${path} is not part of the model's identity`);
    return storedFile(file);
  };
  const configuration = knownConfiguration(companionsOf(identity));
  return {
    model: storedFile(first),
    find,
    pinned: identity,
    mayHold: () => true,
    configuration,
  };
}

/** Of a model as its store has it now. @throws PilotlightError */
export async function resolveTarget(request: {
  source: ModelSource;
  version: string | undefined;
  limits: StorageLimits;
  signal: AbortSignal;
}): Promise<Target> {
  const { source, limits, signal } = request;
  const retry = { attempts: limits.attempts, backoffMs: limits.backoffMs, signal };
  const listing = await retrying(() => source.list(signal), retry);
  const { single, files } = listing;
  const known = new Map<string, StoredFile>();
  const listed = new Map(files.map((file) => [file.path, file]));
  const find = async (path: string) => {
    const before = known.get(path);
    if (before !== undefined) return before;
    let file = listed.get(path);
    if (file === undefined && !single) throw new ModelNotFoundError(`${source.label} holds no ${path}`);
    // Some stores list objects without ETag and yet show a date when they are read.
    if (file?.version === undefined && !(single && file !== undefined)) {
      file = await retrying(() => source.stat(path, signal), retry);
    }
    if (file.version === undefined) file = { ...file, version: unversioned(randomUUID()) };
    known.set(path, file);
    return file;
  };
  const mayHold = (path: string): boolean => single || listed.has(path);
  const { model, configuration } = await retrying(
    () => chooseModel(source, listing, request.version, find, signal),
    retry,
  );
  return { model: await find(model.path), find, pinned: undefined, mayHold, configuration };
}
