import { readdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { makeFolder, onCacheDisk } from './cache-disk.ts';
import { systemCode } from './errors.ts';
import { isPresent, PresenceFile } from './presence-file.ts';

/**
 * A lock between processes: numbered files `<name>.<n>`, the holder being the one whose file is there while all
 * others are of dead processes. Taking over means creating the next number, never deleting what somebody may
 * just have replaced: two who see the same dead owner collide in the exclusive creation, and one who acted on
 * an old view sees the other's file when it looks again and withdraws.
 */
export class CacheLock {
  private readonly presence: PresenceFile;

  private constructor(presence: PresenceFile) {
    this.presence = presence;
  }

  /** The lock, or undefined while a living process holds it. */
  static async tryAcquire(folder: string, name: string, nowMs: () => number): Promise<CacheLock | undefined> {
    return onCacheDisk(folder, async () => {
      await makeFolder(folder);
      const before = await numbersOf(folder, name);
      if (await someonePresent(folder, name, before, nowMs())) return undefined;
      const number = Math.max(0, ...before) + 1;
      let presence: PresenceFile;
      try {
        presence = await PresenceFile.create(join(folder, `${name}.${number}`));
      } catch (error) {
        if (systemCode(error) === 'EEXIST') return undefined;
        throw error;
      }
      const others = (await numbersOf(folder, name)).filter((other) => other !== number);
      if (await someonePresent(folder, name, others, nowMs())) {
        await presence.remove();
        return undefined;
      }
      await Promise.all(others.map((other) => rm(join(folder, `${name}.${other}`), { force: true })));
      return new CacheLock(presence);
    });
  }

  /** False once another process has taken the lock for abandoned (this one was stopped for too long). */
  async isHeld(nowMs: number): Promise<boolean> {
    return isPresent(this.presence.path, nowMs);
  }

  async release(): Promise<void> {
    await this.presence.remove();
  }
}

/** True while a living process holds the lock. */
export async function isLocked(folder: string, name: string, nowMs: number): Promise<boolean> {
  return someonePresent(folder, name, await numbersOf(folder, name), nowMs);
}

async function numbersOf(folder: string, name: string): Promise<number[]> {
  const files = await readdir(folder).catch((error: unknown) => {
    if (systemCode(error) === 'ENOENT') return [];
    throw error;
  });
  return files
    .filter((file) => file.startsWith(`${name}.`))
    .map((file) => Number(file.slice(name.length + 1)))
    .filter((number) => Number.isSafeInteger(number) && number > 0);
}

async function someonePresent(
  folder: string,
  name: string,
  numbers: number[],
  nowMs: number,
): Promise<boolean> {
  for (const number of numbers) {
    if (await isPresent(join(folder, `${name}.${number}`), nowMs)) return true;
  }
  return false;
}
