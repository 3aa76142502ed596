import { mkdir, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

/**
 * Helm can't read outside a chart, so the chart holds copies of the generated CRDs. This writes them, or with
 * `--check` says whether they are current. Exit codes: 0 written or current, 1 not current, 2 wrong arguments.
 */
const SOURCE_FOLDER = fileURLToPath(new URL('../crds', import.meta.url));
const CHART_FOLDER = fileURLToPath(new URL('pilotlight/files/crds', import.meta.url));

/**
 * What has to change in `chart` so that it holds the CRDs of `source` and no others.
 *
 * @param source file name → text
 * @param chart file name → text
 */
export function staleFiles(
  source: ReadonlyMap<string, string>,
  chart: ReadonlyMap<string, string>,
): { write: string[]; remove: string[] } {
  return {
    write: [...source.keys()].filter((name) => chart.get(name) !== source.get(name)).sort(),
    remove: [...chart.keys()].filter((name) => !source.has(name)).sort(),
  };
}

async function yamlFiles(folder: string): Promise<Map<string, string>> {
  const names = (await readdir(folder).catch(() => [])).filter((name) => name.endsWith('.yaml'));
  const texts = names.map(async (name) => [name, await readFile(join(folder, name), 'utf8')] as const);
  return new Map(await Promise.all(texts));
}

async function main(args: readonly string[]): Promise<number> {
  const isCheck = args.length === 1 && args[0] === '--check';
  if (args.length > 0 && !isCheck) {
    process.stderr.write('usage: node charts/generate.ts [--check]\n');
    return 2;
  }
  const source = await yamlFiles(SOURCE_FOLDER);
  const { write, remove } = staleFiles(source, await yamlFiles(CHART_FOLDER));
  if (isCheck) {
    if (write.length + remove.length === 0) return 0;
    const names = [...write, ...remove].join(', ');
    process.stderr.write(`${CHART_FOLDER} is not current (${names}), run: node charts/generate.ts\n`);
    return 1;
  }
  await mkdir(CHART_FOLDER, { recursive: true });
  await Promise.all(write.map((name) => writeFile(join(CHART_FOLDER, name), source.get(name) ?? '')));
  await Promise.all(remove.map((name) => rm(join(CHART_FOLDER, name))));
  return 0;
}

if (import.meta.main) process.exitCode = await main(process.argv.slice(2));
