import { flushCompileCache, getCompileCacheDir } from 'node:module';
import { dirname } from 'node:path';

/** What the next incarnation starts with. */
export interface NextIncarnation {
  /** Program file. */
  mainPath: string;
  arguments: readonly string[];
  /** As it was when the first incarnation started: `NODE_OPTIONS` set in between would live on otherwise. */
  environment: Readonly<Record<string, string | undefined>>;
}

/**
 * Replaces this process by a new one of the same program, pid and standard streams. The kernel ends all other
 * threads, a hung inference among them, unmaps all memory and closes all sockets; nothing of the model is left.
 * Does not return.
 *
 * @throws Error where the platform has no `execve` (Windows, or a worker thread).
 */
export function replaceProcess(next: NextIncarnation): never {
  const environment = Object.fromEntries(
    Object.entries(next.environment).filter((entry): entry is [string, string] => entry[1] !== undefined),
  );
  // With it Node reads the very first file compiled too, and never loads the compiler that strips types: 18 MB, 50 ms.
  const compileCache = getCompileCacheDir();
  if (compileCache !== undefined) environment['NODE_COMPILE_CACHE'] ??= dirname(compileCache);
  // Written at an exit otherwise, which a replaced process never has.
  flushCompileCache();
  const argv = [process.execPath, ...process.execArgv, next.mainPath, ...next.arguments];
  if (process.execve === undefined) throw new Error('this platform cannot replace a process (execve)');
  return process.execve(process.execPath, argv, environment);
}
