import { createHash } from 'node:crypto';
import { mkdir, rm } from 'node:fs/promises';
import { succeeds } from './command.ts';
import { DEBIAN_MIRROR, DEBIAN_SUITE, debootstrap, ensureDebootstrap } from './debootstrap.ts';
import { ensureDocker } from './docker-engine.ts';
import { cacheFolder } from './folders.ts';
import { withLock } from './lock.ts';
import { program, step } from './steps.ts';

/** On top of the essential packages: what a TLS client needs. */
const PACKAGES = ['ca-certificates'];
const PATH = '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin';

/**
 * Sees to it that the Docker engine holds a small Debian image to build others on, made by debootstrap: for
 * machines that cannot pull one. Built once, in about a minute, and kept by the engine.
 *
 * @returns the image's name, to be used in FROM
 * @throws ClusterError E2E_NEEDS_ROOT or E2E_NEEDS_DEBIAN where it has to be built and that cannot be done
 */
export async function ensureBaseImage(): Promise<string> {
  await ensureDocker();
  const recipe = JSON.stringify([DEBIAN_SUITE, DEBIAN_MIRROR, PACKAGES, PATH]);
  const digest = createHash('sha256').update(recipe).digest('hex').slice(0, 12);
  const image = `pilotlight.dev/debian:${DEBIAN_SUITE}-${digest}`;
  if (await isPresent(image)) return image;
  await withLock('base-image', async () => {
    if (!(await isPresent(image))) await buildBaseImage(image);
  });
  return image;
}

async function isPresent(image: string): Promise<boolean> {
  return succeeds('docker', ['image', 'inspect', image]);
}

async function buildBaseImage(image: string): Promise<void> {
  await ensureDebootstrap('a Debian base image');
  await step(
    'Debian base image',
    async ({ run }) => {
      await mkdir(cacheFolder('build'), { recursive: true });
      const root = cacheFolder('build', `base-${process.pid}`);
      const archive = `${root}.tar`;
      try {
        await debootstrap(run, root, PACKAGES);
        await run('tar', ['-C', root, '--numeric-owner', '-cf', archive, '.']);
        await run('docker', ['import', '--change', `ENV PATH=${PATH}`, archive, image]);
      } finally {
        await rm(root, { recursive: true, force: true });
        await rm(archive, { force: true });
      }
    },
    'about a minute',
  );
}

if (import.meta.main) await program(ensureBaseImage);
