import { mkdtemp, readdir, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { run } from '../e2e/cluster/command.ts';
import type { CompiledProgram } from './programs.ts';
import type { TarEntry } from './tar.ts';

const FILE = 0o644;
/** Where the container keeps what it compiles: anybody may write there. */
const COMPILED = '/tmp/compiled';
/** In a file of compiled code (src/compile_cache.cc of Node, then code-serializer.h of V8): what V8's flags were. */
const FLAGS_OFFSET = 32;

/**
 * The modules of a program as Node compiles them in its image, to be put where the program looks for them.
 *
 * V8 puts numbers at random into what it writes; with a fixed seed, which is no part of what it compares later,
 * the same modules give the same bytes.
 *
 * @param image stage `compile` of the image's Dockerfile.
 * @param modules packages by name, files by path within the image.
 * @throws Error when a module was not compiled, or under other flags than the rest.
 */
export async function compiledCode(
  image: string,
  name: string,
  { flags }: CompiledProgram,
  modules: readonly string[],
): Promise<TarEntry[]> {
  const create = ['create', '--network', 'none', '--env', `NODE_COMPILE_CACHE=${COMPILED}`, image];
  const program = ['--random-seed=1', ...flags, '/compile/compile.mjs', ...modules];
  const container = (await run('docker', [...create, ...program])).trim();
  const folder = await mkdtemp(join(tmpdir(), 'pilotlight-compiled-'));
  try {
    await run('docker', ['start', '--attach', container]);
    await run('docker', ['cp', `${container}:${COMPILED}/.`, folder]);
    return await readCompiled(folder, name, modules);
  } finally {
    await run('docker', ['rm', '--force', container]);
    await rm(folder, { recursive: true, force: true });
  }
}

async function readCompiled(folder: string, name: string, modules: readonly string[]): Promise<TarEntry[]> {
  const [tag, ...others] = await readdir(folder);
  if (tag === undefined || others.length > 0) {
    throw new Error(`expected one folder of compiled code of ${name}, got ${[tag, ...others].join(', ')}`);
  }
  const entries = await Promise.all(
    (await readdir(join(folder, tag))).map(async (file) => ({
      path: `app/compiled/${name}/${tag}/${file}`,
      mode: FILE,
      bytes: await readFile(join(folder, tag, file)),
    })),
  );
  if (entries.length < modules.length) {
    throw new Error(`expected ${modules.length} compiled modules of ${name} or more, got ${entries.length}`);
  }
  const flags = new Set(entries.map(({ bytes }) => bytes.readUInt32LE(FLAGS_OFFSET)));
  if (flags.size !== 1) {
    throw new Error(`the modules of ${name} were compiled under ${flags.size} sets of V8 flags, not one`);
  }
  return entries;
}
