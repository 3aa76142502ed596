import { readdir, stat } from 'node:fs/promises';
import { join } from 'node:path';
import type { Command } from 'commander';
import { formatProblem, type Manifest, readManifest } from '../../crds/manifest.ts';
import { plural } from '../core/units.ts';
import { fileFailure, UsageMistake } from '../failure.ts';
import { note, outputStyle, printLine } from '../terminal.ts';

/** The files that `pilotlight serve` reads of a folder. */
const MANIFEST_FILE = /^[^.].*\.(ya?ml|json)$/;
const SKIPPED_FOLDERS = new Set(['node_modules']);

/** `pilotlight validate FILE…`: what the platform would say about manifests, without running them. */
export function addValidateCommand(program: Command): void {
  program
    .command('validate')
    .description('check manifests without applying them')
    .argument('<file...>', 'manifest files, or folders with *.yaml, *.yml and *.json')
    .option('-r, --recursive', 'also look into the folders of a folder')
    .option('--cluster', 'leave out the warnings that only matter for "pilotlight serve"')
    .addHelpText(
      'after',
      `
Prints a line for each problem and warning: file:line:column: path: message.

Examples:
  pilotlight validate examples/ocr
  pilotlight validate service.yaml other.yaml
  kubectl get isvc -o yaml > all.yaml && pilotlight validate all.yaml

Exit codes: 0 all valid (warnings allowed), 1 problems found or a file can't be read, 2 wrong options.`,
    )
    .action(async (paths: string[], flags: { recursive?: true; cluster?: true }) => {
      const files = (
        await Promise.all(paths.map((path) => manifestFiles(path, flags.recursive === true)))
      ).flat();
      if (files.length === 0) throw new UsageMistake(`no manifest in ${paths.join(', ')}`);
      const isValid = await validate([...new Set(files)], flags.cluster !== true);
      if (!isValid) process.exitCode = 1;
    });
}

async function validate(files: readonly string[], forLocalPlatform: boolean): Promise<boolean> {
  const style = outputStyle();
  const firstPlaces = new Map<string, string>();
  const counts = { valid: 0, invalid: 0, warnings: 0 };
  for (const file of files) {
    const manifest = await readManifest(file, { forLocalPlatform });
    const lines = problemLines(file, manifest, firstPlaces);
    for (const line of lines.problems) await printLine(style.red(line));
    for (const line of lines.warnings) await printLine(style.yellow(line));
    counts.invalid += lines.invalid;
    counts.valid += manifest.documents.length - lines.invalid;
    counts.warnings += lines.warnings.length;
  }
  note(
    `${plural(files.length, 'file')}: ${plural(counts.valid, 'document')} valid, ${counts.invalid} invalid, ${plural(counts.warnings, 'warning')}`,
  );
  return counts.invalid === 0;
}

interface FileReport {
  problems: string[];
  warnings: string[];
  invalid: number;
}

/** What is wrong with a file, by itself and beside those before it: an object may stand in one file only. */
function problemLines(file: string, manifest: Manifest, firstPlaces: Map<string, string>): FileReport {
  const problems: string[] = [];
  let invalid = 0;
  for (const document of manifest.documents) {
    const place = `${file}:${document.source.line}`;
    if (document.state === 'invalid') {
      invalid++;
      problems.push(...document.problems.map((problem) => formatProblem(file, problem)));
      continue;
    }
    if (document.kind !== 'InferenceService') continue;
    const { namespace, name } = document.service.metadata;
    const first = firstPlaces.get(`${namespace}/${name}`);
    firstPlaces.set(`${namespace}/${name}`, first ?? place);
    if (first === undefined) continue;
    invalid++;
    problems.push(`${place}:1: metadata.name: InferenceService "${name}" stands already at ${first}`);
  }
  const warnings = manifest.warnings.map((warning) =>
    formatProblem(file, { ...warning, message: `warning: ${warning.message}` }),
  );
  return { problems, warnings, invalid };
}

async function manifestFiles(path: string, isRecursive: boolean): Promise<string[]> {
  try {
    const information = await stat(path);
    if (!information.isDirectory()) return [path];
    const entries = await readdir(path, { withFileTypes: true });
    const found = entries
      .toSorted((one, other) => (one.name < other.name ? -1 : 1))
      .map(async (entry): Promise<string[]> => {
        if (entry.isDirectory()) {
          const isSkipped = !isRecursive || entry.name.startsWith('.') || SKIPPED_FOLDERS.has(entry.name);
          return isSkipped ? [] : manifestFiles(join(path, entry.name), true);
        }
        return MANIFEST_FILE.test(entry.name) ? [join(path, entry.name)] : [];
      });
    return (await Promise.all(found)).flat();
  } catch (error) {
    throw fileFailure(path, error);
  }
}
