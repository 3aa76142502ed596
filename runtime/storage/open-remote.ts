import { createHash } from 'node:crypto';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import type { ModelIdentity } from '../../contracts/admin.ts';
import type { CompiledWish } from './adopt-compiled.ts';
import { adoptRemote } from './adopt-remote.ts';
import {
  type Companion,
  companionsOf,
  type FoundCompanion,
  findCompanions,
  refuseLarge,
  withoutCompanions,
} from './companions.ts';
import { indexPath } from './compiled-index.ts';
import {
  ModelChangedError,
  ModelLayoutError,
  ModelNotFoundError,
  ModelNotOnnxError,
  ModelTooLargeError,
} from './errors.ts';
import { externalFilesOf, refuseShort, resolveExternal } from './external-files.ts';
import { ArrivingForm } from './external-form.ts';
import type { ExternaliseOutcome } from './externalise-file.ts';
import { fetchFile, sha256OfFile } from './fetch-file.ts';
import { checkIdentity, entryKey, fetchKey, fileIdentity, sameFile } from './identity.ts';
import { type LeasedModel, ModelCache } from './model-cache.ts';
import { pinnedTarget, resolveTarget, type Target } from './remote-target.ts';
import type { FetchProgress, ModelSource, StorageLimits, StoredFile } from './storage-types.ts';

export interface RemoteRequest {
  source: ModelSource;
  /** Without credentials and digest. */
  uri: string;
  /** The same with the store's address where the URI does not hold it; part of the cache key. */
  origin: string;
  cacheDir: string;
  sha256: string | undefined;
  version: string | undefined;
  companions: readonly Companion[];
  identity: ModelIdentity | undefined;
  limits: StorageLimits;
  signal: AbortSignal;
  onProgress: ((progress: FetchProgress) => void) | undefined;
  /** Set by who would rather have a form that was compiled ahead of time than the model. */
  compiled: CompiledWish | undefined;
}

/** Of a model that was not fetched: a compiled form of it is in the cache of forms. */
export interface OpenedForm {
  kind: 'compiled';
  identity: ModelIdentity;
  contentKey: string;
  fetchedBytes: number;
}

export interface OpenedRemote {
  kind: 'model';
  leased: LeasedModel;
  /** See `OpenedModel.contentKey`. */
  contentKey: string;
  fetchedBytes: number;
  /** What became of the model's weights while it arrived; undefined when it didn't, or had none inside. */
  externalised: ExternaliseOutcome | undefined;
}

/** A model from a store: from the cache where it is there, else fetched into it by just one process. */
export async function openRemote(request: RemoteRequest): Promise<OpenedRemote | OpenedForm> {
  const cache = new ModelCache(request.cacheDir);
  if (request.identity !== undefined) {
    checkIdentity(request.identity);
    const leased = await cache.lease(entryKey(request.origin, request.identity));
    if (leased !== undefined) return fromCache(request, leased);
    const form = await knownForm(request, request.identity);
    return form ?? open(request, cache, pinnedTarget(request.source, request.identity));
  }
  // A digest of the model says nothing of what lies beside it.
  const isAlone = request.companions.length === 0 && !mayBeFolder(request.uri);
  const known = isAlone ? await byDigest(cache, request.sha256) : undefined;
  if (known !== undefined) return fromCache(request, known);
  try {
    return await open(request, cache, await resolveTarget(request));
  } catch (error) {
    // Replaced at the store while it was fetched. Nobody asked for the old one: take the new one, once.
    if (!(error instanceof ModelChangedError)) throw error;
    return open(request, cache, await resolveTarget(request));
  }
}

/** What is in the cache, else a form that was compiled ahead of time, else the model. */
async function open(
  request: RemoteRequest,
  cache: ModelCache,
  target: Target,
): Promise<OpenedRemote | OpenedForm> {
  const remote = new RemoteModel(request, cache, target);
  const wish = target.configuration.length === 0 ? wishOf(request) : undefined;
  if (wish === undefined || !target.mayHold(indexPath(target.model.path))) return remote.open();
  const cached = await remote.cached();
  if (cached !== undefined) return cached;
  const form = await adoptRemote(wish, target, request);
  return form === undefined ? remote.open() : { kind: 'compiled', ...form };
}

