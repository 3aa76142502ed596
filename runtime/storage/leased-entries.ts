import { randomUUID } from 'node:crypto';
import { readdir, rename, rm, stat, statfs } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { makeFolder, onCacheDisk } from './cache-disk.ts';
import { canSyncLater, clearUnsynced, markUnsynced, syncAll } from './durability.ts';
import { systemCode } from './errors.ts';
import { isPresent, PresenceFile } from './presence-file.ts';

/** What somebody was about to delete, or wrote and never published, is left alone for so long. */
const ABANDONED_AFTER_MS = 60_000;

/**
 * Folders that appear and go whole, shared by any number of processes:
 *
 *     entries/<key>          published by one rename
 *     leases/<key>/<uuid>    who uses it
 *     trash/<uuid>           on its way out
 */
export class LeasedEntries {
  readonly dir: string;
  readonly #nowMs: () => number;

  constructor(dir: string, nowMs: () => number) {
    this.dir = dir;
    this.#nowMs = nowMs;
  }

  /** Makes the folders. @throws CacheNotWritableError, CacheFullError */
  async prepare(others: readonly string[] = []): Promise<void> {
    await onCacheDisk(this.dir, async () => {
      for (const name of ['entries', 'leases', 'trash', ...others]) await makeFolder(join(this.dir, name));
    });
  }

  pathOf(key: string): string {
    return join(this.dir, 'entries', key);
  }

  keys(): Promise<string[]> {
    return namesIn(join(this.dir, 'entries'));
  }

  /**
   * Says that this process uses the entry of that key; to be taken before looking at it, so that an evictor, which
   * looks at leases after moving the entry away, either sees the lease or is seen. Undefined where nothing can be
   * written.
   */
  async lease(key: string): Promise<PresenceFile | undefined> {
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

  /**
   * Publishes a finished folder by one rename. Where another process was faster, its entry stands if it is whole.
   *
   * @param files relative to the folder: what must be on the disk before the entry counts (durability.ts)
   * @returns false when the folder is no longer there
   */
  async publish(
    folder: string,
    key: string,
    files: readonly string[],
    isWhole: (entry: string) => Promise<boolean>,
  ): Promise<boolean> {
    const entry = this.pathOf(key);
    const later = await canSyncLater(this.dir);
    if (later) await markUnsynced(folder);
    else await syncAll(files.map((file) => join(folder, file)));
    for (let attempt = 0; attempt < 3; attempt += 1) {
      try {
        await rename(folder, entry);
        if (later) this.#syncLater(entry, files);
        else await syncAll([dirname(entry)]);
        return true;
      } catch (error) {
        const code = systemCode(error);
        if (code === 'ENOENT') return false;
        if (code !== 'ENOTEMPTY' && code !== 'EEXIST') throw error;
        if (await isWhole(entry)) {
          await this.discard(folder);
          return true;
        }
        await this.discard(entry);
      }
    }
    return false;
  }

  /** Moved away first and put back if somebody has taken a lease meanwhile. True when it is gone. */
  async evict(key: string): Promise<boolean> {
    if (await this.#isLeased(key)) return false;
    const entry = this.pathOf(key);
    const away = join(this.dir, 'trash', `${key}.${randomUUID()}`);
    try {
      await rename(entry, away);
    } catch {
      return false;
    }
    if (
      (await this.#isLeased(key)) &&
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

  /** By a rename, so that nobody sees half of it. Open files live on until they are closed. */
  async discard(path: string): Promise<void> {
    const away = join(this.dir, 'trash', randomUUID());
    try {
      await rename(path, away);
      await rm(away, { recursive: true, force: true });
    } catch (error) {
      if (systemCode(error) !== 'ENOENT') await onCacheDisk(this.dir, () => Promise.reject(error));
    }
  }

  /** What a killed process was about to delete. Some age keeps clear of those at work now. */
  async emptyTrash(): Promise<void> {
    for (const name of await namesIn(join(this.dir, 'trash'))) {
      const path = join(this.dir, 'trash', name);
      const found = await stat(path).catch(() => undefined);
      if (found !== undefined && this.#nowMs() - found.ctimeMs > ABANDONED_AFTER_MS)
        await rm(path, { recursive: true, force: true });
    }
  }

  /** Bytes that the disk has left. */
  async freeBytes(): Promise<number> {
    const { bavail, bsize } = await statfs(this.dir);
    return bavail * bsize;
  }

  /** Behind the caller's back; an entry that the disk would not take is thrown away. */
  #syncLater(entry: string, files: readonly string[]): void {
    syncAll([...files.map((file) => join(entry, file)), entry, dirname(entry)])
      .then(() => clearUnsynced(entry))
      // ENOENT: evicted meanwhile. Anything else is the disk's refusal.
      .catch((error: unknown) => (systemCode(error) === 'ENOENT' ? undefined : this.discard(entry)))
      .catch(() => undefined);
  }

  async #isLeased(key: string): Promise<boolean> {
    const folder = join(this.dir, 'leases', key);
    for (const name of await namesIn(folder)) {
      if (await isPresent(join(folder, name), this.#nowMs())) return true;
      await rm(join(folder, name), { force: true });
    }
    return false;
  }
}

/** Names in a folder; none where there is no such folder. */
export async function namesIn(folder: string): Promise<string[]> {
  return readdir(folder).catch(() => []);
}
