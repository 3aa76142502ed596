import type { ModelIdentity } from '../../contracts/admin.ts';
import { type Companion, type FoundCompanion, findCompanions } from './companions.ts';
import { ModelChangedError, ModelDigestMismatchError, ModelTooLargeError } from './errors.ts';
import { externalFilesOf, resolveExternal } from './external-files.ts';
import { sha256OfFile } from './fetch-file.ts';
import { checkIdentity, fileIdentity, sameFile } from './identity.ts';
import { FileSource } from './sources/file.ts';
import type { StorageLimits } from './storage-types.ts';
import { chooseModel } from './triton-folder.ts';

export interface LocalModel {
  /** What the paths of the identity are relative to. */
  folder: string;
  identity: ModelIdentity;
}

/**
 * A model on this machine's own disk, used where it lies. Nothing is copied, leased or evicted, so whoever
 * truncates the file under a running session kills that process: replace model files by rename.
 */
export async function openLocal(request: {
  path: string;
  sha256: string | undefined;
  version: string | undefined;
  companions: readonly Companion[];
  identity: ModelIdentity | undefined;
  limits: StorageLimits;
  signal: AbortSignal;
}): Promise<LocalModel> {
  const { sha256, limits, signal } = request;
  const source = new FileSource(request.path, limits);
  const known = await openKnown(source, request);
  if (known !== undefined) return known;
  const find = (path: string) => source.stat(path, signal);
  const { model, configuration } = await chooseModel(
    source,
    await source.list(signal),
    request.version,
    find,
    signal,
  );
  const modelPath = source.localPath(model.path);
  const external = await externalFilesOf(modelPath, model.path, modelPath);
  const weights = await resolveExternal(external, find, modelPath);
  const all = [model, ...weights];
  const sizeBytes = all.reduce((sum, file) => sum + (file.sizeBytes ?? 0), 0);
  if (sizeBytes > limits.modelBytes) {
    throw new ModelTooLargeError(
      `${source.label} has ${sizeBytes} bytes; the limit for a model is ${limits.modelBytes}`,
    );
  }
  if (sha256 !== undefined) {
    const found = await sha256OfFile(modelPath, signal);
    if (found !== sha256) {
      throw new ModelDigestMismatchError(`${source.label} has the sha256 ${found}; expected ${sha256}`);
    }
  }
  const beside = await findCompanions(request.companions, model.path, find, source.label);
  beside.push(...configuration);
  const identity = {
    files: [
      ...all.map((file, index) => fileIdentity(file, index === 0 ? sha256 : undefined)),
      ...(await Promise.all(beside.map((found) => hashed(found, source, signal)))),
    ],
  };
  if (request.identity !== undefined) refuseChanged(request.identity, identity, source.label);
  return { folder: source.localPath(''), identity };
}

/** @throws ModelDigestMismatchError */
async function hashed(
  { companion, file }: FoundCompanion,
  source: FileSource,
  signal: AbortSignal,
): Promise<ModelIdentity['files'][number]> {
  const path = source.localPath(file.path);
  const sha256 = await sha256OfFile(path, signal);
  if (companion.sha256 !== undefined && companion.sha256 !== sha256) {
    throw new ModelDigestMismatchError(`${path} has the sha256 ${sha256}; expected ${companion.sha256}`);
  }
  return { ...fileIdentity(file, sha256), companion: true };
}

/**
 * A model that was looked through before and is as it was: same sizes, same times of change. The look at its
 * layout and for its external data is 8 ms for a model of 10 MB in a fresh process, and finds the same again.
 *
 * @returns undefined where anything is different or unknown; the whole look then says what.
 */
async function openKnown(
  source: FileSource,
  {
    identity,
    sha256,
    signal,
  }: { identity: ModelIdentity | undefined; sha256: string | undefined; signal: AbortSignal },
): Promise<LocalModel | undefined> {
  const [model] = identity?.files ?? [];
  if (identity === undefined || model === undefined) return undefined;
  if (sha256 !== undefined && sha256 !== model.sha256) return undefined;
  checkIdentity(identity);
  const found = await source
    .statKnown(
      identity.files.map(({ path }) => path),
      signal,
    )
    .catch(() => []);
  signal.throwIfAborted();
  const isSame = identity.files.every((file, index) => {
    const now = found[index];
    return now !== undefined && file.version !== undefined && sameFile(file, fileIdentity(now, file.sha256));
  });
  if (!isSame) return undefined;
  return { folder: source.localPath(''), identity };
}

function refuseChanged(expected: ModelIdentity, found: ModelIdentity, label: string): void {
  const same =
    expected.files.length === found.files.length &&
    expected.files.every((file, index) => {
      const other = found.files[index];
      return other !== undefined && sameFile(file, other);
    });
  if (same) return;
  throw new ModelChangedError(
    `${label} has changed since its revision was made; apply the service again, or put new models under new names`,
  );
}