/**
 * A digest that somebody pinned speaks of the original: a form that its store offers is not what it vouches for. And
 * what a service names beside its model is fetched, kept and evicted with the model.
 */
function wishOf({ compiled, sha256, companions, identity }: RemoteRequest): CompiledWish | undefined {
  const hasCompanions = companions.length > 0 || companionsOf(identity ?? { files: [] }).length > 0;
  return sha256 === undefined && !hasCompanions ? compiled : undefined;
}

/** A form that was brought here before, so that nobody is asked for it or for the model. */
async function knownForm(request: RemoteRequest, identity: ModelIdentity): Promise<OpenedForm | undefined> {
  const contentKey = entryKey(request.origin, identity);
  const places = wishOf(request)?.forms(contentKey);
  for (const kind of ['prepacked', 'optimised'] as const) {
    const form = await places?.find(kind);
    await form?.release();
    if (form?.facts['ahead'] === true) return { kind: 'compiled', identity, contentKey, fetchedBytes: 0 };
  }
  return undefined;
}

function fromCache({ origin }: RemoteRequest, leased: LeasedModel): OpenedRemote {
  const contentKey = entryKey(origin, withoutCompanions(leased.identity));
  return { kind: 'model', leased, contentKey, fetchedBytes: 0, externalised: undefined };
}

/** A digest says all about a model in one file, wherever it comes from: no need to ask the store. */
async function byDigest(cache: ModelCache, sha256: string | undefined): Promise<LeasedModel | undefined> {
  if (sha256 === undefined) return undefined;
  for (const { key, identity } of await cache.list()) {
    if (identity.files.length === 1 && identity.files[0]?.sha256 === sha256) return cache.lease(key);
  }
  return undefined;
}

/** Whether a configuration may lie beside the model: a web server has no folders that could be listed. */
function mayBeFolder(uri: string): boolean {
  return !/^https?:/i.test(uri) && !/\.onnx$/i.test(uri);
}

class RemoteModel {
  private readonly request: RemoteRequest;
  private readonly cache: ModelCache;
  private readonly target: Target;
  private fetchedBytes = 0;
  private externalised: ExternaliseOutcome | undefined;
  private companions: Promise<FoundCompanion[]> | undefined;
  private readonly progress = new Map<string, { done: number; total: number }>();

  constructor(request: RemoteRequest, cache: ModelCache, target: Target) {
    this.request = request;
    this.cache = cache;
    this.target = target;
  }

  /** Fetches, or waits for the process that does; takes over where that one dies. */
  async open(): Promise<OpenedRemote> {
    const { signal, origin } = this.request;
    const key = fetchKey(origin, fileIdentity(this.target.model));
    for (let waitMs = 10; ; waitMs = Math.min(200, waitMs * 1.5)) {
      signal.throwIfAborted();
      const ready = await this.published();
      if (ready !== undefined) return this.opened(ready);
      await this.cache.prepare();
      const lock = await this.cache.tryLock(key);
      if (lock === undefined) {
        await delay(waitMs, undefined, { signal }).catch(() => undefined);
        continue;
      }
      try {
        // Between the look above and the lock another process may have finished.
        const leased = (await this.published()) ?? (await this.fetchAndPublish(key));
        if (leased !== undefined) return this.opened(leased);
      } catch (error) {
        // Complete and useless: kept, it would only take room.
        if (error instanceof ModelNotOnnxError || error instanceof ModelLayoutError)
          await this.cache.discardPartial(key);
        throw error;
      } finally {
        await lock.release();
      }
    }
  }

  /** Without fetching anything. */
  async cached(): Promise<OpenedRemote | undefined> {
    const ready = await this.published();
    return ready === undefined ? undefined : this.opened(ready);
  }

