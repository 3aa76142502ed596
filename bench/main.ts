import { enableCompileCache } from 'node:module';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import type { Benchmark } from './benchmark.ts';
import { describeCommit, describeMachine } from './machine.ts';
import { toTable, writeResults } from './report.ts';

/** Loaded when it is run: none of them pays for the imports of another. */
const BENCHMARKS: Readonly<Record<string, () => Promise<{ benchmark: Benchmark }>>> = {
  'cold-start': () => import('./cold-start.ts'),
  'cold-start-sizes': () => import('./cold-start-sizes.ts'),
  warm: () => import('./warm.ts'),
  queue: () => import('./queue.ts'),
  scale: () => import('./scale.ts'),
  runtime: () => import('./runtime.ts'),
  memory: () => import('./memory.ts'),
  kubernetes: () => import('./kubernetes.ts'),
  json: () => import('./json.ts'),
  batching: () => import('./batching.ts'),
  'python-servers': () => import('./python-servers.ts'),
};

enableCompileCache();

const DEFAULT_RESULTS = join(import.meta.dirname, 'results');

async function list(): Promise<string> {
  const lines = await Promise.all(
    Object.entries(BENCHMARKS).map(async ([name, load]) => {
      const { benchmark } = await load();
      return `  ${name.padEnd(18)}${benchmark.summary}`;
    }),
  );
  return [
    'Usage: node bench/main.ts NAME [--no-gate] [--quick] [--results DIR]',
    '',
    ...lines,
    `  ${'all'.padEnd(18)}all of them, one after the other`,
    '',
    '  --no-gate      exit with 0 even where a goal is not met',
    '  --quick        a tenth of the rounds, to see that it runs',
    '  --results DIR  where <name>.json is written (bench/results)',
    '',
  ].join('\n');
}

/** @returns whether every goal was met. */
async function runOne(name: string, flags: { isQuick: boolean; results: string }): Promise<boolean> {
  const load = BENCHMARKS[name];
  if (load === undefined) throw new Error(`there is no benchmark ${name}`);
  const { benchmark } = await load();
  const say = (line: string): void => void process.stderr.write(`${name}: ${line}\n`);
  const machine = describeMachine();
  const commit = describeCommit();
  const date = new Date().toISOString();
  const notes: string[] = [];
  const note = (sentence: string): void => {
    say(sentence);
    notes.push(sentence);
  };
  say(benchmark.summary);
  if (machine.loadBefore > machine.cores / 4) {
    note(
      `Other programs ran on this machine (load ${machine.loadBefore} on ${machine.cores} cores before the run): read ratios only.`,
    );
  }
  const rows = await benchmark.run({ isQuick: flags.isQuick, say, note });
  process.stdout.write(`\n${name}\n${toTable(rows)}\n`);
  const command = `make bench WHAT=${flags.isQuick ? `"${name} --quick"` : name}`;
  const results = { name, command, machine, date, commit, rows, ...(notes.length > 0 && { notes }) };
  say(`written to ${writeResults(flags.results, results)}`);
  return rows.every(({ met }) => met !== false);
}

async function main(): Promise<number> {
  const { values, positionals } = parseArgs({
    allowPositionals: true,
    options: {
      'no-gate': { type: 'boolean', default: false },
      quick: { type: 'boolean', default: false },
      results: { type: 'string', default: DEFAULT_RESULTS },
    },
  });
  const names = positionals.flatMap((name) => (name === 'all' ? Object.keys(BENCHMARKS) : [name]));
  const unknown = names.filter((name) => !Object.hasOwn(BENCHMARKS, name));
  if (names.length === 0 || unknown.length > 0) {
    if (unknown.length > 0) process.stderr.write(`There is no benchmark ${unknown.join(', ')}.\n\n`);
    process.stderr.write(await list());
    return 2;
  }
  let allMet = true;
  for (const name of names) {
    const met = await runOne(name, { isQuick: values.quick, results: values.results });
    allMet &&= met;
  }
  return allMet || values['no-gate'] ? 0 : 1;
}

try {
  process.exitCode = await main();
} catch (error) {
  process.stderr.write(`${error instanceof Error ? (error.stack ?? error.message) : String(error)}\n`);
  process.exitCode = error instanceof TypeError && 'code' in error ? 2 : 1;
}
