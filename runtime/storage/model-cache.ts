import { readdir, readFile, rm, stat, utimes, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { z } from 'zod';
import { type ModelIdentity, modelIdentitySchema } from '../../contracts/admin.ts';
import { onCacheDisk } from './cache-disk.ts';
import { CacheLock, isLocked } from './cache-lock.ts';
import { isUnsynced } from './durability.ts';
import { CacheFullError } from './errors.ts';
import { FormCache } from './form-cache.ts';
import { LeasedEntries, namesIn } from './leased-entries.ts';

const manifestSchema = z.object({
  format: z.literal(1),
  /** Without credentials. */
  uri: z.string(),
  /** The same with the store's address. */
  origin: z.string(),
  identity: modelIdentitySchema,
});
type Manifest = z.infer<typeof manifestSchema>;

export interface CachedModel {
  key: string;
  /** Without credentials, as `redactUri` shows it. */
  uri: string;
  origin: string;
  identity: ModelIdentity;
  sizeBytes: number;
  lastUsedAtMs: number;
}

/** A published model that nobody evicts until it is released. */
export interface LeasedModel {
  /** Absolute folder of the files. */
  folder: string;
  identity: ModelIdentity;
  release(): Promise<void>;
}

/**
 * A folder of models shared by any number of processes:
 *
 *     entries/<key>/manifest.json, files/…   published whole, by one rename; last use = the manifest's time
 *     entries/<key>/unsynced                 not yet known to be on the disk itself (durability.ts)
 *     partial/<key>/files/…, ranges/…        being fetched, by the holder of locks/<key>
 *     locks/<key>.<n>, leases/<key>/<uuid>   who is at work, who reads
 *     trash/<uuid>                           on its way out
 */
export class ModelCache {
  readonly dir: string;
  private readonly nowMs: () => number;
  private readonly entries: LeasedEntries;

  constructor(dir: string, nowMs: () => number = Date.now) {
    this.dir = dir;
    this.nowMs = nowMs;
    this.entries = new LeasedEntries(dir, nowMs);
  }

  /** Makes the folder. @throws CacheNotWritableError, CacheFullError */
  async prepare(): Promise<void> {
    await this.entries.prepare(['partial', 'locks']);
  }

  tryLock(key: string): Promise<CacheLock | undefined> {
    return CacheLock.tryAcquire(join(this.dir, 'locks'), key, this.nowMs);
  }

  partialFolder(key: string): string {
    return join(this.dir, 'partial', key);
  }

  /**
   * The published model of that key with a lease on it, or undefined. A damaged one (a file missing, or of
   * another size) is thrown away. The lease is taken before the look. A cache that cannot be written is read without lease.
   */
  async lease(key: string): Promise<LeasedModel | undefined> {
    const entry = this.entries.pathOf(key);
    if (!(await exists(entry))) return undefined;
    const lease = await this.entries.lease(key);
    const manifest = await this.intact(entry);
    if (manifest === undefined) {
      await lease?.remove();
      await this.entries.discard(entry);
      return undefined;
    }
    const now = new Date(this.nowMs());
    await utimes(join(entry, 'manifest.json'), now, now).catch(() => undefined);
    return {
      folder: join(entry, 'files'),
      identity: manifest.identity,
      release: async () => lease?.remove(),
    };
  }

  /**
   * Publishes a finished partial folder by one rename. Where another process was faster its entry stands.
   *
   * @returns false when the partial folder is no longer there (its lock was lost to somebody else)
   */
  async publish(partialKey: string, key: string, manifest: Omit<Manifest, 'format'>): Promise<boolean> {
    const partial = this.partialFolder(partialKey);
    return onCacheDisk(this.dir, async () => {
      await rm(join(partial, 'ranges'), { recursive: true, force: true });
      await removeOthers(join(partial, 'files'), new Set(manifest.identity.files.map((file) => file.path)));
      const text = JSON.stringify({ format: 1, ...manifest } satisfies Manifest);
      await writeFile(join(partial, 'manifest.json'), text);
      const files = ['manifest.json', ...manifest.identity.files.map((file) => join('files', file.path))];
      return this.entries.publish(
        partial,
        key,
        files,
        async (entry) => (await this.intact(entry)) !== undefined,
      );
    });
  }

  /** All published models that are whole by their manifest; sizes are not compared here. */
  async list(): Promise<CachedModel[]> {
    const models: CachedModel[] = [];
    for (const key of await this.entries.keys()) {
      const path = join(this.entries.pathOf(key), 'manifest.json');
      const manifest = await readManifest(path);
      const times = await stat(path).catch(() => undefined);
      if (manifest === undefined || times === undefined) continue;
      const { uri, origin, identity } = manifest;
      const sizeBytes = sum(identity.files.map((file) => file.sizeBytes));
      models.push({ key, uri, origin, identity, sizeBytes, lastUsedAtMs: times.mtimeMs });
    }
    return models;
  }

  /**
   * Makes room for `neededBytes` more: below the bound of the cache and within the free space of the disk.
   * Abandoned fetches go first, then the least recently used forms of models (they can be made again), then models;
   * never what somebody leases.
   *
   * @param keepPartial the fetch that asks
   * @throws CacheFullError when all that may go is gone and it is still too little
   */
  async makeRoom(neededBytes: number, cacheBytes: number, keepPartial: string): Promise<void> {
    if (neededBytes > cacheBytes) {
      throw new CacheFullError(
        `the model needs ${neededBytes} bytes and the cache ${this.dir} is limited to ${cacheBytes}; raise its limit`,
      );
    }
    await this.entries.emptyTrash();
    const models = (await this.list()).sort((a, b) => a.lastUsedAtMs - b.lastUsedAtMs);
    const partials: { path: string; key: string; sizeBytes: number }[] = [];
    for (const key of await namesIn(join(this.dir, 'partial'))) {
      if (key === keepPartial) continue;
      const path = this.partialFolder(key);
      partials.push({ path, key, sizeBytes: await folderBytes(path) });
    }
    const forms = new FormCache(this.dir, this.nowMs);
    const otherForms = await forms.list();
    let usedBytes = sum([...models, ...partials, ...otherForms].map(({ sizeBytes }) => sizeBytes));
    const enough = async () =>
      usedBytes + neededBytes <= cacheBytes &&
      (await this.entries.freeBytes()) >=
        neededBytes - (await folderBytes(this.partialFolder(keepPartial), true));
    for (const partial of partials) {
      if (await enough()) return;
      if (await isLocked(join(this.dir, 'locks'), partial.key, this.nowMs())) continue;
      await this.entries.discard(partial.path);
      usedBytes -= partial.sizeBytes;
    }
    for (const form of otherForms) {
      if (await enough()) return;
      if (await forms.evict(form.key)) usedBytes -= form.sizeBytes;
    }
    for (const model of models) {
      if (await enough()) return;
      if (await this.entries.evict(model.key)) usedBytes -= model.sizeBytes;
    }
    if (await enough()) return;
    const free = await this.entries.freeBytes();
    throw new CacheFullError(
      `no room for ${neededBytes} bytes in the model cache ${this.dir}: ${usedBytes} of ${cacheBytes} bytes are taken by models in use, ${free} bytes are free on the disk; raise the limit, or give it a larger volume`,
    );
  }

  /** Throws away what a fetch has brought; only for the holder of its lock. */
  async discardPartial(key: string): Promise<void> {
    await this.entries.discard(this.partialFolder(key));
  }

  /** The manifest when every file is there with its size. */
  private async intact(entry: string): Promise<Manifest | undefined> {
    const manifest = await readManifest(join(entry, 'manifest.json'));
    if (manifest === undefined || (await isUnsynced(entry))) return undefined;
    for (const { path, sizeBytes } of manifest.identity.files) {
      const found = await stat(join(entry, 'files', path)).catch(() => undefined);
      if (found?.isFile() !== true || found.size !== sizeBytes) return undefined;
    }
    return manifest;
  }
}

/** Models in a cache folder, for whoever chooses where a model starts; empty when there is no such folder. */
export async function listCached(cacheDir: string): Promise<CachedModel[]> {
  return new ModelCache(cacheDir).list();
}

/** Bytes that forms of models may take: what the models leave of the cache's bound. */
export async function bytesForForms(cacheDir: string, cacheBytes: number): Promise<number> {
  return cacheBytes - sum((await listCached(cacheDir)).map(({ sizeBytes }) => sizeBytes));
}

async function readManifest(path: string): Promise<Manifest | undefined> {
  try {
    return manifestSchema.parse(JSON.parse(await readFile(path, 'utf8')));
  } catch {
    return undefined;
  }
}

async function exists(path: string): Promise<boolean> {
  return stat(path).then(
    () => true,
    () => false,
  );
}

async function filesBelow(folder: string): Promise<string[]> {
  const entries = await readdir(folder, { withFileTypes: true, recursive: true }).catch(() => []);
  return entries.filter((entry) => entry.isFile()).map((entry) => join(entry.parentPath, entry.name));
}

/** Apparent size of what is below; with `allocated`, the blocks on disk, which a file full of holes has few of. */
async function folderBytes(folder: string, allocated = false): Promise<number> {
  const sizes = (await filesBelow(folder)).map((path) =>
    stat(path).then(
      ({ size, blocks }) => (allocated ? blocks * 512 : size),
      () => 0,
    ),
  );
  return sum(await Promise.all(sizes));
}

async function removeOthers(folder: string, keep: ReadonlySet<string>): Promise<void> {
  for (const path of await filesBelow(folder)) {
    if (!keep.has(path.slice(folder.length + 1))) await rm(path);
  }
}

function sum(numbers: number[]): number {
  return numbers.reduce((total, number) => total + number, 0);
}
