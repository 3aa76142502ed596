import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';

/** Bytes that the one fetch in progress in a cache folder has recorded as being on disk; 0 without one. */
export async function recordedBytes(cacheDir: string): Promise<number> {
  try {
    const [key = ''] = await readdir(join(cacheDir, 'partial'));
    const ranges = join(cacheDir, 'partial', key, 'ranges');
    const [name = ''] = (await readdir(ranges)).filter((candidate) => candidate.endsWith('.json'));
    const { done } = JSON.parse(await readFile(join(ranges, name), 'utf8')) as {
      done: { first: number; last: number }[];
    };
    return done.reduce((sum, { first, last }) => sum + last - first + 1, 0);
  } catch {
    return 0;
  }
}
