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
      name: z.string(),
      status: z.string(),
      message: z.string(),
      assertionResults: z.array(
        z.object({
          fullName: z.string(),
          status: z.string(),
          failureMessages: z.array(z.string()).nullish(),
        }),
      ),
    }),
  ),
});

/** What came of a project's tests. */
export interface VitestResult {
  readonly passed: number;
  /** Tests that failed, and files that broke before their first test. */
  readonly failed: number;
  /** One for each of them: its name, and what it said. */
  readonly failures: readonly string[];
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
  const failures = report.testResults.flatMap(({ name, assertionResults }) =>
    assertionResults
      .filter(({ status }) => status === 'failed')
      .map(
        ({ fullName, failureMessages }) => `${fullName}\n    in ${name}\n${ownLines(failureMessages ?? [])}`,
      ),
  );
  const broken = report.testResults.filter(
    (file) => file.status === 'failed' && !file.assertionResults.some(({ status }) => status === 'failed'),
  );
  const skipped = report.testResults
    .flatMap(({ assertionResults }) => assertionResults)
    .filter(({ status }) => ['pending', 'skipped', 'todo', 'disabled'].includes(status))
    .map(({ fullName }) => fullName);
  return {
    passed: report.numPassedTests,
    failed: report.numFailedTests + broken.length,
    failures: [...failures, ...broken.map(({ name, message }) => `${name}\n${message}`)],
    skipped,
  };
}

/** What failures said and where, without the lines of a stack that lie in the test runner. */
function ownLines(messages: readonly string[]): string {
  const lines = messages.flatMap((message) => message.split('\n'));
  return lines.filter((line) => !/^\s+at .*(node_modules|new Promise|node:)/.test(line)).join('\n');
}

/** What there is instead of a result when a project's tests gave no report. */
export function noReport(project: string): VitestResult {
  return { passed: 0, failed: 1, failures: [`the tests of project ${project} gave no report`], skipped: [] };
}

/**
 * Says once more, below everything else, what failed and why, and what became of all tests in the line that ends a
 * run: whoever sees the end of a log alone sees what to mend.
 *
 * @returns the exit code
 */
export function conclude(results: readonly VitestResult[]): number {
  const sum = (count: (result: VitestResult) => number): number =>
    results.reduce((total, result) => total + count(result), 0);
  const passed = sum((result) => result.passed);
  const failed = sum((result) => result.failed);
  const skipped = results.flatMap((result) => result.skipped);
  for (const failure of results.flatMap((result) => result.failures))
    process.stdout.write(`failed: ${failure}\n`);
  for (const name of skipped) process.stdout.write(`skipped: ${name}\n`);
  const missing = skipped.length === 0 ? '' : `, ${skipped.length} skipped`;
  process.stdout.write(`${passed} passed, ${failed} failed${missing}\n`);
  return failed === 0 && passed > 0 ? 0 : 1;
}
