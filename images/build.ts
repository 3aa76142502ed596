import { execFileSync } from 'node:child_process';
import { copyFileSync, existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { ensureDocker } from '../e2e/cluster/docker-engine.ts';
import { cacheFolder } from '../e2e/cluster/folders.ts';
import { withLock } from '../e2e/cluster/lock.ts';
import { program as runProgram, step } from '../e2e/cluster/steps.ts';
import { ensureImagesBase, FILE_TIME_SECONDS } from './base-image.ts';
import { compiledCode } from './compiled-code.ts';
import { compressedBytes, dockerBuild, hasImage, inspectImage } from './docker.ts';
import { digestOf, type Layers, layersOf, recipeOf } from './layers.ts';
import { controlImage, type ImageProgram, runtimeImage } from './programs.ts';
import { type TarEntry, tarArchive } from './tar.ts';

const ROOT = join(import.meta.dirname, '..');
const INPUTS_LABEL = 'dev.pilotlight.inputs';
/** Limits of what a node has to fetch. */
const MAX_COMPRESSED_MB: Readonly<Record<ImageProgram['name'], number>> = { control: 90, runtime: 120 };

export interface ImageOptions {
  /** Of the images' names, before `/control` and `/runtime`. */
  readonly repository: string;
  readonly tag: string;
  /** The image to build on; our own when absent. */
  readonly base?: string;
  readonly noCache?: boolean;
}

export interface BuiltImage {
  readonly name: string;
  readonly sizeBytes: number;
  readonly compressedBytes: number;
}

/**
 * Builds both images, or finds that they are built of the same things already.
 *
 * @throws ClusterError where Docker can't be had or a build fails; Error when an image is larger than it may be.
 */
export async function buildImages(options: ImageOptions): Promise<BuiltImage[]> {
  await ensureDocker();
  return withLock('images', async () => {
    const base = options.base ?? (await ensureImagesBase());
    const built: BuiltImage[] = [];
    for (const image of [controlImage, runtimeImage]) built.push(await buildImage(image, base, options));
    return built;
  });
}

async function buildImage(image: ImageProgram, base: string, options: ImageOptions): Promise<BuiltImage> {
  const name = `${options.repository}/${image.name}:${options.tag}`;
  const { version } = JSON.parse(readFileSync(join(ROOT, 'package.json'), 'utf8')) as { version: string };
  const layers = await layersOf(image, version);
  const about = { VERSION: version, ...sourceOf() };
  const recipe = [...recipeOf(image.name), ...recipeOf('compile')];
  const inputs = digestOf([
    ...layers.node,
    ...layers.packages,
    ...layers.app,
    ...recipe,
    described('about', { ...about, compiled: image.compiled, base: await inspectImage(base, '{{.Id}}') }),
  ]);
  const isBuilt =
    options.noCache !== true &&
    (await hasImage(name)) &&
    (await inspectImage(name, `{{index .Config.Labels "${INPUTS_LABEL}"}}`)) === inputs;
  if (!isBuilt) {
    await step(`image ${name}`, () => assemble(image, layers, { ...options, base, name, about, inputs }));
  }
  return measured(image, name);
}

async function assemble(
  image: ImageProgram,
  layers: Layers,
  how: ImageOptions & { base: string; name: string; about: Record<string, string>; inputs: string },
): Promise<void> {
  const context = join(ROOT, '.cache', 'images', image.name);
  rmSync(context, { recursive: true, force: true });
  mkdirSync(context, { recursive: true });
  const archive = (file: string, entries: readonly TarEntry[]): void =>
    writeFileSync(join(context, file), Buffer.concat(tarArchive(entries, FILE_TIME_SECONDS)));
  copyFileSync(join(import.meta.dirname, image.name, 'Dockerfile'), join(context, 'Dockerfile'));
  copyFileSync(join(import.meta.dirname, 'compile/compile.mjs'), join(context, 'compile.mjs'));
  archive('node.tar', layers.node);
  archive('packages.tar', layers.packages);
  archive('app.tar', layers.app);
  const common = { context, noCache: how.noCache === true };
  const compiler = `${how.name}-compile`;
  await dockerBuild({ ...common, tag: compiler, target: 'compile', buildArguments: { BASE: how.base } });
  const compiled: TarEntry[] = [];
  for (const [program, settings] of Object.entries(image.compiled)) {
    const modules = [...settings.packages, ...(layers.toCompile.get(program) ?? [])];
    compiled.push(...(await compiledCode(compiler, program, settings, modules)));
  }
  archive('compiled.tar', compiled);
  await dockerBuild({
    ...common,
    // Those of the first build are just made.
    noCache: false,
    tag: how.name,
    buildArguments: { BASE: how.base, ...how.about },
    labels: { [INPUTS_LABEL]: how.inputs },
  });
  execFileSync('docker', ['image', 'rm', compiler], { stdio: 'ignore' });
  rmSync(context, { recursive: true, force: true });
}

async function measured(image: ImageProgram, name: string): Promise<BuiltImage> {
  const id = await inspectImage(name, '{{.Id}}');
  const remembered = cacheFolder('image-sizes', `${id.replace('sha256:', '')}.json`);
  const sizes = existsSync(remembered)
    ? (JSON.parse(readFileSync(remembered, 'utf8')) as Omit<BuiltImage, 'name'>)
    : {
        sizeBytes: Number(await inspectImage(name, '{{.Size}}')),
        compressedBytes: await compressedBytes(name),
      };
  mkdirSync(cacheFolder('image-sizes'), { recursive: true });
  writeFileSync(remembered, JSON.stringify(sizes));
  const limitMb = MAX_COMPRESSED_MB[image.name];
  if (sizes.compressedBytes > limitMb * 1e6) {
    const actualMb = (sizes.compressedBytes / 1e6).toFixed(1);
    throw new Error(`${name} takes ${actualMb} MB compressed: expected ${limitMb} MB at most`);
  }
  return { name, ...sizes };
}

/** Where the sources come from, for the images' labels. */
function sourceOf(): { REVISION: string; CREATED: string; SOURCE: string } {
  const git = (...args: string[]): string => {
    try {
      return execFileSync('git', args, {
        cwd: ROOT,
        encoding: 'utf8',
        stdio: ['ignore', 'pipe', 'ignore'],
      }).trim();
    } catch {
      return '';
    }
  };
  const epoch = process.env['SOURCE_DATE_EPOCH'] ?? git('log', '-1', '--format=%ct');
  return {
    REVISION: git('describe', '--always', '--dirty', '--abbrev=40', '--match', 'no-tag'),
    CREATED: new Date(Number(epoch === '' ? FILE_TIME_SECONDS : epoch) * 1000).toISOString(),
    SOURCE: process.env['IMAGE_SOURCE'] ?? git('config', '--get', 'remote.origin.url'),
  };
}

const described = (path: string, what: unknown): TarEntry => ({
  path,
  mode: 0,
  bytes: Buffer.from(JSON.stringify(what)),
});

const inMb = (bytes: number): string => `${(bytes / 1e6).toFixed(1)} MB`;

/** `node images/build.ts [--repository R] [--tag T] [--base IMAGE] [--no-cache]`; prints the names and sizes. */
async function main(): Promise<string> {
  const { values } = parseArgs({
    options: {
      repository: { type: 'string', default: 'pilotlight' },
      tag: { type: 'string' },
      base: { type: 'string' },
      'no-cache': { type: 'boolean', default: false },
    },
  });
  const { version } = JSON.parse(readFileSync(join(ROOT, 'package.json'), 'utf8')) as { version: string };
  const built = await buildImages({
    repository: values.repository,
    tag: values.tag ?? version,
    noCache: values['no-cache'],
    ...(values.base === undefined ? {} : { base: values.base }),
  });
  return built
    .map((image) => `${image.name}  ${inMb(image.sizeBytes)}, compressed ${inMb(image.compressedBytes)}`)
    .join('\n');
}

if (import.meta.main) await runProgram(main);
