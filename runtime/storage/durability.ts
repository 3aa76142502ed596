import { open, readFile, rm, statfs, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { bootId } from './process-mark.ts';

/**
 * An fsync of 700 MB takes 0.75 s on a disk of 1 GB/s and six on one of 125 MB/s, all of it inside a cold start,
 * and only a power cut needs it: the page cache survives any process. So an entry is published with a mark that
 * names this boot of the machine, is synced in the background, and loses the mark. An entry that still has the
 * mark of another boot may hold anything, and counts as damaged.
 */
const MARK = 'unsynced';

/** File systems of one machine, by the numbers of statfs(2). On others a second machine may look meanwhile. */
const LOCAL = new Set([
  0xef53, // ext2, 3, 4
  0x58465342, // xfs
  0x9123683e, // btrfs
  0x01021994, // tmpfs
  0x794c7630, // overlay
  0xf2f52010, // f2fs
  0x2fc12fc1, // zfs
]);

/** True where only processes of this boot of this machine can see the folder. */
export async function canSyncLater(folder: string): Promise<boolean> {
  if (process.platform !== 'linux') return false;
  const { type } = await statfs(folder);
  return LOCAL.has(type);
}

export async function markUnsynced(entry: string): Promise<void> {
  await writeFile(join(entry, MARK), bootId());
}

export async function clearUnsynced(entry: string): Promise<void> {
  await rm(join(entry, MARK), { force: true });
}

/** True when the entry was being written as an earlier boot of the machine ended. */
export async function isUnsynced(entry: string): Promise<boolean> {
  try {
    return (await readFile(join(entry, MARK), 'utf8')) !== bootId();
  } catch {
    return false;
  }
}

/** Puts files and folders on the disk itself, in the order given. @throws the system error */
export async function syncAll(paths: readonly string[]): Promise<void> {
  for (const path of paths) {
    const handle = await open(path, 'r');
    try {
      await handle.sync();
    } finally {
      await handle.close();
    }
  }
}
