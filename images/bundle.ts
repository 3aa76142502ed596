import { readFileSync } from 'node:fs';
import { basename, dirname, join, relative } from 'node:path';
import { type OutputChunk, type Plugin, type RolldownOutput, rolldown } from 'rolldown';
import type { ImageProgram } from './programs.ts';

const ROOT = join(import.meta.dirname, '..');

export interface Bundle {
  /** By name; all of them lie in one folder. */
  readonly files: ReadonlyMap<string, Uint8Array>;
  /** Folders below node_modules of the packages whose code went in. */
  readonly packages: readonly string[];
  /** For each start the files that it loads, now or later. */
  readonly loadedBy: ReadonlyMap<string, readonly string[]>;
}

/**
 * The JavaScript of an image. Each import that is made at run time stays a file of its own, so that a program
 * reads no more at its start than it does from the sources. All files lie in one folder: whatever a source finds
 * beside itself (`import.meta.dirname`) is put there as well.
 *
 * @throws Error for a source that looks for a file in a way that this doesn't know.
 */
export async function bundleProgram(program: ImageProgram): Promise<Bundle> {
  const bundle = await rolldown({
    cwd: ROOT,
    platform: 'node',
    input: Object.fromEntries(Object.entries(program.starts)),
    external: [...program.packages, ...program.bundledPackages],
    plugins: [neighbours(), mainPrograms(program.mains)],
  });
  const output = await bundle.generate({
    format: 'esm',
    entryFileNames: '[name].js',
    chunkFileNames: '[name].js',
    assetFileNames: '[name][extname]',
    // Licences come with the image as files.
    comments: false,
  });
  await bundle.close();
  return { files: filesOf(output), packages: packagesOf(output), loadedBy: loadedBy(output) };
}

/** A package as one CommonJS file, for who asks for it by name. */
export async function bundlePackage(name: string): Promise<Bundle> {
  const bundle = await rolldown({ cwd: ROOT, platform: 'node', input: { index: name } });
  const output = await bundle.generate({
    format: 'cjs',
    entryFileNames: '[name].cjs',
    comments: false,
    codeSplitting: false,
  });
  await bundle.close();
  return { files: filesOf(output), packages: packagesOf(output), loadedBy: loadedBy(output) };
}

const WORKER = /new URL\('(\.\/[\w./-]+)\.ts', import\.meta\.url\)/g;
const ASSET = /join\(import\.meta\.dirname, '([\w-]+\.onnx)'\)/g;
/** What a file may ask about its own place without our help: see where it is used. */
const KNOWN_USES: readonly RegExp[] = [
  /createRequire\(import\.meta\.url\)/g,
  /import\.meta\.filename === process\.argv\[1\]/g,
  /mainPath: fileURLToPath\(import\.meta\.url\)/g,
  /join\(import\.meta\.dirname, (?:'\.\.\/compiled'|`\$\{name\}\.js`)\)/g,
  /import\.meta\.main/g,
];
/** The local platform starts other programs from their sources; in a cluster none of this is reached. */
const LOCAL_PLATFORM =
  /join\(import\.meta\.dirname, '(?:\.\.\/runtime\/main|adapters\/local\/container-host)\.ts'\)/g;
/** Named by a source to be missing. */
const ABSENT = 'absent.onnx';

/** Files that sources find beside themselves. */
function neighbours(): Plugin {
  return {
    name: 'neighbours',
    transform: {
      filter: { id: /\.ts$/ },
      handler(code, id) {
        if (id.includes('/node_modules/')) return null;
        const changed = code.replace(WORKER, (_, path: string) => {
          this.emitFile({ type: 'chunk', id: join(dirname(id), `${path}.ts`), name: basename(path) });
          return `new URL('./${basename(path)}.js', import.meta.url)`;
        });
        for (const [, name = ''] of code.matchAll(ASSET)) {
          if (name === ABSENT) continue;
          this.emitFile({ type: 'asset', fileName: name, source: readFileSync(join(dirname(id), name)) });
        }
        const known = [WORKER, ASSET, LOCAL_PLATFORM, ...KNOWN_USES];
        const rest = known.reduce((text, pattern) => text.replace(pattern, ''), withoutComments(code));
        const unknown = /^.*import\.meta.*$/m.exec(rest)?.[0];
        if (unknown !== undefined) {
          throw new Error(
            `${relative(ROOT, id)} asks for its place in a way that the bundle does not keep: ${unknown.trim()}; teach images/bundle.ts what it looks for`,
          );
        }
        return changed === code ? null : { code: changed };
      },
    },
  };
}

/**
 * `import.meta.main` is false in a file that another one imports. Those that are imported to be run ask instead
 * whether the process was started with a file of the bundle: not so while the image's build only compiles them.
 */
const IS_STARTED = 'process.argv[1]?.startsWith(`${import.meta.dirname}/`)';

function mainPrograms(mains: readonly string[]): Plugin {
  const paths = new Set(mains.map((path) => join(ROOT, path)));
  return {
    name: 'main-programs',
    transform: {
      filter: { id: /\.ts$/ },
      handler: (code, id) =>
        paths.has(id) ? { code: code.replaceAll('import.meta.main', IS_STARTED) } : null,
    },
  };
}

const withoutComments = (code: string): string => code.replace(/\/\*[\s\S]*?\*\/|^\s*\/\/.*$/gm, '');

function filesOf({ output }: RolldownOutput): Map<string, Uint8Array> {
  return new Map(
    output.map((file) => [
      file.fileName,
      typeof file === 'object' && file.type === 'chunk' ? Buffer.from(file.code) : bytesOf(file.source),
    ]),
  );
}

const bytesOf = (source: string | Uint8Array): Uint8Array =>
  typeof source === 'string' ? Buffer.from(source) : source;

function loadedBy({ output }: RolldownOutput): Map<string, string[]> {
  const chunks = new Map(output.flatMap((file) => (file.type === 'chunk' ? [[file.fileName, file]] : [])));
  const entries = [...chunks.values()].filter(({ isEntry }) => isEntry);
  return new Map(
    entries.map(({ name, fileName }) => {
      const found = new Set([fileName]);
      for (const file of found) {
        const chunk = chunks.get(file);
        for (const next of [...(chunk?.imports ?? []), ...(chunk?.dynamicImports ?? [])]) {
          if (chunks.has(next)) found.add(next);
        }
      }
      return [name, [...found].sort()];
    }),
  );
}

function packagesOf({ output }: RolldownOutput): string[] {
  const chunks = output.filter((file): file is OutputChunk => file.type === 'chunk');
  const folders = chunks.flatMap(({ moduleIds }) =>
    moduleIds.flatMap((id) => /^.*\/node_modules\/(?:@[^/]+\/)?[^/]+(?=\/)/.exec(id)?.[0] ?? []),
  );
  return [...new Set(folders)].sort();
}
