import { mkdirSync, readdirSync, symlinkSync } from 'node:fs';
import { constants, enableCompileCache, getCompileCacheDir } from 'node:module';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { cachedDataVersionTag } from 'node:v8';

/** Beside the folder of the programs; the image's build fills it, and nobody may write there. */
const COMPILED = join(import.meta.dirname, '../compiled');

/**
 * Has Node read a program's modules compiled from the image.
 *
 * Node keeps compiled code in a folder whose name holds the processor's features and the user's id, and so finds
 * none of it on another processor than the one that the image was built on, or under another user (OpenShift gives
 * each namespace its own). The code itself depends on neither: V8 checks its own version, its flags and the
 * source. So where the folder of that name isn't there, it is offered as a link in the temporary folder. Where
 * that can't be written, the program starts all the same, only slower.
 *
 * @param program name of the folder below `compiled`.
 */
export function useCompiledCode(program: string): void {
  // Somebody has said by NODE_COMPILE_CACHE what is wanted.
  if (getCompileCacheDir() !== undefined) return;
  const built = join(COMPILED, program);
  if (enable(built)) return;
  const links = join(tmpdir(), `pilotlight-compiled-${program}`);
  try {
    const name = readdirSync(built)[0];
    if (name === undefined) return;
    mkdirSync(links, { recursive: true, mode: 0o700 });
    symlinkSync(join(built, name), join(links, folderName()));
  } catch (error) {
    // A link that is there already is what the process before this one left.
    if ((error as NodeJS.ErrnoException).code !== 'EEXIST') return;
  }
  enable(links);
}

/** The workers and the next incarnation find the folder in the environment. */
function enable(folder: string): boolean {
  if (enableCompileCache(folder).status !== constants.compileCacheStatus.ENABLED) return false;
  process.env['NODE_COMPILE_CACHE'] = folder;
  return true;
}

/** As Node names it (src/compile_cache.cc). */
function folderName(): string {
  const tag = cachedDataVersionTag().toString(16).padStart(8, '0');
  return `${process.version}-${process.arch}-${tag}-${process.getuid?.() ?? 0}`;
}
