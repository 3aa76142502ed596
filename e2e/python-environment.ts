import { spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { existsSync, mkdirSync, readFileSync, renameSync, rmSync } from 'node:fs';
import { homedir } from 'node:os';
import { join } from 'node:path';

/** The interpreter that environments are made with. */
export const PYTHON = process.env['PYTHON'] ?? 'python3';

/**
 * The Python of an environment that holds exactly what `requirements` pins by hash; made once for each set of pins,
 * outside of the checkout, in a folder named after `purpose`.
 *
 * @param say told before something is installed, which takes minutes.
 * @throws Error when Python can't be started or the packages can't be installed.
 */
export async function pythonEnvironment(
  purpose: string,
  requirements: string,
  say: (line: string) => void,
): Promise<string> {
  const digest = createHash('sha256').update(readFileSync(requirements)).digest('hex').slice(0, 16);
  const cache = process.env['XDG_CACHE_HOME'] ?? join(homedir(), '.cache');
  const folder = join(cache, 'pilotlight', purpose, digest);
  const python = join(folder, 'bin', 'python');
  const complete = join(folder, 'complete');
  if (existsSync(complete)) return python;
  rmSync(folder, { recursive: true, force: true });
  mkdirSync(folder, { recursive: true });
  say(`installing what ${requirements} names into ${folder}`);
  await run(PYTHON, ['-m', 'venv', folder]);
  await run(python, ['-m', 'pip', 'install', '--quiet', '--require-hashes', '--requirement', requirements]);
  const mark = join(folder, 'complete.new');
  mkdirSync(mark);
  renameSync(mark, complete);
  return python;
}

/** @throws Error when the program can't be started or fails. */
async function run(command: string, args: readonly string[]): Promise<void> {
  const child = spawn(command, args, { stdio: 'inherit' });
  const [code] = (await once(child, 'exit')) as [number | null];
  if (code !== 0) throw new Error(`${command} ${args.join(' ')} ended with ${code}`);
}
