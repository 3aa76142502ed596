import { homedir } from 'node:os';
import { join } from 'node:path';

/**
 * Where everything that is built, downloaded or written lies: outside the checkout, so that a fresh checkout
 * finds it again. `PILOTLIGHT_CACHE_DIR` moves all of it; deleting the folder (after `make cluster-down`) is
 * always safe.
 */
export function cacheFolder(...inside: string[]): string {
  const own = process.env['PILOTLIGHT_CACHE_DIR'];
  const shared = process.env['XDG_CACHE_HOME'] ?? join(homedir(), '.cache');
  return join(own === undefined || own === '' ? join(shared, 'pilotlight') : own, ...inside);
}
