import { readFile, writeFile } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';
import { inferenceServiceCrdYaml } from './crd.ts';

/**
 * Writes the generated CRD, or with `--check` says whether the committed one is current.
 * Exit codes: 0 written or current, 1 not current, 2 wrong arguments.
 */
export const CRD_FILE = fileURLToPath(
  new URL('inferenceservices.serving.pilotlight.dev.yaml', import.meta.url),
);

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
  const generated = inferenceServiceCrdYaml();
  if (!isCheck) {
    await writeFile(CRD_FILE, generated);
    return 0;
  }
  const committed = await readFile(CRD_FILE, 'utf8').catch(() => '');
  const difference = firstDifference(committed, generated);
  if (difference === undefined) return 0;
  process.stderr.write(`${CRD_FILE} is not current, run: node crds/generate.ts\n${difference}\n`);
  return 1;
}

if (import.meta.main) process.exitCode = await main(process.argv.slice(2));
