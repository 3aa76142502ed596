import { cp, mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { ensureBaseImage } from '../e2e/cluster/base-image.ts';
import { succeeds } from '../e2e/cluster/command.ts';
import { step } from '../e2e/cluster/steps.ts';
import { dockerBuild, hasImage } from './docker.ts';
import { digestOf, recipeOf } from './layers.ts';

const PUBLIC_DEBIAN = 'debian:bookworm-slim';
const PULL_TIMEOUT_MS = 120_000;

/** Of every file in the images: a fixed one, so that a layer whose files are the same is the same. */
export const FILE_TIME_SECONDS = Date.UTC(2020, 0, 1) / 1000;

/**
 * The base of both images: Debian's libraries without a shell, made by `images/base`. Built once for a recipe, on
 * the public Debian image, or where that cannot be pulled on one made by debootstrap.
 *
 * @returns the image's name.
 */
export async function ensureImagesBase(): Promise<string> {
  const name = `pilotlight/base:${digestOf(recipeOf('base')).slice(0, 12)}`;
  if (await hasImage(name)) return name;
  const debian = (await canPull(PUBLIC_DEBIAN)) ? PUBLIC_DEBIAN : await ensureBaseImage();
  await step('base of the images', () => buildBase(name, debian));
  return name;
}

/** @param debian any image of Debian 12 with apt. */
async function buildBase(name: string, debian: string): Promise<void> {
  const context = await mkdtemp(join(tmpdir(), 'pilotlight-base-'));
  try {
    await cp(join(import.meta.dirname, 'base'), context, { recursive: true });
    await dockerBuild({
      context,
      tag: name,
      buildArguments: { DEBIAN: debian, SOURCE_DATE_EPOCH: String(FILE_TIME_SECONDS) },
    });
  } finally {
    await rm(context, { recursive: true, force: true });
  }
}

async function canPull(image: string): Promise<boolean> {
  return (
    (await hasImage(image)) || succeeds('docker', ['pull', '--quiet', image], { timeoutMs: PULL_TIMEOUT_MS })
  );
}

if (import.meta.main) process.stdout.write(`${await ensureImagesBase()}\n`);
