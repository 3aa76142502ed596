import { homedir } from 'node:os';
import { join } from 'node:path';

/** `$XDG_CACHE_HOME/pilotlight/models`, as the XDG base directory specification has it. */
export function defaultCacheDir(environment: Readonly<Record<string, string | undefined>>): string {
  return join(environment['XDG_CACHE_HOME'] ?? join(homedir(), '.cache'), 'pilotlight', 'models');
}
