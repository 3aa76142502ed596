import { mkdir, rm } from 'node:fs/promises';
import { ensurePrograms, isRoot } from './debian.ts';
import { ClusterError } from './errors.ts';
import { cacheFolder } from './folders.ts';
import type { RunInStep } from './steps.ts';

export const DEBIAN_SUITE = 'bookworm';
export const DEBIAN_MIRROR = 'http://deb.debian.org/debian';

/** Caches and texts that no program in a container reads. Copyright files stay. */
const NOT_NEEDED = [
  'var/cache/apt/archives',
  'var/cache/debconf',
  'var/lib/apt/lists',
  'var/log',
  'usr/share/man',
  'usr/share/locale',
  'usr/share/info',
];

/**
 * Puts a minimal Debian (the packages marked essential, and those named) into a folder. What was downloaded is
 * kept for the next time.
 *
 * @param root a folder that does not exist yet
 * @throws ClusterError E2E_NEEDS_ROOT, E2E_NEEDS_DEBIAN
 */
export async function debootstrap(run: RunInStep, root: string, packages: readonly string[]): Promise<void> {
  const downloads = cacheFolder('debian-packages');
  await mkdir(downloads, { recursive: true });
  const include = packages.length === 0 ? [] : [`--include=${packages.join(',')}`];
  await run('debootstrap', [
    '--variant=minbase',
    `--cache-dir=${downloads}`,
    ...include,
    DEBIAN_SUITE,
    root,
    DEBIAN_MIRROR,
  ]);
  await Promise.all(NOT_NEEDED.map((path) => rm(`${root}/${path}`, { recursive: true, force: true })));
  // dpkg and apt want these folders, though empty.
  const wanted = ['var/cache/apt/archives/partial', 'var/lib/apt/lists/partial', 'var/log'];
  await Promise.all(wanted.map((path) => mkdir(`${root}/${path}`, { recursive: true })));
}

/** Sees to it that `debootstrap` can be called. */
export async function ensureDebootstrap(purpose: string): Promise<void> {
  if (!isRoot()) throw new ClusterError('E2E_NEEDS_ROOT', `${purpose} with debootstrap takes root`);
  await ensurePrograms({ debootstrap: 'debootstrap' }, purpose);
}
