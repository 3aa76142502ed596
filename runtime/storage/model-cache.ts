import { randomUUID } from 'node:crypto';
import { readdir, readFile, rename, rm, stat, statfs, utimes, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { z } from 'zod';
import { type ModelIdentity, modelIdentitySchema } from '../../contracts/admin.ts';
import { makeFolder, onCacheDisk } from './cache-disk.ts';
import { CacheLock, isLocked } from './cache-lock.ts';
import { canSyncLater, clearUnsynced, isUnsynced, markUnsynced, syncAll } from './durability.ts';
import { CacheFullError, systemCode } from './errors.ts';
import { isPresent, PresenceFile } from './presence-file.ts';

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

  constructor(dir: string, nowMs: () => number = Date.now) {
    this.dir = dir;
    this.nowMs = nowMs;
  }

  /** Makes the folder. @throws CacheNotWritableError, CacheFullError */
  async prepare(): Promise<void> {
    await onCacheDisk(this.dir, async () => {
      for (const name of ['entries', 'partial', 'locks', 'leases', 'trash']) {
        await makeFolder(join(this.dir, name));
      }
    });
  }

  tryLock(key: string): Promise<CacheLock | undefined> {
    return CacheLock.tryAcquire(join(this.dir, 'locks'), key, this.nowMs);
  }

  partialFolder(key: string): string {
    return join(this.dir, 'partial', key);
  }

  /**
   * The published model of that key with a lease on it, or undefined. A damaged one (a file missing, or of
   * another size) is thrown away. The lease is taken before the look, so an evictor that looks at leases after
   * moving the entry away either sees it or is seen. A cache that cannot be written is read without lease.
   */
  async lease(key: string): Promise<LeasedModel | undefined> {
    const entry = join(this.dir, 'entries', key);
    if (!(await exists(entry))) return undefined;
    const lease = await this.takeLease(key);
    const manifest = await this.intact(entry);
    if (manifest === undefined) {
      await lease?.remove();
      await this.discard(entry);
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
    const entry = join(this.dir, 'entries', key);
    return onCacheDisk(this.dir, async () => {
      await rm(join(partial, 'ranges'), { recursive: true, force: true });
      await removeOthers(join(partial, 'files'), new Set(manifest.identity.files.map((file) => file.path)));
      const text = JSON.stringify({ format: 1, ...manifest } satisfies Manifest);
      const manifestPath = join(partial, 'manifest.json');
      await writeFile(manifestPath, text);
      const paths = [
        manifestPath,
        ...manifest.identity.files.map((file) => join(partial, 'files', file.path)),
      ];
      const later = await canSyncLater(this.dir);
      if (later) await markUnsynced(partial);
      else await syncAll(paths);
      for (let attempt = 0; attempt < 3; attempt += 1) {
        try {
          await rename(partial, entry);
          if (later) this.syncLater(entry, manifest.identity);
          else await syncAll([dirname(entry)]);
          return true;
        } catch (error) {
          const code = systemCode(error);
          if (code === 'ENOENT') return false;
          if (code !== 'ENOTEMPTY' && code !== 'EEXIST') throw error;
          if ((await this.intact(entry)) !== undefined) {
            await this.discard(partial);
            return true;
          }
          await this.discard(entry);
        }
      }
      return false;
    });
  }

  /** All published models that are whole by their manifest; sizes are not compared here. */
  async list(): Promise<CachedModel[]> {
    const models: CachedModel[] = [];
    for (const key of await namesIn(join(this.dir, 'entries'))) {
      const path = join(this.dir, 'entries', key, 'manifest.json');
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
   * Abandoned fetches go first, then the least recently used models that nobody leases.
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
    await this.emptyTrash();
    const models = (await this.list()).sort((a, b) => a.lastUsedAtMs - b.lastUsedAtMs);
    const partials: { path: string; key: string; sizeBytes: number }[] = [];
    for (const key of await namesIn(join(this.dir, 'partial'))) {
      if (key === keepPartial) continue;
      const path = this.partialFolder(key);
      partials.push({ path, key, sizeBytes: await folderBytes(path) });
    }
    let usedBytes = sum(models.map((model) => model.sizeBytes)) + sum(partials.map((one) => one.sizeBytes));
    const enough = async () =>
      usedBytes + neededBytes <= cacheBytes &&
      (await this.freeBytes()) >= neededBytes - (await folderBytes(this.partialFolder(keepPartial), true));
    for (const partial of partials) {
      if (await enough()) return;
      if (await isLocked(join(this.dir, 'locks'), partial.key, this.nowMs())) continue;
      await this.discard(partial.path);
      usedBytes -= partial.sizeBytes;
    }
    for (const model of models) {
      if (await enough()) return;
      if (await this.evict(model.key)) usedBytes -= model.sizeBytes;
    }
    if (await enough()) return;
    const free = await this.freeBytes();
    throw new CacheFullError(
      `no room for ${neededBytes} bytes in the model cache ${this.dir}: ${usedBytes} of ${cacheBytes} bytes are taken by models in use, ${free} bytes are free on the disk; raise the limit, or give it a larger volume`,
    );
  }

  /** Throws away what a fetch has brought; only for the holder of its lock. */
  async discardPartial(key: string): Promise<void> {
    await this.discard(this.partialFolder(key));
  }

  /** Moved away first and put back if somebody has taken a lease meanwhile. True when it is gone. */
  private async evict(key: string): Promise<boolean> {
    if (await this.isLeased(key)) return false;
    const entry = join(this.dir, 'entries', key);
    const away = join(this.dir, 'trash', `${key}.${randomUUID()}`);
    try {
      await rename(entry, away);
    } catch {
      return false;
    }
    if (
      (await this.isLeased(key)) &&
      (await rename(away, entry).then(
        () => true,
        () => false,
      ))
    )
      return false;
    await rm(away, { recursive: true, force: true });
    await rm(join(this.dir, 'leases', key), { recursive: true, force: true });
    return true;
  }

  private async isLeased(key: string): Promise<boolean> {
    const folder = join(this.dir, 'leases', key);
    for (const name of await namesIn(folder)) {
      if (await isPresent(join(folder, name), this.nowMs())) return true;
      await rm(join(folder, name), { force: true });
    }
    return false;
  }

  private async takeLease(key: string): Promise<PresenceFile | undefined> {
    const folder = join(this.dir, 'leases', key);
    for (let attempt = 0; attempt < 3; attempt += 1) {
      try {
        await makeFolder(folder);
        return await PresenceFile.create(join(folder, randomUUID()));
      } catch (error) {
        // ENOENT: an evictor removed the folder in between.
        if (systemCode(error) !== 'ENOENT') return undefined;
      }
    }
    return undefined;
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

  /** Behind the caller's back; an entry that the disk would not take is thrown away. */
  private syncLater(entry: string, identity: ModelIdentity): void {
    const files = identity.files.map((file) => join(entry, 'files', file.path));
    syncAll([...files, join(entry, 'manifest.json'), entry, dirname(entry)])
      .then(() => clearUnsynced(entry))
      // ENOENT: evicted meanwhile. Anything else is the disk's refusal.
      .catch((error: unknown) => (systemCode(error) === 'ENOENT' ? undefined : this.discard(entry)))
      .catch(() => undefined);
  }

  /** By a rename, so that nobody sees half of it. Open files live on until they are closed. */
  private async discard(path: string): Promise<void> {
    const away = join(this.dir, 'trash', randomUUID());
    try {
      await rename(path, away);
      await rm(away, { recursive: true, force: true });
    } catch (error) {
      if (systemCode(error) !== 'ENOENT') await onCacheDisk(this.dir, () => Promise.reject(error));
    }
  }

  /** What a killed process was about to delete. A minute's age keeps clear of those at work now. */
  private async emptyTrash(): Promise<void> {
    for (const name of await namesIn(join(this.dir, 'trash'))) {
      const path = join(this.dir, 'trash', name);
      const found = await stat(path).catch(() => undefined);
      if (found !== undefined && this.nowMs() - found.ctimeMs > 60_000)
        await rm(path, { recursive: true, force: true });
    }
  }

  private async freeBytes(): Promise<number> {
    const { bavail, bsize } = await statfs(this.dir);
    return bavail * bsize;
  }
}

/** Models in a cache folder, for whoever chooses where a model starts; empty when there is no such folder. */
export async function listCached(cacheDir: string): Promise<CachedModel[]> {
  return new ModelCache(cacheDir).list();
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

async function namesIn(folder: string): Promise<string[]> {
  return readdir(folder).catch(() => []);
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