  private opened(leased: LeasedModel): OpenedRemote {
    const { fetchedBytes, externalised } = this;
    return { ...fromCache(this.request, leased), fetchedBytes, externalised };
  }

  /** A published entry of exactly this content: model and external files, the latter as the store has them now. */
  private async published(): Promise<LeasedModel | undefined> {
    if (this.target.pinned !== undefined)
      return this.cache.lease(entryKey(this.request.origin, this.target.pinned));
    const model = fileIdentity(this.target.model, this.request.sha256);
    const wanted = await this.wantedCompanions();
    for (const cached of await this.cache.list()) {
      const [first, ...external] = cached.identity.files;
      if (cached.origin !== this.request.origin || first === undefined || !sameFile(first, model)) continue;
      if (this.request.sha256 !== undefined && first.sha256 !== this.request.sha256) continue;
      if (!areTheSame(companionsOf(cached.identity), wanted)) continue;
      if (!(await this.areCurrent(external))) continue;
      const leased = await this.cache.lease(cached.key);
      if (leased !== undefined) return leased;
    }
    return undefined;
  }

  private async areCurrent(external: ModelIdentity['files']): Promise<boolean> {
    for (const file of external) {
      const now = await this.target.find(file.path).catch((error: unknown) => {
        if (error instanceof ModelNotFoundError) return undefined;
        throw error;
      });
      if (now === undefined || !sameFile(file, fileIdentity(now))) return false;
    }
    return true;
  }

  private async fetchAndPublish(key: string): Promise<LeasedModel | undefined> {
    const { limits, sha256, origin, cacheDir } = this.request;
    const { model, pinned } = this.target;
    await this.makeRoom(key, model.sizeBytes ?? 0);
    const digest = pinned?.files[0]?.sha256 ?? sha256;
    const alone = entryKey(origin, { files: [fileIdentity(model, digest)] });
    const fullPath = join(this.cache.partialFolder(key), 'files', model.path);
    const arriving = await ArrivingForm.begin({ cacheDir, ...limits }, alone, fullPath, model.sizeBytes);
    try {
      const modelBytes = await this.fetch(key, model, digest, (prefixBytes) =>
        arriving?.advance(prefixBytes),
      );
      const published = await this.publishWith(key, modelBytes, digest, fullPath);
      if (published === undefined) return undefined;
      // Of a model that has files of its own outside, the form would be another one.
      if (published.isAlone) this.externalised = await arriving?.finish(modelBytes);
      return await this.cache.lease(published.entry);
    } finally {
      await arriving?.abandon();
    }
  }

  /** The model is there: fetches what it keeps outside, and what goes with it. @returns the published entry's key */
  private async publishWith(
    key: string,
    modelBytes: number,
    digest: string | undefined,
    fullPath: string,
  ): Promise<{ entry: string; isAlone: boolean } | undefined> {
    const { limits, source, uri, origin } = this.request;
    const { model } = this.target;
    const external = await externalFilesOf(fullPath, model.path, source.label);
    const weights = await resolveExternal(external, (path) => this.target.find(path), source.label);
    const totalBytes = weights.reduce((sum, file) => sum + (file.sizeBytes ?? 0), modelBytes);
    if (totalBytes > limits.modelBytes) {
      throw new ModelTooLargeError(
        `${source.label} has ${totalBytes} bytes; the limit is ${limits.modelBytes}`,
      );
    }
    await this.makeRoom(key, totalBytes);
    const sizes = await this.fetchAll(key, weights);
    const files = weights.map((file, index) => {
      const sizeBytes = sizes[index] ?? 0;
      refuseShort({ ...file, sizeBytes }, external[index]?.requiredBytes ?? 0, source.label);
      return fileIdentity({ ...file, sizeBytes }, this.digestOf(file.path));
    });
    const identity = {
      files: [
        fileIdentity({ ...model, sizeBytes: modelBytes }, digest),
        ...files,
        ...(await this.fetchCompanions(key)),
      ],
    };
    const entry = entryKey(origin, identity);
    const isPublished = await this.cache.publish(key, entry, { uri, origin, identity });
    return isPublished ? { entry, isAlone: files.length === 0 } : undefined;
  }

