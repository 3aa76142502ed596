import { readFile, writeFile } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';
import { crdFiles } from './crd.ts';

/**
 * Writes the generated CRDs, or with `--check` says whether the committed ones are current.
 * Exit codes: 0 written or current, 1 not current, 2 wrong arguments.
 */

/** Path of a generated file, which lies beside this one. */
export function crdPath(fileName: string): string {
  return fileURLToPath(new URL(fileName, import.meta.url));
}

/** The first line in which two texts differ, as a hint; undefined when they are equal. */
export function firstDifference(committed: string, generated: string): string | undefined {
  if (committed === generated) return undefined;
  const left = committed.split('\n');
  const right = generated.split('\n');
  const index = right.findIndex((line, at) => line !== left[at]);
  const at = index === -1 ? right.length : index;
  return `line ${at + 1}:\n- ${left[at] ?? '(end of file)'}\n+ ${right[at] ?? '(end of file)'}`;
}

async function main(args: readonly string[]): Promise<number> {
  const isCheck = args.length === 1 && args[0] === '--check';
  if (args.length > 0 && !isCheck) {
    process.stderr.write('usage: node crds/generate.ts [--check]\n');
    return 2;
  }
  let exitCode = 0;
  for (const [name, generated] of Object.entries(crdFiles())) {
    const path = crdPath(name);
    if (!isCheck) {
      await writeFile(path, generated);
      continue;
    }
    const committed = await readFile(path, 'utf8').catch(() => '');
    const difference = firstDifference(committed, generated);
    if (difference === undefined) continue;
    process.stderr.write(`${path} is not current, run: node crds/generate.ts\n${difference}\n`);
    exitCode = 1;
  }
  return exitCode;
}

if (import.meta.main) process.exitCode = await main(process.argv.slice(2));
