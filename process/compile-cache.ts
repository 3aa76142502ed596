import { getCompileCacheDir } from 'node:module';
import { dirname } from 'node:path';

/**
 * Environment for a child that is to read its sources compiled from its first import on, as this process does. A
 * program can't switch that on for its own static imports; and one whose sources all come compiled never loads
 * the compiler that strips types, which takes 10 to 25 MB and 50 ms.
 */
export function compileCacheEnvironment(): Record<string, string> {
  const folder = getCompileCacheDir();
  return folder === undefined ? {} : { NODE_COMPILE_CACHE: dirname(folder) };
}
