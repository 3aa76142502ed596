import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { bundlePackage, bundleProgram } from './bundle.ts';
import { type ImageProgram, USER } from './programs.ts';
import type { TarEntry } from './tar.ts';

const MODULES = join(import.meta.dirname, '../node_modules');
const PROGRAM = 0o755;
const FILE = 0o644;
/** The temporary folder's rights: whoever the image runs as may write, and nobody takes away what isn't theirs. */
const FOR_ALL = 0o1777;

/** Layers from what changes least to what changes most: a new version of the programs is a new last layer. */
export interface Layers {
  /** The same in both images, so that a node fetches it once. */
  readonly node: readonly TarEntry[];
  readonly packages: readonly TarEntry[];
  readonly app: readonly TarEntry[];
  /** By program: its files, to be compiled. */
  readonly toCompile: ReadonlyMap<string, readonly string[]>;
}

/**
 * What an image holds beside its base and the compiled code.
 *
 * @throws Error where this machine's packages are not those of Linux.
 */
export async function layersOf(program: ImageProgram, version: string): Promise<Layers> {
  const bundle = await bundleProgram(program);
  const bundled = await Promise.all(
    program.bundledPackages.map(async (name) => ({ name, ...(await bundlePackage(name)) })),
  );
  const manifest = { name: `pilotlight-${program.name}`, version, type: 'module' };
  const app: TarEntry[] = [
    text('app/package.json', `${JSON.stringify(manifest)}\n`),
    ...files(`app/${program.name}`, bundle.files),
    ...bundled.flatMap(({ name, files: ownFiles }) => [
      text(`app/node_modules/${name}/package.json`, `${JSON.stringify({ name, main: 'index.cjs' })}\n`),
      ...files(`app/node_modules/${name}`, ownFiles),
    ]),
    ...licences([...bundle.packages, ...bundled.flatMap(({ packages }) => packages)]),
    ...program.writable.map((path) => ({ path, mode: FOR_ALL, owner: USER })),
  ];
  return {
    node: [{ path: 'usr/local/bin/node', mode: PROGRAM, bytes: strippedNode() }],
    packages: program.packages.flatMap(packageFiles),
    app,
    toCompile: new Map(
      Object.entries(program.compiled).map(([name, { starts }]) => [
        name,
        [...new Set(starts.flatMap((start) => bundle.loadedBy.get(start) ?? []))].map(
          (file) => `/app/${program.name}/${file}`,
        ),
      ]),
    ),
  };
}

const text = (path: string, content: string): TarEntry => ({ path, mode: FILE, bytes: Buffer.from(content) });

const files = (folder: string, byName: ReadonlyMap<string, Uint8Array>): TarEntry[] =>
  [...byName].map(([name, bytes]) => ({ path: `${folder}/${name}`, mode: FILE, bytes }));

/**
 * The Node of the `node` package without its tables for debuggers: 116 MB instead of 150. Names that native
 * modules link to stay (they are in the dynamic table).
 */
function strippedNode(): Uint8Array {
  if (process.platform !== 'linux') {
    throw new Error(
      `images are built of this machine's packages: expected Linux, this is ${process.platform}`,
    );
  }
  const original = join(MODULES, 'node/bin/node');
  const folder = join(tmpdir(), `pilotlight-node-${process.pid}`);
  mkdirSync(folder, { recursive: true });
  try {
    execFileSync('strip', ['--strip-all', '-o', join(folder, 'node'), original], { stdio: 'pipe' });
    return readFileSync(join(folder, 'node'));
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error;
    process.stderr.write(
      '  · no `strip` (binutils) on this machine: Node goes in with its symbols, 33 MB more\n',
    );
    return readFileSync(original);
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

/** JavaScript that Node loads, and native files of Linux on this processor; no types, maps, sources, scripts. */
const NEEDED = [
  '(dist/cjs/)?package\\.json',
  'LICENSE.*',
  'dist/(cjs/)?(?!.*\\.d\\.ts)[^/]+\\.(js|cjs|mjs)',
  `bin/napi-v6/linux/${process.arch}/(onnxruntime_binding\\.node|libonnxruntime\\.so\\.1)`,
];
/** Of packages that lie otherwise. */
const NEEDED_OF: Readonly<Record<string, readonly string[]>> = {
  '@img/colour': ['[^/]+\\.cjs'],
  'detect-libc': ['lib/[^/]+\\.js'],
  semver: ['(index|preload)\\.js', '(classes|functions|internal|ranges)/[^/]+\\.js'],
  [`@img/sharp-linux-${process.arch}`]: ['index\\.cjs', 'lib/[^/]+\\.node'],
  [`@img/sharp-libvips-linux-${process.arch}`]: [
    'versions\\.json',
    'lib/index\\.js',
    'lib/libvips-cpp\\.so.*',
  ],
};

/** What of a package goes into an image. @throws Error where its native files are missing */
export function packageFiles(name: string): TarEntry[] {
  const folder = join(MODULES, name);
  const needed = new RegExp(`^(${[...NEEDED, ...(NEEDED_OF[name] ?? [])].join('|')})$`);
  const paths = readdirSync(folder, { recursive: true, encoding: 'utf8' }).filter((path) =>
    needed.test(path),
  );
  if (
    (name === 'onnxruntime-node' || name.startsWith('@img/sharp-linux-')) &&
    !paths.some((path) => path.endsWith('.node'))
  ) {
    throw new Error(`${name} has no native files for linux/${process.arch}`);
  }
  return paths.map((path) => ({
    path: `app/node_modules/${name}/${path}`,
    mode: FILE,
    bytes: readFileSync(join(folder, path)),
  }));
}

/** The licences of what was bundled ask to be kept with it. */
function licences(folders: readonly string[]): TarEntry[] {
  const own = text('app/licences/pilotlight.txt', readFileSync(join(MODULES, '../LICENSE'), 'utf8'));
  const others = [...new Set(folders)].flatMap((folder) => {
    const found = existsSync(folder)
      ? readdirSync(folder).find((file) => /^(licen[cs]e|copying)/i.test(file))
      : undefined;
    const name = folder.slice(folder.lastIndexOf('node_modules/') + 'node_modules/'.length);
    return found === undefined
      ? []
      : [text(`app/licences/${name.replace('/', '_')}.txt`, readFileSync(join(folder, found), 'utf8'))];
  });
  return [own, ...new Map(others.map((entry) => [entry.path, entry])).values()];
}

/** Of the entries' names, rights and contents. */
export function digestOf(entries: readonly TarEntry[]): string {
  const hash = createHash('sha256');
  const sorted = [...entries].sort((left, right) => (left.path < right.path ? -1 : 1));
  for (const { path, mode, bytes, owner } of sorted) {
    hash.update(`${path}\0${mode}\0${owner?.uid ?? 0}\0${bytes?.length ?? -1}\0`);
    if (bytes !== undefined) hash.update(bytes);
  }
  return hash.digest('hex');
}

/** Of an image's folder: the recipe and the programs that run while it is built. */
export function recipeOf(name: string): TarEntry[] {
  const folder = join(import.meta.dirname, name);
  return readdirSync(folder).map((file) => ({
    path: basename(file),
    mode: FILE,
    bytes: readFileSync(join(folder, file)),
  }));
}
