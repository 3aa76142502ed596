import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { z } from 'zod';

const reportSchema = z.object({
  numPassedTests: z.number(),
  numFailedTests: z.number(),
  testResults: z.array(
    z.object({
      status: z.string(),
      assertionResults: z.array(z.object({ fullName: z.string(), status: z.string() })),
    }),
  ),
});

/** What came of a project's tests. */
export interface VitestResult {
  readonly passed: number;
  /** Tests that failed, and files that broke before their first test. */
  readonly failed: number;
  /** Names of the tests that were not run. */
  readonly skipped: readonly string[];
}

export interface VitestRun {
  readonly project: string;
  /** Empty folder for the report. */
  readonly folder: string;
  /** Parts of file names: only tests of such files. */
  readonly only?: readonly string[];
  readonly env?: NodeJS.ProcessEnv;
}

/**
 * Runs the tests of one project, their progress on the terminal.
 *
 * @returns undefined when there was no report to read
 */
export async function runVitest(asked: VitestRun): Promise<VitestResult | undefined> {
  const outputFile = join(asked.folder, `${asked.project}.json`);
  const vitest = join(import.meta.dirname, '../node_modules/vitest/vitest.mjs');
  const reporters = ['--reporter=default', '--reporter=json', `--outputFile=${outputFile}`];
  const child = spawn(
    process.execPath,
    [vitest, 'run', '--project', asked.project, ...reporters, ...(asked.only ?? [])],
    { stdio: ['ignore', 'inherit', 'inherit'], env: { ...process.env, ...asked.env } },
  );
  await once(child, 'exit');
  try {
    return resultOf(reportSchema.parse(JSON.parse(readFileSync(outputFile, 'utf8'))));
  } catch {
    return undefined;
  }
}

function resultOf(report: z.infer<typeof reportSchema>): VitestResult {
  const broken = report.testResults.filter(
    (file) => file.status === 'failed' && !file.assertionResults.some(({ status }) => status === 'failed'),
  );
  const skipped = report.testResults
    .flatMap(({ assertionResults }) => assertionResults)
    .filter(({ status }) => ['pending', 'skipped', 'todo', 'disabled'].includes(status))
    .map(({ fullName }) => fullName);
  return { passed: report.numPassedTests, failed: report.numFailedTests + broken.length, skipped };
}

/** Says what became of all tests in the one line that ends a run. @returns the exit code. */
export function conclude(results: readonly VitestResult[]): number {
  const sum = (count: (result: VitestResult) => number): number =>
    results.reduce((total, result) => total + count(result), 0);
  const passed = sum((result) => result.passed);
  const failed = sum((result) => result.failed);
  const skipped = results.flatMap((result) => result.skipped);
  for (const name of skipped) process.stdout.write(`skipped: ${name}\n`);
  const missing = skipped.length === 0 ? '' : `, ${skipped.length} skipped`;
  process.stdout.write(`${passed} passed, ${failed} failed${missing}\n`);
  return failed === 0 && passed > 0 ? 0 : 1;
}
