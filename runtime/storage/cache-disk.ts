import { mkdir, stat } from 'node:fs/promises';
import { dirname } from 'node:path';
import { PilotlightError } from '../../contracts/errors.ts';
import { CacheFullError, CacheNotWritableError, systemCode } from './errors.ts';

const NOT_WRITABLE = new Set(['EACCES', 'EPERM', 'EROFS', 'ENOTDIR', 'ENOENT', 'EEXIST', 'EISDIR']);

/**
 * Runs work on the cache folder and turns what the system says into an error with what to do.
 *
 * @throws CacheFullError for ENOSPC, EDQUOT, EFBIG; CacheNotWritableError for permissions and a missing folder;
 *   others as they are
 */
export async function onCacheDisk<T>(path: string, work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (cause) {
    if (cause instanceof PilotlightError) throw cause;
    const code = systemCode(cause) ?? '';
    if (code === 'ENOSPC' || code === 'EDQUOT' || code === 'EFBIG') {
      throw new CacheFullError(
        `no space left for the model cache at ${path} (${code}); free space, give it a larger volume, or serve the model from a file: URI, which is not copied`,
        { cause },
      );
    }
    if (NOT_WRITABLE.has(code)) {
      throw new CacheNotWritableError(
        `the model cache cannot be written at ${path} (${code}); give this user a writable folder, or serve the model from a file: URI, which needs none`,
        { cause },
      );
    }
    throw cause;
  }
}

/**
 * Makes a folder and what is missing above it. Not `mkdir({recursive: true})`, which never returns where a file
 * system answers ENOENT although the parent is there (/proc does, and some FUSE mounts).
 *
 * @throws the system error
 */
export async function makeFolder(path: string): Promise<void> {
  try {
    await mkdir(path);
  } catch (error) {
    const code = systemCode(error);
    if (code === 'ENOENT' && dirname(path) !== path) {
      await makeFolder(dirname(path));
      await mkdir(path).catch(async (again: unknown) => {
        if (!(await isFolder(path))) throw again;
      });
      return;
    }
    // EEXIST; on a read-only or foreign file system other codes may come first.
    if (!(await isFolder(path))) throw error;
  }
}

async function isFolder(path: string): Promise<boolean> {
  return stat(path).then(
    (found) => found.isDirectory(),
    () => false,
  );
}
