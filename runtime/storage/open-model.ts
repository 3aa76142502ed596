import { join } from 'node:path';
import type { ModelIdentity } from '../../contracts/admin.ts';
import { PilotlightError } from '../../contracts/errors.ts';
import type { StorageAccess } from '../../contracts/storage-access.ts';
import type { CompiledWish } from './adopt-compiled.ts';
import { adoptLocal } from './adopt-local.ts';
import { type Companion, companionsOf, withoutCompanions } from './companions.ts';
import { InvalidModelUriError, ModelNotFoundError, ModelUnreachableError } from './errors.ts';
import type { ExternaliseOutcome } from './externalise-file.ts';
import { entryKey } from './identity.ts';
import { openLocal } from './open-local.ts';
import { type OpenedForm, openRemote } from './open-remote.ts';
import { Secrets } from './secrets.ts';
import { openSource } from './sources/open-source.ts';
import { DEFAULT_STORAGE_LIMITS, type FetchProgress, type StorageLimits } from './storage-types.ts';
import { parseModelUri, redactUri } from './uri.ts';

/** A longer timer fires at once. */
const MAX_TIMER_MS = 2 ** 31 - 1;

export interface OpenModelOptions {
  /** `file:`, `http(s):`, `s3:`, `gs:` or Azure’s; turn a plain path into one with `uriFromArgument`. */
  uri: string;
  /** An existing or creatable folder, shared by any number of processes. Not used for `file:`. */
  cacheDir: string;
  credentials?: StorageAccess;
  /** Where the pod's own identity is looked for; of this process when absent. */
  environment?: Readonly<Record<string, string | undefined>>;
  /** Of the `.onnx` file, in hex; the same as `#sha256=…` in the URI. */
  sha256?: string;
  /** Pins a numeric version folder. */
  version?: string;
  /** Files beside the model that go with it. */
  companions?: readonly Companion[];
  /** What the URI was resolved to before: a cached start then asks nobody, and other content is refused. */
  identity?: ModelIdentity;
  limits?: Partial<StorageLimits>;
  signal?: AbortSignal;
  onProgress?: (progress: FetchProgress) => void;
}

export interface OpenedModel {
  /** Absolute path of the `.onnx` file; its external data lies beside it as it expects. */
  modelPath: string;
  /** Absolute paths of the model's files, the `.onnx` file first; without companions. */
  files: string[];
  sizeBytes: number;
  /** Files beside the model that were asked for, in that order, with the digest that they were found to have. */
  companions: { path: string; sha256: string | undefined }[];
  /** `files[0]` is the `.onnx` file; companions come last. */
  identity: ModelIdentity;
  /** The same for the same content from the same place: what forms of the model are kept under. */
  contentKey: string;
  /** Set when the model arrived with weights inside: whether they were put outside on the way. */
  externalised: ExternaliseOutcome | undefined;
  /** True when no byte was fetched for this call. */
  fromCache: boolean;
  /** How long openModel took, waiting for another process that fetched it included. */
  fetchMs: number;
  /** Ends the lease that keeps the files from being evicted. Idempotent. */
  release(): Promise<void>;
}

/** A model of which only a form that was compiled ahead of time was brought here: into the cache of forms. */
export interface OpenedCompiled {
  identity: ModelIdentity;
  contentKey: string;
  /** Of the original. */
  sizeBytes: number;
  /** Files beside the model come with the model alone. */
  companions: OpenedModel['companions'];
  fromCache: boolean;
  fetchMs: number;
  /** Brings the model itself, for who can't use the form after all. */
  original(): Promise<OpenedModel>;
}

export type ModelOrForm =
  | { kind: 'model'; model: OpenedModel }
  | { kind: 'compiled'; compiled: OpenedCompiled };

/**
 * Brings a model to this machine's disk and says where it lies.
 *
 * @throws PilotlightError with code invalid-uri, unsupported, model-not-found, model-forbidden,
 *   model-unreachable, model-not-onnx, model-too-large, model-digest-mismatch, model-layout, model-changed,
 *   cache-full or cache-not-writable; the signal's reason when it is aborted.
 */
export async function openModel(options: OpenModelOptions): Promise<OpenedModel> {
  const found = await open(options, undefined);
  if (found.kind === 'model') return found.model;
  throw new PilotlightError('internal', 'a form was opened where the model was asked for');
}

/**
 * The same for a runtime: where a form that was compiled ahead of time lies beside the model and fits, that one is
 * brought into the cache of forms, and of a model at a store nothing else.
 *
 * @throws as `openModel`
 */
export function openModelOrForm(options: OpenModelOptions, wish: CompiledWish): Promise<ModelOrForm> {
  return open(options, wish);
}