  private wantedCompanions(): Promise<FoundCompanion[]> {
    const { companions, source } = this.request;
    this.companions ??= findCompanions(
      companions,
      this.target.model.path,
      (path) => this.target.find(path),
      source.label,
    ).then((found) => [...found, ...this.target.configuration]);
    return this.companions;
  }

  /** Their digests are taken whether or not anybody gave one: the same code is to run on every replica. */
  private async fetchCompanions(key: string): Promise<ModelIdentity['files']> {
    const fetched: ModelIdentity['files'] = [];
    for (const { companion, file } of await this.wantedCompanions()) {
      const wanted = companion.sha256 ?? this.digestOf(file.path);
      const sizeBytes = await this.fetch(key, file, wanted);
      refuseLarge({ ...file, sizeBytes }, this.request.source.label);
      const path = join(this.cache.partialFolder(key), 'files', file.path);
      const sha256 = wanted ?? (await sha256OfFile(path, this.request.signal));
      fetched.push({ ...fileIdentity({ ...file, sizeBytes }, sha256), companion: true });
    }
    return fetched;
  }

  /** Big files one after the other with all connections each; small ones side by side with one each. */
  private async fetchAll(key: string, files: readonly StoredFile[]): Promise<number[]> {
    const sizes: number[] = [];
    let next = 0;
    const work = async () => {
      while (next < files.length) {
        const index = next;
        next += 1;
        const file = files[index];
        if (file !== undefined) sizes[index] = await this.fetch(key, file, this.digestOf(file.path));
      }
    };
    const small = files.every((file) => (file.sizeBytes ?? 0) < 8 * 1024 ** 2);
    await Promise.all(Array.from({ length: small ? this.request.limits.ranges : 1 }, work));
    return sizes;
  }

  private digestOf(path: string): string | undefined {
    return this.target.pinned?.files.find((file) => file.path === path)?.sha256;
  }

  private async makeRoom(key: string, neededBytes: number): Promise<void> {
    await this.cache.makeRoom(neededBytes, this.request.limits.cacheBytes, key);
  }

  private async fetch(
    key: string,
    file: StoredFile,
    sha256: string | undefined,
    onPrefix?: (prefixBytes: number) => void,
  ): Promise<number> {
    const partial = this.cache.partialFolder(key);
    const name = createHash('sha256').update(file.path).digest('hex').slice(0, 32);
    const { sizeBytes, fetchedBytes } = await fetchFile({
      source: this.request.source,
      file,
      destination: {
        path: join(partial, 'files', file.path),
        sidecar: join(partial, 'ranges', `${name}.json`),
      },
      limits: this.request.limits,
      signal: this.request.signal,
      sha256,
      onProgress: (bytesDone) => this.report(file, bytesDone),
      onPrefix,
    });
    this.fetchedBytes += fetchedBytes;
    return sizeBytes;
  }

  private report(file: StoredFile, bytesDone: number): void {
    if (this.request.onProgress === undefined) return;
    this.progress.set(file.path, { done: bytesDone, total: file.sizeBytes ?? bytesDone });
    let [done, total] = [0, 0];
    for (const one of this.progress.values()) {
      done += one.done;
      total += one.total;
    }
    this.request.onProgress({ bytesDone: done, bytesTotal: total });
  }
}

/** Whether a cached model came with just these files beside it. */
function areTheSame(cached: ModelIdentity['files'], wanted: readonly FoundCompanion[]): boolean {
  return (
    cached.length === wanted.length &&
    wanted.every(({ companion, file }, index) => {
      const found = cached[index];
      const isExpected = companion.sha256 === undefined || companion.sha256 === found?.sha256;
      return found?.path === file.path && isExpected;
    })
  );
}
