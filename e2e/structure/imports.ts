import { readdirSync, readFileSync } from 'node:fs';
import { dirname, join, normalize, relative } from 'node:path';

/** One import of one file: where it points, as written and, when it is one of ours, as a path from the root. */
export interface Import {
  file: string;
  specifier: string;
  /** Path from the root, for relative specifiers. */
  target: string | undefined;
}

export interface SourceFile {
  /** Path from the root of the repository, with forward slashes. */
  path: string;
  text: string;
}

const SKIPPED = new Set(['node_modules', '.git', 'coverage', '.pilotlight', '.cache']);

/** All TypeScript sources below `root`. */
export function readSources(root: string, folder: string = root): SourceFile[] {
  return readdirSync(folder, { withFileTypes: true }).flatMap((entry) => {
    const path = join(folder, entry.name);
    if (entry.isDirectory()) return SKIPPED.has(entry.name) ? [] : readSources(root, path);
    if (!entry.name.endsWith('.ts')) return [];
    return [{ path: relative(root, path), text: readFileSync(path, 'utf8') }];
  });
}

/** Static and dynamic imports with a literal specifier, re-exports included; type-only ones count as well. */
const IMPORT = /(?:\bfrom\s*|\bimport\s*\(\s*|\bimport\s+)(['"])([^'"\n]+)\1/g;

export function importsOf({ path, text }: SourceFile): Import[] {
  return [...text.matchAll(IMPORT)].map((match) => {
    const specifier = match[2] ?? '';
    const target = specifier.startsWith('.') ? normalize(join(dirname(path), specifier)) : undefined;
    return { file: path, specifier, target };
  });
}

/** What each room may import besides itself; design rule, stated once and held here. */
export const MAY_IMPORT: Readonly<Record<string, readonly string[]>> = {
  contracts: [],
  process: ['contracts'],
  crds: ['contracts'],
  controller: ['contracts', 'process', 'crds'],
  activator: ['contracts', 'process'],
  vision: ['contracts'],
  runtime: ['contracts', 'process', 'vision'],
  client: ['contracts'],
  cli: ['contracts', 'process', 'crds', 'client', 'vision'],
};

/** The one place where the command line reaches into the components: each command starts one of these. */
const ENTRY_POINTS = new Set(['controller/main.ts', 'activator/main.ts', 'runtime/main.ts']);

const isTest = (path: string): boolean => path.endsWith('.test.ts') || path.includes('/testing/');
const roomOf = (path: string): string => path.split('/')[0] ?? '';

/** Imports that cross a border the wrong way, each as a sentence. */
export function borderViolations(sources: readonly SourceFile[]): string[] {
  return sources.flatMap((source) => {
    const room = roomOf(source.path);
    const allowed = MAY_IMPORT[room];
    if (allowed === undefined) return [];
    return importsOf(source).flatMap(({ file, target }) => {
      if (target === undefined) return [];
      const other = roomOf(target);
      if (other === room || allowed.includes(other)) return [];
      if (room === 'cli' && ENTRY_POINTS.has(target)) return [];
      if (isTest(file) && other === 'e2e') return [];
      return [`${file} imports ${target}: ${room} may import ${allowed.join(', ') || 'nothing'}`];
    });
  });
}

const IMPURE_IMPORTS = /^node:(?!buffer$|util$)/;
const IMPURE_WORDS =
  /\b(Date\.now|performance\.now|Math\.random|process\.(?:env|hrtime|uptime)|setTimeout|setInterval|setImmediate)\b|\bnew Date\(\)/;

/** Types of what is on the wire, and nothing else: a core may know them. */
const WORDS_OF_THE_WIRE = new Set(['controller/adapters/kube/api/wire.ts']);

/** Clocks, randomness, timers, I/O and packages that do I/O inside a `core/` folder, and imports that leave it outwards. */
export function coreViolations(sources: readonly SourceFile[]): string[] {
  return sources
    .filter(({ path }) => path.includes('/core/') && !isTest(path))
    .flatMap((source) => {
      const code = withoutComments(source.text);
      const core = source.path.slice(0, source.path.indexOf('/core/') + '/core/'.length);
      const word = IMPURE_WORDS.exec(code)?.[0];
      const words = word === undefined ? [] : [`${source.path} uses ${word}: a core gets it as an argument`];
      const imports = importsOf(source).flatMap(({ specifier, target }) => {
        if (IMPURE_IMPORTS.test(specifier))
          return [`${source.path} imports ${specifier}: a core does no I/O`];
        const isNear = target?.startsWith(core) === true || WORDS_OF_THE_WIRE.has(target ?? '');
        const outwards =
          target !== undefined &&
          !isNear &&
          /\/(adapters|proxy|engine|server|storage|api|control)\//.test(target);
        return outwards ? [`${source.path} imports ${target}: imports point inwards`] : [];
      });
      return [...words, ...imports];
    });
}

function withoutComments(text: string): string {
  return text.replace(/\/\*[\s\S]*?\*\//g, '').replace(/(^|[^:'"`])\/\/.*$/gm, '$1');
}

/** Everything that `entry` reaches, as paths of ours and names of packages. */
export function reachableFrom(
  entry: string,
  sources: readonly SourceFile[],
): { files: Set<string>; packages: Set<string> } {
  const byPath = new Map(sources.map((source) => [source.path, source]));
  const files = new Set<string>();
  const packages = new Set<string>();
  const pending = [entry];
  for (let path = pending.pop(); path !== undefined; path = pending.pop()) {
    const source = byPath.get(path);
    if (source === undefined || files.has(path)) continue;
    files.add(path);
    for (const { specifier, target } of importsOf(source)) {
      if (target !== undefined) pending.push(target);
      else if (!specifier.startsWith('node:')) packages.add(packageName(specifier));
    }
  }
  return { files, packages };
}

function packageName(specifier: string): string {
  return specifier
    .split('/')
    .slice(0, specifier.startsWith('@') ? 2 : 1)
    .join('/');
}
