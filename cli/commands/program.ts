import { join } from 'node:path';

/** The components that can be run on their own. */
export type ProgramName = 'controller' | 'activator' | 'runtime';

/**
 * Turns this process into one of the platform's programs, by `execve`: no process stands between it and
 * whoever sends it signals. Does not return.
 */
export function becomeProgram(name: ProgramName, argv: readonly string[]): never {
  const isInCluster = name === 'controller' && argv.includes('--kubernetes');
  const program = join(import.meta.dirname, '../..', name, isInCluster ? 'cluster.ts' : 'main.ts');
  if (process.execve === undefined) {
    throw new Error('this system has no execve: run the main.ts of the folder itself');
  }
  return process.execve(process.execPath, [process.execPath, program, ...argv], process.env);
}
