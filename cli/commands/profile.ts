import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { pathToFileURL } from 'node:url';
import type { Command } from 'commander';
import { type Profile, profileLines } from '../core/profile-report.ts';
import { profileSvg } from '../core/profile-svg.ts';
import { manifestOf, recommend, serviceName } from '../core/recommendation.ts';
import { EXIT_CODES_HELP, fileFailure } from '../failure.ts';
import { positiveSeconds } from '../infer/options.ts';
import { measure } from '../profile/measure.ts';
import { note, outputStyle, printLine, withSteps } from '../terminal.ts';

interface ProfileFlags {
  seconds: number;
  svg?: string;
  json?: true;
  cacheDir?: string;
}

const DEFAULT_SECONDS = 20;
const DEFAULT_COLUMNS = 100;

/** `pilotlight profile MODEL`: what a model needs and gives on this machine. */
export function addProfileCommand(program: Command): void {
  program
    .command('profile')
    .description('measure a model on this machine and recommend how to run it')
    .argument('<model>', 'path or URI of an ONNX model')
    .option('--seconds <seconds>', 'time to spend, roughly', positiveSeconds, DEFAULT_SECONDS)
    .option('--svg <file>', 'write a picture as well')
    .option('--json', 'print everything as JSON')
    .option(
      '--cache-dir <dir>',
      'folder for a cache of its own, emptied afterwards (default: the temporary folder)',
    )
    .addHelpText(
      'after',
      `
Measures starts (nothing cached; the model cached; compiled; its pages fallen out of memory, where the system
can be made to drop them) and load: latency and throughput by threads, instances and batch, on made-up inputs.
Each in a process of its own. A start counts from the order to the end of the first run, in a process that has
ONNX Runtime loaded, as a standby has.

Prints a manifest with the resources, concurrency, batches and scale target that follow. It holds for machines like
this one: run it on a node, or in a pod with the CPU limit that is meant.

Examples:
  pilotlight profile model.onnx
  pilotlight profile s3://models/resnet/ --seconds 60 --svg resnet.svg
  pilotlight profile model.onnx --json | jq -r .manifest > service.yaml

${EXIT_CODES_HELP}`,
    )
    .action(async (uri: string, flags: ProfileFlags) => {
      const scratch = await scratchFolder(flags.cacheDir);
      try {
        const profile = await profileOf(uri, scratch, flags.seconds);
        if (flags.svg !== undefined) await writePicture(flags.svg, profile);
        await (flags.json === true ? printLine(JSON.stringify(profile)) : printProfile(profile));
      } finally {
        await rm(scratch, { recursive: true, force: true });
      }
    });
}

async function scratchFolder(parent: string = tmpdir()): Promise<string> {
  try {
    await mkdir(parent, { recursive: true });
    return await mkdtemp(join(parent, 'pilotlight-profile-'));
  } catch (error) {
    throw fileFailure(parent, error);
  }
}

async function profileOf(uri: string, scratch: string, seconds: number): Promise<Profile> {
  const { model, starts, measured } = await withSteps((progress) =>
    measure({ uri, scratch, seconds }, progress, () => performance.now()),
  );
  const recommendation = recommend(measured);
  const storageUri = /^[a-z][a-z0-9+.-]+:/i.test(uri) ? uri : pathToFileURL(resolve(uri)).href;
  const manifest = manifestOf({ name: serviceName(uri), storageUri }, recommendation);
  const { sizeBytes, cpus, takesBatches } = model;
  return { model: uri, sizeBytes, cpus, takesBatches, starts, measured, recommendation, manifest };
}

async function writePicture(path: string, profile: Profile): Promise<void> {
  try {
    await writeFile(path, profileSvg(profile));
  } catch (error) {
    throw fileFailure(path, error);
  }
  note(`the picture is in ${path}`);
}

async function printProfile(profile: Profile): Promise<void> {
  const columns = process.stdout.columns ?? DEFAULT_COLUMNS;
  for (const line of profileLines(profile, outputStyle(), columns)) await printLine(line);
  await printLine(`\n${profile.manifest}`);
}