async function open(options: OpenModelOptions, wish: CompiledWish | undefined): Promise<ModelOrForm> {
  const startedAtMs = performance.now();
  const limits: StorageLimits = { ...DEFAULT_STORAGE_LIMITS, ...options.limits };
  const uri = parseModelUri(options.uri);
  const sha256 = chosenDigest(uri.sha256, options);
  const secrets = new Secrets();
  const deadline = new AbortController();
  const label = redactUri(options.uri).replace(/#sha256=.*$/, '');
  const timer = setTimeout(
    () => {
      const why = `${label} was not there after ${limits.overallTimeoutMs} ms; raise the timeout or move the model closer`;
      deadline.abort(new ModelUnreachableError(why, { retryable: false }));
    },
    Math.min(limits.overallTimeoutMs, MAX_TIMER_MS),
  );
  const signal = options.signal ? AbortSignal.any([options.signal, deadline.signal]) : deadline.signal;
  const { version, identity, companions = [] } = options;
  try {
    signal.throwIfAborted();
    if (uri.scheme === 'file') {
      const local = await openLocal({
        path: uri.path,
        sha256,
        version,
        companions,
        identity,
        limits,
        signal,
      });
      const origin = `file:${uri.path}`;
      const alone = withoutCompanions(local.identity);
      const contentKey = entryKey(origin, alone);
      if (wish !== undefined && sha256 === undefined) {
        await adoptLocal(wish, { folder: local.folder, identity: alone, origin }, signal);
      }
      const release = () => Promise.resolve();
      return opened({ ...local, contentKey, externalised: undefined, fromCache: true, startedAtMs, release });
    }
    const environment = options.environment ?? process.env;
    const { source, origin } = openSource(uri, options.credentials ?? {}, environment, limits, secrets);
    const remote = await openRemote({
      source,
      uri: label,
      origin,
      cacheDir: options.cacheDir,
      sha256,
      version,
      companions,
      identity,
      limits,
      signal,
      onProgress: options.onProgress,
      compiled: wish,
    });
    if (remote.kind === 'compiled') return openedForm(remote, options, startedAtMs);
    const { leased, contentKey, fetchedBytes, externalised } = remote;
    const release = () => leased.release();
    if (signal.aborted) await release();
    signal.throwIfAborted();
    const { folder, identity: found } = leased;
    const fromCache = fetchedBytes === 0;
    return opened({ folder, identity: found, contentKey, externalised, fromCache, startedAtMs, release });
  } catch (error) {
    signal.throwIfAborted();
    throw secrets.hideIn(error);
  } finally {
    clearTimeout(timer);
  }
}

function opened(parts: {
  folder: string;
  identity: ModelIdentity;
  contentKey: string;
  externalised: ExternaliseOutcome | undefined;
  fromCache: boolean;
  startedAtMs: number;
  release: () => Promise<void>;
}): ModelOrForm {
  const { folder, identity, contentKey, externalised, fromCache, release } = parts;
  const alone = withoutCompanions(identity);
  const files = alone.files.map(({ path }) => join(folder, path));
  const [modelPath] = files;
  if (modelPath === undefined) throw new ModelNotFoundError('the cache entry of the model holds no file');
  const model = {
    modelPath,
    files,
    sizeBytes: bytesOf(alone),
    companions: companionsOf(identity).map(({ path, sha256 }) => ({ path: join(folder, path), sha256 })),
    identity,
    contentKey,
    externalised,
    fromCache,
    fetchMs: performance.now() - parts.startedAtMs,
    release,
  };
  return { kind: 'model', model };
}

function openedForm(
  { identity, contentKey, fetchedBytes }: OpenedForm,
  options: OpenModelOptions,
  startedAtMs: number,
): ModelOrForm {
  const compiled = {
    identity,
    contentKey,
    sizeBytes: bytesOf(identity),
    companions: [],
    fromCache: fetchedBytes === 0,
    fetchMs: performance.now() - startedAtMs,
    original: () => openModel({ ...options, identity }),
  };
  return { kind: 'compiled', compiled };
}

function bytesOf({ files }: ModelIdentity): number {
  return files.reduce((sum, file) => sum + file.sizeBytes, 0);
}

function chosenDigest(inUri: string | undefined, options: OpenModelOptions): string | undefined {
  const given = options.sha256?.toLowerCase();
  if (given !== undefined && !/^[0-9a-f]{64}$/.test(given)) {
    throw new InvalidModelUriError(`expected a sha256 of 64 hex digits, got "${given}"`);
  }
  if (given !== undefined && inUri !== undefined && given !== inUri) {
    throw new InvalidModelUriError(`the URI says sha256 ${inUri}, the option ${given}; give one of them`);
  }
  return given ?? inUri ?? options.identity?.files[0]?.sha256;
}
