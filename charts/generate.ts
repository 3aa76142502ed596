import { mkdir, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { catalogueText, dashboardFiles, metricsPage, ruleFiles } from './observability/generated-files.ts';

/**
 * Writes what the chart holds and is made elsewhere: copies of the generated CRDs, since Helm can't read outside a
 * chart, Prometheus rules and Grafana dashboards; beside it the catalogue that their queries are checked against, and
 * the page that lists all metrics. With `--check` says whether all that is current. Exit codes: 0 written or
 * current, 1 not current, 2 wrong arguments.
 */
const ROOT = fileURLToPath(new URL('..', import.meta.url));

/** A folder of which every file with this ending is generated. */
interface GeneratedFolder {
  readonly folder: string;
  readonly ending: string;
  readonly files: ReadonlyMap<string, string>;
}

/**
 * What has to change in a folder so that it holds the wanted files and no others.
 *
 * @param wanted file name → text
 * @param there file name → text
 */
export function staleFiles(
  wanted: ReadonlyMap<string, string>,
  there: ReadonlyMap<string, string>,
): { write: string[]; remove: string[] } {
  return {
    write: [...wanted.keys()].filter((name) => there.get(name) !== wanted.get(name)).sort(),
    remove: [...there.keys()].filter((name) => !wanted.has(name)).sort(),
  };
}

async function filesIn(folder: string, ending: string): Promise<Map<string, string>> {
  const names = (await readdir(folder).catch(() => [])).filter((name) => name.endsWith(ending));
  const texts = names.map(async (name) => [name, await readFile(join(folder, name), 'utf8')] as const);
  return new Map(await Promise.all(texts));
}

async function generatedFolders(): Promise<GeneratedFolder[]> {
  const chart = 'charts/pilotlight/files';
  return [
    { folder: `${chart}/crds`, ending: '.yaml', files: await filesIn(join(ROOT, 'crds'), '.yaml') },
    { folder: `${chart}/rules`, ending: '.yaml', files: ruleFiles() },
    { folder: `${chart}/dashboards`, ending: '.json', files: dashboardFiles() },
    {
      folder: 'charts/observability',
      ending: 'catalogue.ts',
      files: new Map([['catalogue.ts', catalogueText()]]),
    },
    { folder: 'docs', ending: 'metrics.md', files: new Map([['metrics.md', metricsPage()]]) },
  ];
}

async function main(args: readonly string[]): Promise<number> {
  const isCheck = args.length === 1 && args[0] === '--check';
  if (args.length > 0 && !isCheck) {
    process.stderr.write('usage: node charts/generate.ts [--check]\n');
    return 2;
  }
  let exitCode = 0;
  for (const { folder, ending, files } of await generatedFolders()) {
    const path = join(ROOT, folder);
    const { write, remove } = staleFiles(files, await filesIn(path, ending));
    if (write.length + remove.length === 0) continue;
    if (isCheck) {
      const names = [...write, ...remove].join(', ');
      process.stderr.write(`${folder} is not current (${names}), run: node charts/generate.ts\n`);
      exitCode = 1;
      continue;
    }
    await mkdir(path, { recursive: true });
    await Promise.all(write.map((name) => writeFile(join(path, name), files.get(name) ?? '')));
    await Promise.all(remove.map((name) => rm(join(path, name))));
  }
  return exitCode;
}

if (import.meta.main) process.exitCode = await main(process.argv.slice(2));
